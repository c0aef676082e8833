//! Switches as the flags of Calico's client: `--export=true`, `-A=0`; and its words for flags that nobody knows.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command};

/// Rewrites switches with a value: true ones to switches without, false ones to nothing.
pub(super) fn plain(command: &Command, arguments: &[String]) -> Vec<String> {
    let switches = names(command);
    let mut plain = Vec::with_capacity(arguments.len());
    let mut rest = arguments.iter();
    for argument in rest.by_ref() {
        if argument == "--" {
            plain.push(argument.clone());
            break;
        }
        match argument.split_once('=').filter(|(name, _)| switches.iter().any(|switch| switch == name)) {
            Some((name, value)) => match truth(value) {
                Some(true) => plain.push(name.to_owned()),
                Some(false) => {}
                // Told by the parser.
                None => plain.push(argument.clone()),
            },
            None => plain.push(argument.clone()),
        }
    }
    plain.extend(rest.cloned());
    plain
}

/// A truth value as Go reads it.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Names of all switches of a command and of those below it.
fn names(command: &Command) -> Vec<String> {
    let mut names = Vec::new();
    for argument in
        command.get_arguments().filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue))
    {
        names.extend(
            argument.get_long_and_visible_aliases().into_iter().flatten().map(|name| format!("--{name}")),
        );
        names.extend(argument.get_short().map(|name| format!("-{name}")));
    }
    for below in command.get_subcommands() {
        names.extend(self::names(below));
    }
    names
}

/// The line with which Calico's client names a flag that nobody knows.
pub(super) fn unknown(error: &clap::Error, arguments: &[String]) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    if flag.starts_with("--") {
        return Some(format!("unknown flag: {flag}"));
    }
    let letter = flag.strip_prefix('-')?.chars().next()?;
    let of = arguments.iter().find(|a| a.starts_with('-') && !a.starts_with("--") && a.contains(letter));
    Some(format!("unknown shorthand flag: '{letter}' in {}", of.unwrap_or(flag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_may_have_values() {
        let plain = |line: &str| {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            plain(&super::super::command(), &arguments).join(" ")
        };
        assert_eq!(plain("x get np --export=true -A=1 -o=yaml"), "x get np --export -A -o=yaml");
        assert_eq!(plain("x get np --export=F -A=false"), "x get np");
        assert_eq!(plain("x get np --export=maybe"), "x get np --export=maybe");
        assert_eq!(
            plain("x --allow-version-mismatch=t get -- --export=true"),
            "x --allow-version-mismatch get -- --export=true"
        );
        assert_eq!(plain("x ipam configure --strictaffinity=true"), "x ipam configure --strictaffinity=true");
    }

    #[test]
    fn unknown_flags_are_told_as_the_original_does() {
        let told = |line: &str| {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let error = super::super::command().try_get_matches_from(&arguments).unwrap_err();
            unknown(&error, &arguments)
        };
        assert_eq!(told("x -m").as_deref(), Some("unknown shorthand flag: 'm' in -m"));
        assert_eq!(told("x get --nope").as_deref(), Some("unknown flag: --nope"));
        assert_eq!(told("x nope"), None);
    }
}
