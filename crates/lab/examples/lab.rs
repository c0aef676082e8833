//! The lab's commands alone, for trying the sandbox and the fabric without the rest of the product.

use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;

#[derive(clap::Parser)]
#[command(name = "tortie")]
enum Tortie {
    /// A Calico cluster on this machine
    Lab(tortie_lab::Args),
}

fn main() -> ExitCode {
    let Tortie::Lab(args) = Tortie::parse();
    tortie_lab::run(args).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::from(2)
    })
}
