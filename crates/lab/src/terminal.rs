//! The one writer of this crate: results to standard output, progress and warnings to standard error.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

/// How a command talks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    quiet: bool,
    /// Colours on standard output.
    pub(crate) colour: bool,
    colour_err: bool,
}

impl Terminal {
    pub(crate) fn new(quiet: bool) -> Self {
        // https://no-color.org
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { quiet, colour: wanted && stdout().is_terminal(), colour_err: wanted && stderr().is_terminal() }
    }

    /// A line of progress.
    pub(crate) fn progress(self, line: &str) {
        if !self.quiet {
            let (on, off) = if self.colour_err { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
            let _ = writeln!(stderr(), "{on}{line}{off}");
        }
    }

    /// Something the user should know although the command goes on.
    pub(crate) fn warn(self, line: &str) {
        let (on, off) = if self.colour_err { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(stderr(), "{on}warning:{off} {line}");
    }

    /// The last word of a command that was ended, also where little is to be said.
    pub(crate) fn say(line: &str) {
        let _ = writeln!(stderr(), "{line}");
    }

    /// A part of the result. A reader that went away is no reason to fail.
    pub(crate) fn print(text: &str) {
        let _ = stdout().write_all(text.as_bytes());
        if !text.ends_with('\n') {
            let _ = stdout().write_all(b"\n");
        }
        let _ = stdout().flush();
    }
}
