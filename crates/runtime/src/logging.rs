//! Structured logs on stderr: text for people on a terminal, JSON lines elsewhere when asked.

use std::str::FromStr;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

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

/// Sends the process's events to stderr. The first call wins.
pub fn init(level: LogLevel, format: Format) {
    let builder =
        tracing_subscriber::fmt().with_max_level(level.0).with_writer(std::io::stderr).with_target(false);
    let set = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if set.is_err() {
        tracing::event!(Level::DEBUG, "logging was set up already");
    }
}
