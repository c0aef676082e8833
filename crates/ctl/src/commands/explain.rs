//! explain: what a kind or a field is, from the tables of the definitions.

use super::{Outcome, Surroundings};
use std::fmt::Write;
use tortie_api::crd::{self, Explained, Group};

/// Runs the command.
pub(crate) fn run(path: &str, recursive: bool, world: &mut Surroundings<'_>) -> Outcome {
    let what = crd::explain(path)?;
    world.out.write_all(render(what, path, recursive).as_bytes())?;
    Ok(())
}

fn render(what: Explained, path: &str, recursive: bool) -> String {
    let group: Group = what.group();
    let mut out = format!(
        "GROUP:      {}\nKIND:       {}\nVERSION:    {}\n\n",
        group.name(),
        what.kind(),
        group.version()
    );
    if path.contains('.') {
        line(&mut out, 0, &format!("FIELD: {}", title(what)));
        out.push('\n');
    }
    let mut section = |name: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            line(&mut out, 0, &format!("{name}:"));
            for text in lines {
                line(&mut out, 4, &text);
            }
            out.push('\n');
        }
    };
    section(
        "DESCRIPTION",
        Some(what.text()).filter(|t| !t.is_empty()).map(str::to_owned).into_iter().collect(),
    );
    section("VALUES", what.limits());
    section("RULES", what.rules().into_iter().map(str::to_owned).collect());
    let fields = what.fields();
    if !fields.is_empty() {
        out.push_str("FIELDS:\n");
        list(&mut out, &fields, 2, recursive);
    }
    format!("{}\n", out.trim_end())
}

fn list(out: &mut String, fields: &[Explained], column: usize, recursive: bool) {
    for field in fields {
        line(out, column, &title(*field));
        if recursive {
            list(out, &field.fields(), column + 2, true);
            continue;
        }
        let text = [field.text().to_owned(), field.limits().join("; ")];
        for text in text.iter().filter(|text| !text.is_empty()) {
            line(out, column + 4, text);
        }
    }
}

fn title(field: Explained) -> String {
    let required = if field.is_required() { " -required-" } else { "" };
    format!("{}\t<{}>{required}", field.name(), field.type_name())
}

fn line(out: &mut String, column: usize, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{:column$}{text}", "");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, recursive: bool) -> String {
        render(crd::explain(path).unwrap(), path, recursive)
    }

    #[test]
    fn a_field_shows_its_values() {
        assert_eq!(
            text("tier.spec.order", false),
            "GROUP:      projectcalico.org\nKIND:       Tier\nVERSION:    v3\n\nFIELD: order\t<number>\n\nDESCRIPTION:\n    Lower comes first; absent comes last\n"
        );
        assert!(text("ippool.spec.ipipMode", false).contains("one of Never, Always, CrossSubnet"));
        assert!(text("pool.spec", false).contains("  cidr\t<string> -required-\n"));
        assert!(text("pool.spec", false).contains("RULES:\n    a pool has IPIP or VXLAN, not both\n"));
    }

    #[test]
    fn recursion_shows_fields_of_fields() {
        assert!(!text("gnp", false).contains("ingress"));
        assert!(text("gnp", true).contains("\n    ingress\t<[]Object>\n      action\t<string> -required-\n"));
    }
}
