//! Results as plain tables, JSON or YAML.

use crate::args::Output;
use crate::terminal::Terminal;
use anyhow::Context as _;
use serde::Serialize;
use std::fmt;

/// A table without lines, as `kubectl` prints them: columns two blanks apart, no trailing blanks.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|h| (*h).to_owned()).collect()] }
    }

    pub(crate) fn add<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.into());
    }

    pub(crate) fn add_vec(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |c: usize| self.rows.iter().filter_map(|r| r.get(c)).map(|cell| visible(cell)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(visible(cell)) + 2));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Width of a cell on a terminal: characters, without colour sequences.
fn visible(cell: &str) -> usize {
    let mut count = 0;
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(|c| *c == 'm');
        } else {
            count += 1;
        }
    }
    count
}

/// Prints `value` in the wanted format.
pub(crate) fn emit<T: Serialize>(
    output: Output,
    value: &T,
    render: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match output {
        Output::Table => render(value),
        Output::Json => serde_json::to_string_pretty(value).context("cannot write the result as JSON")?,
        Output::Yaml => {
            let value = serde_json::to_value(value).context("cannot write the result as YAML")?;
            tortie_api::document::to_yaml(&value)
        }
    };
    Terminal::print(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colours() {
        let mut table = Table::new(&["A", "LONGER", "C"]);
        table.add(["\x1b[31mred\x1b[0m".to_owned(), String::new(), "ü".to_owned()]);
        table.add(["x".to_owned(), "y".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "A    LONGER  C\n\x1b[31mred\x1b[0m          ü\nx    y\n");
    }
}
