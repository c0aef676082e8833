//! The lab and its datastore alone, for trying sandbox and fabric without the rest of the product
//! (`lab up --without-agents`).

use clap::Parser as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Parser)]
#[command(name = "tortie")]
enum Tortie {
    /// A Calico cluster on this machine
    Lab(tortie_lab::Args),
    /// The datastore, which the lab starts
    #[command(subcommand)]
    Store(Store),
}

#[derive(clap::Subcommand)]
enum Store {
    Serve {
        #[arg(long)]
        path: PathBuf,
        #[arg(long)]
        socket: PathBuf,
        #[arg(long)]
        no_sync: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Tortie::parse() {
        Tortie::Lab(args) => tortie_lab::run(args),
        Tortie::Store(Store::Serve { path, socket, no_sync: _ }) => serve(path, socket),
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::from(2)
    })
}

fn serve(path: PathBuf, socket: PathBuf) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tortie_store::serve(
        tortie_store::ServeConfig::new(path, socket),
        std::future::pending(),
    ))?;
    Ok(ExitCode::SUCCESS)
}
