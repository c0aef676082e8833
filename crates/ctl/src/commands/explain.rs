//! explain: what a kind or a field is, from the tables of the definitions.

use super::{Outcome, Surroundings};
use std::fmt::Write;
use tortie_api::crd::{self, Explained, Group};
use tortie_felix_config::PARAMETERS;

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
        Some(description(what)).filter(|t| !t.is_empty()).map(str::to_owned).into_iter().collect(),
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
        let text = [description(*field).to_owned(), field.limits().join("; ")];
        for text in text.iter().filter(|text| !text.is_empty()) {
            line(out, column + 4, text);
        }
    }
}

/// What a field does. The settings of the agent are described where they are read.
fn description(what: Explained) -> &'static str {
    let setting = || {
        let field = Some(what.name()).filter(|_| what.kind() == "FelixConfiguration");
        let named = PARAMETERS.iter().find(|parameter| Some(parameter.field) == field);
        named.map_or("", |parameter| parameter.documentation)
    };
    Some(what.text()).filter(|text| !text.is_empty()).unwrap_or_else(setting)
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
    fn every_setting_of_the_agent_is_described() {
        let settings = crd::explain("felixconfiguration.spec").unwrap().fields();
        assert!(settings.len() > 150);
        for setting in settings {
            assert!(!description(setting).is_empty(), "{}", setting.name());
        }
        assert!(text("felixconfig.spec.vxlanPort", false).contains("DESCRIPTION:\n    "));
    }

    #[test]
    fn recursion_shows_fields_of_fields() {
        assert!(!text("gnp", false).contains("ingress"));
        assert!(text("gnp", true).contains("\n    ingress\t<[]Object>\n      action\t<string> -required-\n"));
    }
}
