//! What can go wrong as a whole. What goes wrong with one item is a [`crate::Refusal`].

use nix::errno::Errno;
use std::sync::Arc;

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No netfilter socket.
    #[error("cannot open a netfilter netlink socket: does the kernel have CONFIG_NETFILTER_NETLINK?")]
    Socket(#[source] std::io::Error),
    /// A socket option was refused.
    #[error("cannot set {option} of the netfilter socket")]
    Option {
        /// Its name.
        option: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Talking to the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Nothing could be sent.
    #[error("cannot send {bytes} bytes to nf_tables")]
    Send {
        /// How much it was.
        bytes: usize,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The answer could not be read.
    #[error("cannot read what nf_tables answers")]
    Receive(#[source] Errno),
    /// The kernel refused a question.
    #[error("nf_tables refuses to show {what}{}", hint(*.source))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A dump was disturbed again and again.
    #[error(
        "the rules changed during each of {tries} attempts to read {what}: another program writes nftables without pause"
    )]
    Unstable {
        /// What was asked for.
        what: &'static str,
        /// How often it was tried.
        tries: usize,
    },
}

pub(crate) fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => ": the agent needs CAP_NET_ADMIN in this network namespace",
        Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT => ": the kernel has no nf_tables",
        _ => "",
    }
}

/// Reading the table failed. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read table inet calico")]
pub struct ResyncError(#[from] pub ChannelError);

/// Writing the table failed as a whole. What was to be written stays pending.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The table had to be read and could not.
    #[error("cannot bring table inet calico up to date")]
    Resync(#[from] ResyncError),
    /// Talking to the kernel failed.
    #[error("cannot write table inet calico")]
    Channel(#[from] ChannelError),
    /// The kernel refused the transaction as such.
    #[error("the kernel refuses the transaction on table inet calico{}{}", hint(*.source), said(.text.as_ref()))]
    Transaction {
        /// Why.
        #[source]
        source: Errno,
        /// What it said.
        text: Option<Arc<str>>,
    },
    /// No way was found to write what is wanted.
    #[error(
        "table inet calico cannot be changed to what is wanted, not even by leaving out {refused} refused items"
    )]
    Stuck {
        /// How many items had been left out.
        refused: usize,
    },
}

fn said(text: Option<&Arc<str>>) -> String {
    text.map(|t| format!(": {t}")).unwrap_or_default()
}
