//! Tables of expectation: `.` allow, `x` deny, `-` skip; rows are sources.

use crate::decode::Field;
use crate::expect::{Line, LineError, Peers, PortChoice};
use crate::plan::Expected;
use tortie_api::document::Position;
use tortie_net::Family;

/// The lines that a table stands for, with their places.
pub(crate) fn lines(matrix: &Field<'_>) -> Vec<(Line, Position)> {
    let Some(fields) = matrix.fields(&["port", "families", "table"]) else { return Vec::new() };
    let ports = match fields.get("port") {
        Some(field) => ports(&field),
        None => vec![PortChoice::Every],
    };
    let families = match fields.get("families") {
        Some(field) => crate::file::families(&field).into_iter().map(Some).collect(),
        None => vec![None],
    };
    let Some(table) = fields.need("table") else { return Vec::new() };
    let Some(text) = table.text() else { return Vec::new() };
    let cells = match cells(text) {
        Ok(cells) => cells,
        Err((row, message)) => {
            table.problem(format!("line {} of the table: {message}", row + 1));
            return Vec::new();
        }
    };
    let start = table.position();
    let mut lines = Vec::new();
    for cell in cells {
        // A block text begins on the line after its key.
        let position = Position { line: start.line + 1 + cell.row, column: start.column };
        let name = |text: &str| {
            let complain = |e: LineError| table.problem(format!("line {} of the table: {e}", cell.row + 1));
            Peers::exactly(text).map_err(complain).ok()
        };
        let (Some(from), Some(to)) = (name(&cell.from), name(&cell.to)) else { continue };
        for port in &ports {
            for family in &families {
                let (from, to, port, family) = (from.clone(), to.clone(), port.clone(), *family);
                lines.push((Line { expected: cell.expected, from, to, port, family }, position));
            }
        }
    }
    lines
}

/// Makes YAML of tables whose header stands further right than their rows, as tables do: YAML takes the first line's
/// indentation for that of the whole text, unless the text's key says otherwise.
pub(crate) fn indent_tables(text: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let lines: Vec<&str> = text.split('\n').collect();
    let mut out = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        let key = line.trim_start_matches([' ', '-']);
        let column = line.len() - key.len();
        let is_table = key.strip_prefix("table:").is_some_and(|rest| rest.trim() == "|");
        let body =
            lines.iter().skip(i + 1).filter(|l| !l.trim().is_empty()).take_while(|l| indent(l) > column);
        match body.map(|l| indent(l)).min().map(|least| least - column) {
            Some(step @ 1..=9) if is_table => out.push(format!("{}{step}", line.trim_end())),
            _ => out.push((*line).to_owned()),
        }
    }
    out.join("\n")
}

/// One port or a list.
fn ports(field: &Field<'_>) -> Vec<PortChoice> {
    let fields = if field.value().is_array() { field.items() } else { vec![field.clone()] };
    let read = |field: &Field<'_>| {
        let text = field.parse::<String>()?;
        PortChoice::parse(&text).map_err(|e| field.problem(e.to_string())).ok()
    };
    fields.iter().filter_map(read).collect()
}

struct Cell {
    row: u32,
    from: String,
    to: String,
    expected: Expected,
}

/// The cells of a table. `-` from a name to itself is no cell: it is what every table has there.
fn cells(text: &str) -> Result<Vec<Cell>, (usize, String)> {
    let mut rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, header)) = rows.next() else { return Err((0, "the table is empty".to_owned())) };
    let mut columns: Vec<&str> = header.split_whitespace().collect();
    let mut rows = rows.peekable();
    // The header may have a word over the names of the rows.
    if rows.peek().is_some_and(|(_, row)| row.split_whitespace().count() == columns.len()) {
        columns.remove(0);
    }
    let mut cells = Vec::new();
    for (row, line) in rows {
        let mut words = line.split_whitespace();
        let from = words.next().unwrap_or_default();
        let signs: Vec<&str> = words.collect();
        if signs.len() != columns.len() {
            let message =
                format!("{from} has {} cells, the header has {} columns", signs.len(), columns.len());
            return Err((row, message));
        }
        for (sign, to) in signs.iter().zip(&columns) {
            let expected = match *sign {
                "." => Expected::Allow,
                "x" => Expected::Deny,
                "-" if from == *to => continue,
                "-" => Expected::Skip,
                _ => {
                    return Err((
                        row,
                        format!("{sign:?} is no cell: expected . (allow), x (deny) or - (skip)"),
                    ));
                }
            };
            cells.push(Cell { row: row as u32, from: from.to_owned(), to: (*to).to_owned(), expected });
        }
    }
    Ok(cells)
}

/// Families written as 4 and 6.
pub(crate) fn family(number: u64) -> Option<Family> {
    u8::try_from(number).ok().and_then(Family::from_version)
}
