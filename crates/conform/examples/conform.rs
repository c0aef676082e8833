//! The conformance port as a program of its own: small and quick to build, to be compared with another implementation.
//! `conform SUITE` answers the requests on stdin, one JSON object a line.

use std::io::{BufWriter, stdin, stdout};
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let suite = std::env::args().nth(1).unwrap_or_default();
    tortie_conform::run(&suite, &mut stdin().lock(), &mut BufWriter::new(stdout().lock()))
}
