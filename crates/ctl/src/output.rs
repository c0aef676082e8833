//! How results are written: tables for people, JSON and YAML for programs.

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::io::Write;

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An aligned table.
    #[default]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Writes a value in a machine's form; `false` if the caller has to write a table.
pub fn machine<T: Serialize>(format: Format, value: &T, out: &mut impl Write) -> Result<bool> {
    match format {
        Format::Table => return Ok(false),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, value).context("write JSON")?;
            writeln!(out)?;
        }
        Format::Yaml => out.write_all(serde_saphyr::to_string(value).context("write YAML")?.as_bytes())?,
    }
    Ok(true)
}

/// A table without borders whose columns align, as kubectl's.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row);
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim().trim_end());
        text.push('\n');
    }
    text
}
