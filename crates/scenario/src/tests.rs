//! Tests of reading, planning and reporting.

mod expectations;
mod plans;
mod problems;
mod reports;

use crate::{Plan, Problem, Source, load};

/// Each item on a line.
fn as_lines<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().fold(String::new(), |text, item| text + &item.to_string() + "\n")
}

/// No files but these: name and text.
fn with_files<'f>(files: &'f [(&str, &str)]) -> impl Fn(&str) -> Result<Vec<Source>, String> + 'f {
    |path| {
        let found: Vec<Source> = files
            .iter()
            .filter(|(name, _)| *name == path || name.starts_with(&format!("{path}/")))
            .map(|(name, text)| Source { name: (*name).to_owned(), text: (*text).to_owned() })
            .collect();
        if found.is_empty() { Err(format!("{path}: no such file or directory")) } else { Ok(found) }
    }
}

fn read(text: &str) -> Result<Plan, Vec<Problem>> {
    load("s.yaml", text, &with_files(&[]))
}

fn plan(text: &str) -> Plan {
    read(text).unwrap_or_else(|problems| panic!("{}", list(&problems)))
}

fn list(problems: &[Problem]) -> String {
    as_lines(problems)
}

/// The problems of a text, one a line.
fn problems(text: &str) -> String {
    list(&read(text).err().unwrap_or_default())
}
