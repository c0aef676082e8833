//! What a probe found.

use std::fmt;
use std::time::Duration;

use crate::{Expect, Rejection};

/// What a probe found, after all its tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to believe: the finding of the last try, or the refusal that silence followed.
    pub verdict: Verdict,
    /// How many tries there were.
    pub tries: u32,
    /// The tries disagreed on whether packets get through.
    pub wavered: bool,
    /// How long the last try took.
    pub took: Duration,
}

/// What one try found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The right answer came.
    Allowed,
    /// Silence.
    Denied,
    /// An active refusal.
    Rejected(Rejection),
    /// Packets got through, but the answer was not the right one: this is what came.
    WrongAnswer(String),
    /// The probe itself failed: no route, no socket.
    Error(String),
}

impl Verdict {
    /// Whether this is what was expected.
    pub fn meets(&self, expect: Expect) -> bool {
        match expect {
            Expect::Allow => *self == Self::Allowed,
            Expect::Deny => matches!(self, Self::Denied | Self::Rejected(_)),
            Expect::Reject => matches!(self, Self::Rejected(_)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("allowed"),
            Self::Denied => f.write_str("denied"),
            Self::Rejected(rejection) => write!(f, "rejected ({rejection})"),
            Self::WrongAnswer(what) => write!(f, "wrong answer ({what})"),
            Self::Error(what) => write!(f, "error ({what})"),
        }
    }
}
