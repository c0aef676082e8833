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

/// How the table looks.
#[derive(Clone, Copy, Debug, Default)]
struct Style {
    /// A line for each pod.
    each: bool,
    /// A table for each port.
    ports: bool,
    colour: bool,
}

pub(crate) fn matrix(context: &Context, args: &MatrixArgs) -> anyhow::Result<ExitCode> {
    let mut entries: Vec<Entry> = Vec::new();
    let request = Request::Matrix { globs: args.pods.clone() };
    let summary: MatrixSummary = context.ask_with(&request, &mut |item| {
        entries.extend(serde_json::from_value::<Vec<Entry>>(item).unwrap_or_default());
    })?;
    let report = Report { summary: &summary, entries: &entries };
    let style = Style { each: args.each, ports: args.ports, colour: context.terminal.colour };
    table::emit(args.output.output, &report, |r| render(r, style))?;
    if args.output.output == Output::Table {
        if summary.probes == 0 {
            context.terminal.warn(
                "there is nobody to ask: start pods with `lab apply` or `lab pod add`, or see the globs",
            );
            return Ok(ExitCode::SUCCESS);
        }
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

    fn symbol(self) -> &'static str {
        match self {
            Self::Allow => ".",
            Self::Deny => "x",
            Self::OnlyV4 => "4",
            Self::OnlyV6 => "6",
            Self::Disagree => "!",
            Self::Mixed => "~",
            Self::Empty => "-",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Allow => "32",
            Self::Deny => "31",
            Self::OnlyV4 | Self::OnlyV6 | Self::Mixed => "33",
            Self::Disagree => "1;7;31",
            Self::Empty => "2",
        }
    }
}

fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A port with its protocol; 0 is an echo request.
type Target = (u16, String);

/// Verdicts of all ports that were asked, by source and destination.
type Cells = BTreeMap<(String, String), BTreeMap<Target, Cell>>;

/// A row or column: its label and its members.
struct Line {
    label: String,
    members: BTreeSet<String>,
}

fn render(report: &Report<'_>, style: Style) -> String {
    let cells = cells(report.entries);
    let ends = &report.summary.ends;
    let groups = lines(ends, false);
    let uniform = |lines: &[Line]| {
        pairs(lines).all(|(row, column)| merged(row, column, &cells).values().all(|c| *c != Cell::Mixed))
    };
    let lines = if !style.each && uniform(&groups) { groups } else { lines(ends, true) };
    let mut text = String::new();
    if style.ports {
        let targets: BTreeSet<&Target> = cells.values().flat_map(BTreeMap::keys).collect();
        for target in targets {
            let cell = |row: &Line, column: &Line| {
                let cell = merged(row, column, &cells).get(target).copied().unwrap_or(Cell::Empty);
                (cell != Cell::Empty).then(|| paint(cell.symbol(), cell.colour(), style.colour))
            };
            text.push_str(&one_table(&name(target), &lines, cell));
            text.push('\n');
        }
    } else {
        let cell = |row: &Line, column: &Line| summary_cell(&merged(row, column, &cells), style.colour);
        text.push_str(&one_table("", &lines, cell));
        text.push('\n');
    }
    for e in report.entries.iter().filter(|e| !e.agree) {
        let port = name(&(e.port, e.protocol.clone()));
        let _ = writeln!(
            text,
            "{} -> {}:{port} ipv{}: policy says {}, packets say {} ({})",
            e.from, e.to, e.family, e.policy, e.packets, e.reason
        );
    }
    text.push_str(if style.ports {
        "rows are sources; . allow  x deny  4 or 6 only that family  ! packets and policy disagree\n"
    } else {
        "rows are sources; . all ports  x none  otherwise the open ones (4: or 6: only that family)  ! packets and policy disagree\n"
    });
    text
}

fn cells(entries: &[Entry]) -> Cells {
    let mut families: BTreeMap<(String, String), BTreeMap<Target, Vec<&Entry>>> = BTreeMap::new();
    for e in entries {
        let ports = families.entry((e.from.clone(), e.to.clone())).or_default();
        ports.entry((e.port, e.protocol.clone())).or_default().push(e);
    }
    let verdicts =
        |ports: BTreeMap<Target, Vec<&Entry>>| ports.into_iter().map(|(t, e)| (t, Cell::of(&e))).collect();
    families.into_iter().map(|(pair, ports)| (pair, verdicts(ports))).collect()
}

/// `80/tcp`, `icmp`.
fn name((port, protocol): &Target) -> String {
    if *port == 0 { protocol.clone() } else { format!("{port}/{protocol}") }
}

fn pairs(lines: &[Line]) -> impl Iterator<Item = (&Line, &Line)> {
    lines.iter().flat_map(|row| lines.iter().map(move |column| (row, column)))
}

/// What all members of a row find at all members of a column.
fn merged(row: &Line, column: &Line, cells: &Cells) -> BTreeMap<Target, Cell> {
    let mut merged: BTreeMap<Target, Cell> = BTreeMap::new();
    for from in &row.members {
        for to in &column.members {
            for (target, cell) in cells.get(&(from.clone(), to.clone())).into_iter().flatten() {
                merged.entry(target.clone()).and_modify(|c| *c = c.merge(*cell)).or_insert(*cell);
            }
        }
    }
    merged
}

/// All ports in one cell; `None` if none was asked.
fn summary_cell(ports: &BTreeMap<Target, Cell>, colour: bool) -> Option<String> {
    let all = |wanted: Cell| ports.values().all(|c| *c == wanted);
    if ports.is_empty() {
        return None;
    }
    for cell in [Cell::Allow, Cell::Deny] {
        if all(cell) {
            return Some(paint(cell.symbol(), cell.colour(), colour));
        }
    }
    if ports.values().any(|c| *c == Cell::Disagree) {
        return Some(paint(Cell::Disagree.symbol(), Cell::Disagree.colour(), colour));
    }
    let mut open: Vec<String> = Vec::new();
    for ((port, protocol), cell) in ports {
        let family = match cell {
            Cell::Allow => "",
            Cell::OnlyV4 => "4:",
            Cell::OnlyV6 => "6:",
            _ => continue,
        };
        // TCP goes without saying, and so does UDP beside it.
        let text = match protocol.as_str() {
            _ if *port == 0 => format!("{family}{protocol}"),
            "tcp" => format!("{family}{port}"),
            _ if open.last().is_some_and(|last| *last == format!("{family}{port}")) => continue,
            _ => format!("{family}{port}/{protocol}"),
        };
        open.push(text);
    }
    if open.is_empty() { Some(paint("x", "31", colour)) } else { Some(paint(&open.join(","), "33", colour)) }
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

/// One table; columns of which nothing was asked are left out.
fn one_table(title: &str, lines: &[Line], cell: impl Fn(&Line, &Line) -> Option<String>) -> String {
    let columns: Vec<(usize, &Line)> = lines
        .iter()
        .enumerate()
        .filter(|(_, column)| lines.iter().any(|row| cell(row, column).is_some()))
        .collect();
    let mut header = vec![title.to_owned(), String::new()];
    header.extend(columns.iter().map(|(i, _)| (i + 1).to_string()));
    let mut table = table::Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for (i, row) in lines.iter().enumerate() {
        let mut line = vec![row.label.clone(), (i + 1).to_string()];
        line.extend(columns.iter().map(|(_, column)| cell(row, column).unwrap_or_else(|| "-".to_owned())));
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
        let text = render(
            &Report { summary: &summary, entries: &entries },
            Style { ports: true, ..Style::default() },
        );
        assert!(text.starts_with("80/tcp        1  2\ns/web (2)  1  .  x\ns/db       2  .  -\n"), "{text}");
        // One replica that differs takes the group apart.
        entries[3].packets = "allow".into();
        let text = render(
            &Report { summary: &summary, entries: &entries },
            Style { ports: true, ..Style::default() },
        );
        assert!(
            text.starts_with("80/tcp      1  2  3\ns/web-0  1  -  .  x\ns/web-1  2  .  -  .\n"),
            "{text}"
        );
    }

    #[test]
    fn one_cell_tells_the_open_ports() {
        let cell = |ports: &[(u16, &str, Cell)]| {
            let ports = ports.iter().map(|(p, proto, c)| ((*p, (*proto).to_owned()), *c)).collect();
            summary_cell(&ports, false).unwrap_or_default()
        };
        use Cell::{Allow, Deny, Disagree, OnlyV6};
        assert_eq!(cell(&[]), "");
        assert_eq!(cell(&[(80, "tcp", Allow), (81, "tcp", Allow)]), ".");
        assert_eq!(cell(&[(80, "tcp", Deny)]), "x");
        assert_eq!(cell(&[(80, "tcp", Allow), (81, "tcp", Deny)]), "80");
        assert_eq!(cell(&[(53, "tcp", Allow), (53, "udp", Allow), (80, "tcp", Deny)]), "53");
        assert_eq!(cell(&[(53, "tcp", Deny), (53, "udp", Allow), (80, "tcp", OnlyV6)]), "53/udp,6:80");
        assert_eq!(cell(&[(80, "tcp", Allow), (81, "tcp", Disagree)]), "!");
    }
}
