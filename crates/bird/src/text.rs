//! Indented text.

use std::fmt::Write as _;

/// Text under construction.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
    depth: usize,
}

impl Text {
    /// One line.
    pub(crate) fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{:width$}{line}", "", width = 2 * self.depth);
    }

    /// `head {`, what `body` writes, `}`.
    pub(crate) fn block(&mut self, head: &str, body: impl FnOnce(&mut Self)) {
        self.block_with(head, "}", body);
    }

    /// As [`Text::block`], with a semicolon at the end, as options in blocks need it.
    pub(crate) fn option(&mut self, head: &str, body: impl FnOnce(&mut Self)) {
        self.block_with(head, "};", body);
    }

    fn block_with(&mut self, head: &str, end: &str, body: impl FnOnce(&mut Self)) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.line(end);
    }

    /// An empty line, but never two.
    pub(crate) fn gap(&mut self) {
        if !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }
}
