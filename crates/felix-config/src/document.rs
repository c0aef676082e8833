//! The reference document, written from the table.

use crate::{PARAMETERS, Parameter};
use std::fmt::Write as _;

const HEAD: &str = "\
# Settings of the node agent

Written from the table in `crates/felix-config`; a test compares the two. Names, forms and defaults are those of Calico's Felix.

Where a setting may stand, the strongest first:

1. the environment: `FELIX_<name>`, in any case;
2. the configuration file: `<name> = <value>`;
3. the FelixConfiguration `node.<node>`;
4. a FelixConfiguration that selects the node;
5. the FelixConfiguration `default`.

The forms below are those of the environment and the file; a FelixConfiguration writes lists, numbers and durations as YAML does.
`none` sets a parameter to nothing, which may differ from its default. A value that cannot be understood is reported, and the default takes
its place, even if a weaker source has a good one. Marks:

- **needed**: cannot be `none`;
- **strict**: the agent does not start with a value that it cannot understand;
- **local**: only in the environment and the file.
";

/// The reference of all parameters, in Markdown.
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    let mut group = "";
    for parameter in PARAMETERS {
        if parameter.group != group {
            group = parameter.group;
            let _ = write!(
                text,
                "\n## {group}\n\n| parameter | FelixConfiguration | form | default | what it does |\n|---|---|---|---|---|\n"
            );
        }
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {}{} |",
            parameter.name,
            code(parameter.field),
            cell(&parameter.kind.to_string()),
            code(parameter.default),
            cell(parameter.documentation),
            marks(parameter)
        );
    }
    text
}

/// The text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

fn marks(parameter: &Parameter) -> String {
    let marks = [(parameter.required, "needed"), (parameter.fatal, "strict"), (parameter.local, "local")];
    let marks: Vec<&str> = marks.into_iter().filter(|(set, _)| *set).map(|(_, mark)| mark).collect();
    if marks.is_empty() { String::new() } else { format!(" **{}**", marks.join(", ")) }
}
