//! Brings BIRD's configuration to BIRD: writes the file, then tells the running daemon. It is never restarted.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tortie_bird_control::{BirdError, Birdc};
use tortie_causes::chain;

/// Pause before BIRD is tried again when it does not listen.
const RETRY: Duration = Duration::from_millis(500);

/// Starts the task.
pub(crate) fn spawn(file: PathBuf, socket: PathBuf, mut text: watch::Receiver<Option<String>>) {
    tokio::spawn(async move {
        while text.changed().await.is_ok() {
            let Some(wanted) = text.borrow_and_update().clone() else { continue };
            if let Err(error) = write(&file, &wanted) {
                tracing::error!(file = %file.display(), %error, "BIRD's configuration cannot be written");
                continue;
            }
            tell(&file, &socket, &text).await;
        }
    });
}

/// Tells BIRD, until it has heard or there is something newer to tell.
async fn tell(file: &Path, socket: &Path, text: &watch::Receiver<Option<String>>) {
    let mut told = false;
    while !text.has_changed().unwrap_or(true) {
        let outcome = async { Birdc::connect(socket).await?.configure(file).await }.await;
        match outcome {
            Ok(()) => {
                tracing::info!("BIRD has taken its configuration");
                return;
            }
            Err(BirdError::Connect { .. }) if told => {}
            Err(error @ (BirdError::Connect { .. } | BirdError::Io { .. } | BirdError::Silent { .. })) => {
                tracing::info!(error = %chain(&error), "BIRD cannot be told yet; it reads the file when it starts");
                told = true;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "BIRD refused its configuration; it goes on with the last one");
                return;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let staged = file.with_extension("cfg.new");
    std::fs::write(&staged, text)?;
    std::fs::rename(&staged, file)
}
