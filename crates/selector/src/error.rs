//! Errors in selectors: where, what, and how to mend it.

use std::fmt;

/// Text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    pub(crate) selector: String,
    pub(crate) offset: usize,
    pub(crate) problem: Problem,
    pub(crate) fix: Option<String>,
}

/// What is wrong with a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("the string is not closed")]
    UnterminatedString,
    #[error("expected {expected:?}")]
    ExpectedOperator { expected: &'static str },
    #[error("expected an operator after the label {label:?}")]
    ExpectedLabelOperator { label: String },
    #[error("expected the name of a label")]
    ExpectedLabel,
    #[error("the label is {length} characters long, at most 512 are allowed")]
    LabelTooLong { length: usize },
    #[error("{function}( is not closed")]
    UnclosedFunction { function: &'static str },
    #[error("expected a quoted string, found {found}")]
    ExpectedString { found: String },
    #[error("expected a set of values in braces, found {found}")]
    ExpectedSet { found: String },
    #[error("expected \"}}\" or another value, found {found}")]
    ExpectedBrace { found: String },
    #[error("expected \")\", found {found}")]
    ExpectedParenthesis { found: String },
    #[error("expected a test such as has(label) or label == \"value\", found {found}")]
    ExpectedTest { found: String },
    #[error("expected \"&&\", \"||\" or the end, found {found}")]
    ExpectedEnd { found: String },
    #[error("parentheses are nested more than {limit} deep")]
    TooDeep { limit: usize },
}

impl ParseError {
    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Where: characters from the left, the first is 1.
    pub fn column(&self) -> usize {
        self.before().chars().count() + 1
    }

    /// What would probably mend it.
    pub fn fix(&self) -> Option<&str> {
        self.fix.as_deref()
    }

    /// The selector with a caret under the place, the problem and, if known, a fix. Several lines, without a last
    /// line break.
    pub fn render(&self) -> String {
        use fmt::Write;
        // A tab in the margin keeps the caret under its place whatever the width of tabs.
        let margin: String = self.before().chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let mut out = format!("{}\n{margin}^ {}", self.selector.replace(['\n', '\r'], " "), self.problem);
        if let Some(fix) = &self.fix {
            // Writing to a String cannot fail.
            let _ = write!(out, "\n{margin}  {fix}");
        }
        out
    }

    fn before(&self) -> &str {
        self.selector.get(..self.offset).unwrap_or(&self.selector)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "selector {:?}, column {}: {}", self.selector, self.column(), self.problem)?;
        match &self.fix {
            Some(fix) => write!(f, " ({fix})"),
            None => Ok(()),
        }
    }
}
