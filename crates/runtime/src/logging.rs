//! Structured logs on stderr: text for people on a terminal, JSON lines elsewhere when asked.

use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::OnceLock;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line of text.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json".to_owned()),
        }
    }
}

/// A level in Calico's spelling (`Debug`, `Info`, `Warning`, `Error`, `Fatal`, `None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub LevelFilter);

impl Default for LogLevel {
    fn default() -> Self {
        Self(LevelFilter::INFO)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text.to_ascii_lowercase().as_str() {
            "trace" => LevelFilter::TRACE,
            "debug" => LevelFilter::DEBUG,
            "" | "info" => LevelFilter::INFO,
            "warning" | "warn" => LevelFilter::WARN,
            "error" | "fatal" | "panic" => LevelFilter::ERROR,
            "none" => LevelFilter::OFF,
            _ => return Err("expected Trace, Debug, Info, Warning, Error, Fatal or None".to_owned()),
        }))
    }
}

/// Lets the level be changed while the process runs.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Sends the process's events to stderr. The first call wins.
pub fn init(level: LogLevel, format: Format) {
    let (filter, handle) = reload::Layer::new(level.0);
    let colours = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter);
    let set = match format {
        Format::Text => registry.with(lines).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if set.is_err() {
        tracing::event!(Level::DEBUG, "logging was set up already");
    } else {
        // Set once only: the subscriber is.
        let _ = LEVEL.set(handle);
    }
}

/// Changes the level of a process that has called [`init`].
pub fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // It fails only when there is no subscriber any more, and then there is nobody to tell.
        let _ = handle.reload(level.0);
    }
}
