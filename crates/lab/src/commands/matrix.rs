//! `lab matrix`: the table of who reaches whom.

use super::Context;
use crate::args::{MatrixArgs, Output};
use crate::matrix::{Entry, MatrixSummary};
use crate::request::Request;
use crate::table;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;

#[derive(Serialize)]
struct Report<'a> {
    summary: &'a MatrixSummary,
    entries: &'a [Entry],
}

pub(crate) fn matrix(context: &Context, args: &MatrixArgs) -> anyhow::Result<ExitCode> {
    let mut entries: Vec<Entry> = Vec::new();
    let request = Request::Matrix { globs: args.pods.clone() };
    let summary: MatrixSummary = context.ask_with(&request, &mut |item| {
        entries.extend(serde_json::from_value::<Vec<Entry>>(item).unwrap_or_default());
    })?;
    let report = Report { summary: &summary, entries: &entries };
    let colour = context.terminal.colour;
    table::emit(context.terminal, args.output.output, &report, |r| render(r, args.each, colour))?;
    if args.output.output == Output::Table {
        context.terminal.progress(&format!(
            "{} probes in {:.1} s: {}",
            summary.probes,
            summary.milliseconds as f64 / 1000.0,
            match summary.disagreements {
                0 => "packets do what policy says".to_owned(),
                n => format!("{n} DO NOT do what policy says"),
            }
        ));
    }
    Ok(if summary.disagreements == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is known of (from, to) on one port, over the families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Allow,
    Deny,
    OnlyV4,
    OnlyV6,
    Disagree,
    /// The members of a group differ.
    Mixed,
    /// Nothing was asked.
    Empty,
}

impl Cell {
    fn of(entries: &[&Entry]) -> Self {
        if entries.iter().any(|e| !e.agree) {
            return Self::Disagree;
        }
        let allowed = |family: u8| entries.iter().find(|e| e.family == family).map(|e| e.packets == "allow");
        match (allowed(4), allowed(6)) {
            (None, None) => Self::Empty,
            (a, b) if a.unwrap_or(true) && b.unwrap_or(true) => Self::Allow,
            (a, b) if !a.unwrap_or(false) && !b.unwrap_or(false) => Self::Deny,
            (Some(true), _) => Self::OnlyV4,
            _ => Self::OnlyV6,
        }
    }

    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Empty, x) | (x, Self::Empty) => x,
            (Self::Disagree, _) | (_, Self::Disagree) => Self::Disagree,
            _ => Self::Mixed,
        }
    }

    fn symbol(self, colour: bool) -> String {
        let (symbol, code) = match self {
            Self::Allow => (".", "32"),
            Self::Deny => ("x", "31"),
            Self::OnlyV4 => ("4", "33"),
            Self::OnlyV6 => ("6", "33"),
            Self::Disagree => ("!", "1;7;31"),
            Self::Mixed => ("~", "33"),
            Self::Empty => ("-", "2"),
        };
        if colour { format!("\x1b[{code}m{symbol}\x1b[0m") } else { symbol.to_owned() }
    }
}

/// A row or column: its label and its members.
struct Line {
    label: String,
    members: BTreeSet<String>,
}

fn render(report: &Report<'_>, each: bool, colour: bool) -> String {
    // (port, protocol) -> (from, to) -> entries of both families
    let mut by_port: BTreeMap<(u16, &str), BTreeMap<(&str, &str), Vec<&Entry>>> = BTreeMap::new();
    for e in report.entries {
        let port = by_port.entry((e.port, e.protocol.as_str())).or_default();
        port.entry((e.from.as_str(), e.to.as_str())).or_default().push(e);
    }
    let mut text = String::new();
    for ((port, protocol), pairs) in &by_port {
        let cells: BTreeMap<(&str, &str), Cell> = pairs.iter().map(|(k, v)| (*k, Cell::of(v))).collect();
        let title = if *port == 0 { (*protocol).to_owned() } else { format!("{port}/{protocol}") };
        let ends = &report.summary.ends;
        let groups = lines(ends, false);
        let uniform = !each && all_cells(&groups, &cells).all(|c| c != Cell::Mixed);
        let lines = if uniform { groups } else { lines(ends, true) };
        let _ = write!(text, "{}", one_port(&title, &lines, &cells, colour));
        text.push('\n');
    }
    for e in report.entries.iter().filter(|e| !e.agree) {
        let port = if e.port == 0 { String::new() } else { format!(":{}", e.port) };
        let _ = writeln!(
            text,
            "{} -> {}{port}/{} ipv{}: policy says {}, packets say {} ({})",
            e.from, e.to, e.protocol, e.family, e.policy, e.packets, e.reason
        );
    }
    text.push_str(
        "rows are sources; . allow  x deny  4 or 6 only that family  ! packets and policy disagree\n",
    );
    text
}

fn all_cells<'a>(
    lines: &'a [Line],
    cells: &'a BTreeMap<(&str, &str), Cell>,
) -> impl Iterator<Item = Cell> + 'a {
    lines.iter().flat_map(move |row| lines.iter().map(move |column| cell(row, column, cells)))
}

fn cell(row: &Line, column: &Line, cells: &BTreeMap<(&str, &str), Cell>) -> Cell {
    let pairs =
        row.members.iter().flat_map(|from| column.members.iter().map(move |to| (from.as_str(), to.as_str())));
    pairs.filter_map(|pair| cells.get(&pair)).fold(Cell::Empty, |a, b| a.merge(*b))
}

fn lines(ends: &[(String, String)], each: bool) -> Vec<Line> {
    let mut lines: Vec<(String, Line)> = Vec::new();
    for (name, group) in ends {
        let key = if each { name } else { group };
        match lines.iter_mut().find(|(k, _)| k == key) {
            Some((_, line)) => {
                line.members.insert(name.clone());
            }
            None => lines
                .push((key.clone(), Line { label: key.clone(), members: BTreeSet::from([name.clone()]) })),
        }
    }
    let label = |(_, line): (String, Line)| match line.members.len() {
        1 => Line { label: line.members.first().cloned().unwrap_or_default(), ..line },
        n => Line { label: format!("{} ({n})", line.label), ..line },
    };
    lines.into_iter().map(label).collect()
}

fn one_port(title: &str, lines: &[Line], cells: &BTreeMap<(&str, &str), Cell>, colour: bool) -> String {
    let asked = |column: &&Line| lines.iter().any(|row| cell(row, column, cells) != Cell::Empty);
    let columns: Vec<&Line> = lines.iter().filter(asked).collect();
    let number = |line: &Line| lines.iter().position(|l| l.label == line.label).map_or(0, |i| i + 1);
    let mut header = vec![title.to_owned(), String::new()];
    header.extend(columns.iter().map(|c| number(c).to_string()));
    let mut table = table::Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for row in lines {
        let mut line = vec![row.label.clone(), number(row).to_string()];
        line.extend(columns.iter().map(|column| cell(row, column, cells).symbol(colour)));
        table.add_vec(line);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(from: &str, to: &str, family: u8, packets: &str, agree: bool) -> Entry {
        Entry {
            from: from.into(),
            to: to.into(),
            port: 80,
            protocol: "tcp".into(),
            family,
            policy: "allow".into(),
            packets: packets.into(),
            agree,
            reason: "because".into(),
        }
    }

    #[test]
    fn cells_tell_families_and_disagreement_apart() {
        let e = |f, p, a| entry("a", "b", f, p, a);
        let cell = |list: &[Entry]| Cell::of(&list.iter().collect::<Vec<_>>());
        assert_eq!(cell(&[e(4, "allow", true), e(6, "allow", true)]), Cell::Allow);
        assert_eq!(cell(&[e(4, "deny", true), e(6, "reject", true)]), Cell::Deny);
        assert_eq!(cell(&[e(4, "allow", true), e(6, "deny", true)]), Cell::OnlyV4);
        assert_eq!(cell(&[e(4, "deny", true), e(6, "allow", true)]), Cell::OnlyV6);
        assert_eq!(cell(&[e(4, "allow", false), e(6, "allow", true)]), Cell::Disagree);
        assert_eq!(cell(&[e(6, "deny", true)]), Cell::Deny);
    }

    #[test]
    fn replicas_that_behave_alike_are_one_line() {
        let ends = [("s/web-0", "s/web"), ("s/web-1", "s/web"), ("s/db", "s/db")];
        let ends: Vec<(String, String)> = ends.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let mut entries = Vec::new();
        for (from, to, verdict) in [
            ("s/web-0", "s/web-1", "allow"),
            ("s/web-1", "s/web-0", "allow"),
            ("s/web-0", "s/db", "deny"),
            ("s/web-1", "s/db", "deny"),
            ("s/db", "s/web-0", "allow"),
            ("s/db", "s/web-1", "allow"),
        ] {
            entries.push(entry(from, to, 4, verdict, true));
        }
        let summary = MatrixSummary { ends, ..MatrixSummary::default() };
        let text = render(&Report { summary: &summary, entries: &entries }, false, false);
        assert!(text.starts_with("80/tcp       1  2\ns/web (2)  1  .  x\ns/db       2  .  -\n"), "{text}");
        // One replica that differs takes the group apart.
        entries[3].packets = "allow".into();
        let text = render(&Report { summary: &summary, entries: &entries }, false, false);
        assert!(
            text.starts_with("80/tcp      1  2  3\ns/web-0  1  -  .  x\ns/web-1  2  .  -  .\n"),
            "{text}"
        );
    }
}
