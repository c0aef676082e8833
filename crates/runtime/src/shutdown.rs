//! The signals that end a process.

use tokio::signal::unix::{SignalKind, signal};

/// Completes at SIGTERM or SIGINT and names it.
pub async fn signalled() -> std::io::Result<&'static str> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}
