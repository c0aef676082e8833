//! A way into the sandbox: a port of the host's loopback interface that leads to the API server.
//!
//! The socket is made by the command that starts the lab, in the host's network namespace, and handed over the channel to the
//! supervisor; it is gone when the supervisor is. Nothing else of the host's network is touched.

use anyhow::{Context as _, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use tokio::net::{TcpListener, TcpStream};

/// Opens a port on the host and sends it to the other end of the channel. Called outside the sandbox.
pub(crate) fn offer(channel: &UnixStream) -> anyhow::Result<()> {
    let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .context("cannot listen on the host's loopback interface")?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        bail!("a descriptor does not fit into a message");
    }
    sendmsg(channel, &[IoSlice::new(b"l")], &mut ancillary, SendFlags::empty())
        .context("cannot hand the listening socket over")?;
    Ok(())
}

/// Takes what was offered. Blocks; called inside the sandbox, before anything else is read from the channel.
pub(crate) fn take(channel: &UnixStream) -> anyhow::Result<StdTcpListener> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(channel, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .context("cannot take the listening socket")?;
    let listener = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let listener = StdTcpListener::from(listener.context("no listening socket was handed over")?);
    listener.set_nonblocking(true).context("cannot use the listening socket")?;
    Ok(listener)
}

/// Carries every connection to `target`, for as long as the runtime lives.
pub(crate) fn spawn(listener: StdTcpListener, target: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener).context("cannot use the listening socket")?;
    tokio::spawn(async move {
        loop {
            let Ok((mut near, _)) = listener.accept().await else {
                // Out of descriptors, most likely: the others will be done some day.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            tokio::spawn(async move {
                if let Ok(mut far) = TcpStream::connect(target).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_socket_that_was_handed_over_leads_to_the_target() {
        let (outside, inside) = UnixStream::pair().unwrap();
        offer(&outside).unwrap();
        let listener = take(&inside).unwrap();
        let address = listener.local_addr().unwrap();
        let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        spawn(listener, target.local_addr().unwrap()).unwrap();
        let mut near = TcpStream::connect(address).await.unwrap();
        let (mut far, _) = target.accept().await.unwrap();
        near.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
}
