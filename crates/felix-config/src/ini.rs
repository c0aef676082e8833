//! The configuration file: sections of `name = value`, as the ini reader that Felix uses understands them.
//!
//! Sections have no meaning: their settings are thrown together.

use std::collections::BTreeMap;

/// A file that cannot be read as settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// `[section` without its end.
    #[error("line {line}: the section's closing bracket is missing")]
    OpenSection {
        /// The line's number, from 1.
        line: usize,
    },
    /// `[]`.
    #[error("line {line}: the section has no name")]
    UnnamedSection {
        /// The line's number, from 1.
        line: usize,
    },
    /// Neither `=` nor `:`.
    #[error("line {line}: expected name = value, found {text:?}")]
    NoDelimiter {
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// Nothing before the `=`.
    #[error("line {line}: the name before the = is missing")]
    NoName {
        /// The line's number, from 1.
        line: usize,
    },
    /// A quote without its end.
    #[error("line {line}: the closing quote is missing")]
    OpenQuote {
        /// The line's number, from 1.
        line: usize,
    },
}

/// The settings in a file; names as written.
pub fn from_file(content: &str) -> Result<BTreeMap<String, String>, FileError> {
    let mut lines = Lines::new(content.strip_prefix('\u{feff}').unwrap_or(content));
    // In the order of the sections' first appearance; what stands before any belongs to DEFAULT.
    let mut sections: Vec<(&str, BTreeMap<String, String>)> = vec![("DEFAULT", BTreeMap::new())];
    let mut current = 0;
    // Settings named "-" are counted instead, from one in each section.
    let mut count = 0;
    while let Some(line) = lines.next() {
        let number = lines.number;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let end = rest.rfind(']').ok_or(FileError::OpenSection { line: number })?;
            let name = rest.get(..end).filter(|name| !name.is_empty());
            let name = name.ok_or(FileError::UnnamedSection { line: number })?;
            count = 0;
            current = sections.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                sections.push((name, BTreeMap::new()));
                sections.len() - 1
            });
            continue;
        }
        let (mut name, rest) = split_name(line, number)?;
        if name == "-" {
            count += 1;
            name = format!("#{count}");
        }
        let value = read_value(rest, &mut lines)?;
        if let Some((_, settings)) = sections.get_mut(current) {
            settings.insert(name, value);
        }
    }
    Ok(sections.into_iter().flat_map(|(_, settings)| settings).collect())
}

struct Lines<'a> {
    lines: std::str::Lines<'a>,
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(content: &'a str) -> Self {
        Self { lines: content.lines(), number: 0 }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.number += 1;
        self.lines.next()
    }
}

/// The name, perhaps quoted, and what follows the first `=` or `:` behind it.
fn split_name(line: &str, number: usize) -> Result<(String, &str), FileError> {
    let no_delimiter = || FileError::NoDelimiter { line: number, text: line.to_owned() };
    let quote = ["\"\"\"", "\"", "`"].into_iter().find(|quote| line.starts_with(quote));
    if let Some(quote) = quote {
        let rest = line.get(quote.len()..).unwrap_or("");
        let (name, after) = rest.split_once(quote).ok_or(FileError::OpenQuote { line: number })?;
        let (_, value) = after.split_once(['=', ':']).ok_or_else(no_delimiter)?;
        return Ok((name.trim().to_owned(), value));
    }
    let (name, value) = line.split_once(['=', ':']).ok_or_else(no_delimiter)?;
    if name.is_empty() {
        return Err(FileError::NoName { line: number });
    }
    Ok((name.trim().to_owned(), value))
}

/// The value: quoted over lines, continued by a backslash, or up to a comment.
fn read_value(text: &str, lines: &mut Lines<'_>) -> Result<String, FileError> {
    let text = text.trim_start();
    let quote = ["\"\"\"", "`"].into_iter().find(|quote| text.starts_with(quote));
    if let Some(quote) = quote {
        return quoted(text.get(quote.len()..).unwrap_or(""), quote, lines);
    }
    let text = text.trim();
    if let Some(start) = text.strip_suffix('\\') {
        return Ok(continued(start, lines));
    }
    let text = text.split(['#', ';']).next().unwrap_or("").trim();
    for quote in ['\'', '"'] {
        let inner = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
            return Ok(inner.to_owned());
        }
    }
    Ok(text.to_owned())
}

fn quoted(start: &str, quote: &str, lines: &mut Lines<'_>) -> Result<String, FileError> {
    let opened = lines.number;
    let mut value = String::new();
    let mut line = start;
    loop {
        if let Some(end) = line.rfind(quote) {
            value.push_str(line.get(..end).unwrap_or(""));
            return Ok(value);
        }
        value.push_str(line);
        value.push('\n');
        line = lines.next().ok_or(FileError::OpenQuote { line: opened })?;
    }
}

fn continued(start: &str, lines: &mut Lines<'_>) -> String {
    let mut value = start.to_owned();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        match line.strip_suffix('\\') {
            Some(part) => value.push_str(part),
            None => {
                value.push_str(line);
                break;
            }
        }
    }
    value
}
