//! The supervisor: builds the lab, then answers commands until it is told to go.

use crate::control::{Event, read_async, write_async};
use crate::dirs::LabDir;
use crate::kube::forward;
use crate::lab::Lab;
use crate::request::Request;
use crate::spec::LabSpec;
use anyhow::{Context as _, bail};
use nix::unistd::{dup2_stdin, dup2_stdout};
use serde_json::Value;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tortie_runtime::logging::{Format, LogLevel};
use tracing::level_filters::LevelFilter;

/// Events that wait to be sent to a slow command.
const EVENT_BACKLOG: usize = 256;

/// Where a piece of work reports to. Sending to a command that has gone is no error: see [`Sink::is_closed`].
#[derive(Clone, Debug)]
pub(crate) struct Sink(mpsc::Sender<Event>);

impl Sink {
    pub(crate) async fn progress(&self, message: impl Into<String>) {
        let _ = self.0.send(Event::progress(message)).await;
    }

    pub(crate) async fn item<T: serde::Serialize>(&self, item: &T) {
        if let Ok(item) = serde_json::to_value(item) {
            let _ = self.0.send(Event::Item { item }).await;
        }
    }

    /// True if nobody listens any more; long work should stop.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The third program of the sandbox.
pub(crate) fn run(spec: LabSpec) -> anyhow::Result<ExitCode> {
    if std::process::id() != 2 {
        bail!("`lab supervise` is the second process of a lab's sandbox and of no use by itself");
    }
    tortie_runtime::logging::init(LogLevel(LevelFilter::INFO), Format::Text);
    // Process 1 holds the lock too, and outlives this process: that is what the next command waits for.
    let channel = take_channel().context("cannot take over the standard streams")?;
    let entrance = spec.kube_bin.is_some().then(|| forward::take(&channel)).transpose()?;
    channel.set_nonblocking(true).context("cannot use the channel")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(supervise(Arc::new(spec), channel, entrance));
    // Blocking work that is still under way ends with the sandbox.
    runtime.shutdown_background();
    code
}

/// Standard input is the channel of `up`, standard output the lock: both make room for what their names promise.
fn take_channel() -> anyhow::Result<StdUnixStream> {
    let channel: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(std::io::stderr())?;
    Ok(StdUnixStream::from(channel))
}

async fn supervise(
    spec: Arc<LabSpec>,
    channel: StdUnixStream,
    entrance: Option<TcpListener>,
) -> anyhow::Result<ExitCode> {
    let dir = LabDir::at(&spec.name, &spec.dir);
    let (mut from_up, mut to_up) = UnixStream::from_std(channel)?.into_split();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sink, mut events) = mpsc::channel(EVENT_BACKLOG);
    let forward = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let last = matches!(event, Event::Done { .. } | Event::Failed { .. });
            let _ = write_async(&mut to_up, &event).await;
            if last {
                break;
            }
        }
        to_up
    });

    let mut gone = std::pin::pin!(until_closed(&mut from_up));
    let built = tokio::select! {
        built = build(&spec, &dir, entrance, Sink(sink.clone())) => built,
        () = &mut gone => Err(anyhow::anyhow!("the command that started the lab went away")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated while starting")),
    };
    let (lab, listener) = match built {
        Ok(built) => built,
        Err(error) => {
            tracing::error!("{error:#}");
            let _ = sink.send(Event::of_result::<()>(Err(error))).await;
            let _ = forward.await;
            return Ok(ExitCode::FAILURE);
        }
    };
    let _ = sink.send(Event::Done { result: Value::Null }).await;
    // Held until the end: a tied lab's command reads the end of this stream as the end of the lab.
    let _to_up = forward.await;
    tracing::info!("up");

    let served = tokio::select! {
        served = serve(&listener, &lab) => served,
        () = lab.ended() => Ok(()),
        () = &mut gone, if spec.tied => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    // Process 1 kills all others and removes the directory.
    tracing::info!("going down");
    served.map(|()| ExitCode::SUCCESS)
}

async fn build(
    spec: &Arc<LabSpec>,
    dir: &LabDir,
    entrance: Option<TcpListener>,
    sink: Sink,
) -> anyhow::Result<(Arc<Lab>, UnixListener)> {
    let lab = Arc::new(Lab::build(Arc::clone(spec), dir.clone(), entrance, &sink).await?);
    let path = dir.control_socket();
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    Ok((lab, listener))
}

/// Resolves when the other side has closed its end.
async fn until_closed(from: &mut OwnedReadHalf) {
    let mut byte = [0];
    while matches!(from.read(&mut byte).await, Ok(n) if n > 0) {}
}

async fn serve(listener: &UnixListener, lab: &Arc<Lab>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept commands")?;
        let lab = Arc::clone(lab);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, lab).await {
                tracing::warn!("a command's connection failed: {error:#}");
            }
        });
    }
}

/// One connection: one request.
async fn converse(stream: UnixStream, lab: Arc<Lab>) -> anyhow::Result<()> {
    let (mut from, mut to) = stream.into_split();
    let Some(request) = read_async::<Request>(&mut from).await? else { return Ok(()) };
    tracing::debug!(?request, "command");
    let (sender, mut events) = mpsc::channel(EVENT_BACKLOG);
    let sink = Sink(sender.clone());
    // The work runs to its end, or to a point of its own choosing, even if the command goes away: half a pod helps nobody.
    tokio::spawn(async move {
        let outcome = lab.answer(request, &sink).await;
        if let Err(error) = &outcome {
            tracing::info!("a command failed: {error:#}");
        }
        let _ = sender.send(Event::of_result(outcome)).await;
    });
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return Ok(()) };
                write_async(&mut to, &event).await?;
                if matches!(event, Event::Done { .. } | Event::Failed { .. }) {
                    return Ok(());
                }
            }
            // Dropping `events` is how the work learns of it.
            () = until_closed(&mut from) => return Ok(()),
        }
    }
}
