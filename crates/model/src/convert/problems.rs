//! What conversion found wrong.

use std::fmt;

/// Something wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field: `spec.ingress[0].ports[1]`.
    pub field: String,
    /// What is wrong, what was done about it, what would be right.
    pub message: String,
    /// True if the object cannot be used because of it.
    pub fatal: bool,
}

/// The problems of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

/// A problem of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The object: `NetworkPolicy shop/web`.
    pub object: String,
    /// Path of the field, or empty.
    pub field: String,
    /// What is wrong, what was done about it, what would be right.
    pub message: String,
    /// True if the object is not in use because of it.
    pub fatal: bool,
}

impl Problems {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The object cannot be used.
    pub fn fatal(&mut self, field: &str, message: String) {
        self.list.push(Problem { field: field.to_owned(), message, fatal: true });
    }

    /// A part is left out, or another value is used.
    pub fn dropped(&mut self, field: &str, message: String) {
        self.list.push(Problem { field: field.to_owned(), message, fatal: false });
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True if the object cannot be used.
    pub fn is_fatal(&self) -> bool {
        self.list.iter().any(|p| p.fatal)
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// The problems with the object's name.
    pub fn into_diagnostics(self, object: &str) -> Vec<Diagnostic> {
        self.list
            .into_iter()
            .map(|Problem { field, message, fatal }| Diagnostic {
                object: object.to_owned(),
                field,
                message,
                fatal,
            })
            .collect()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}: {}", self.object, self.message)
        } else {
            write!(f, "{}: {}: {}", self.object, self.field, self.message)
        }
    }
}
