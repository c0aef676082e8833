//! What is wrong with a file.

use std::fmt;
use std::sync::Arc;
use tortie_api::document::Position;

/// One thing that is wrong with a scenario or with a file it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File.
    pub source: Arc<str>,
    /// Where in it.
    pub position: Position,
    /// What is wrong, and the likely fix.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(source: &Arc<str>, position: Position, message: impl Into<String>) -> Self {
        Self { source: source.clone(), position, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.position, self.message)
    }
}
