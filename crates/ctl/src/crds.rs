//! `tortie crds`: the definitions of the kinds, ready for `kubectl apply`.

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, builder::TypedValueParser};
use std::io::Write;
use std::process::ExitCode;
use tortie_api::crd::{self, Group};

/// `tortie crds ...`
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Only the definitions of this group
    #[arg(long, value_parser = groups())]
    group: Option<Group>,
}

fn groups() -> impl TypedValueParser<Value = Group> {
    let find = |name: String| Group::ALL.into_iter().find(|g| g.name() == name).ok_or("no such group");
    PossibleValuesParser::new(Group::ALL.map(Group::name)).try_map(find)
}

/// Runs the command.
pub fn run(args: &Args, out: &mut impl Write) -> Result<ExitCode> {
    let mut out = std::io::BufWriter::new(out);
    for group in Group::ALL.into_iter().filter(|group| args.group.is_none_or(|asked| asked == *group)) {
        for manifest in crd::manifests(group) {
            write!(out, "---\n{}", tortie_api::document::to_yaml(&manifest))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn names(arguments: &[&str]) -> Vec<String> {
        let program = Program::try_parse_from([&["crds"], arguments].concat()).unwrap();
        let mut out = Vec::new();
        run(&program.args, &mut out).unwrap();
        let documents = tortie_api::document::parse("", &String::from_utf8(out).unwrap()).unwrap();
        documents.iter().map(|document| document.name().to_owned()).collect()
    }

    #[test]
    fn one_group_or_all() {
        let storage = names(&["--group", "crd.projectcalico.org"]);
        assert_eq!(storage.len(), 22);
        assert!(storage.iter().all(|name| name.ends_with(".crd.projectcalico.org")));
        assert_eq!(names(&[]).len(), 45);
    }

    #[test]
    fn an_unknown_group_is_refused_with_those_there_are() {
        let error = Program::try_parse_from(["crds", "--group", "nonsense"]).unwrap_err().to_string();
        assert!(error.contains("crd.projectcalico.org"), "{error}");
    }
}
