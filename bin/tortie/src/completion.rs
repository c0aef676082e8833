//! `tortie completion`: what shells need to complete our arguments.

use clap::{Args as ClapArgs, Command, ValueEnum};
use std::io::Write;

/// `tortie completion ...`
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
    /// The name that is completed
    #[arg(long, value_enum, default_value_t = Program::Tortie)]
    program: Program,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Program {
    Tortie,
    Calicoctl,
}

/// Writes the completions; `whole` are the arguments of `tortie`.
pub(crate) fn write(args: &Args, whole: Command, out: &mut impl Write) -> std::io::Result<()> {
    let (mut command, name) = match args.program {
        Program::Tortie => (whole, "tortie"),
        Program::Calicoctl => (tortie_ctl::calicoctl::command(), "calicoctl"),
    };
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // The generator panics when it cannot write; memory takes everything.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    out.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            for (program, words) in [
                (Program::Tortie, ["agent", "completion", "apply"]),
                (Program::Calicoctl, ["apply", "datastore", "migrate"]),
            ] {
                let mut out = Vec::new();
                write(&Args { shell, program }, crate::Cli::command(), &mut out).unwrap();
                let text = String::from_utf8(out).unwrap();
                for word in words {
                    assert!(text.contains(word), "{shell:?} {program:?}: {word}");
                }
            }
        }
    }
}
