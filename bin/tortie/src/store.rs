//! `tortie store`: the embedded datastore as a process of its own.

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use tortie_runtime::logging::{self, Format, LogLevel};
use tortie_store::{Durability, ServeConfig};

/// `tortie store ...`
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a store file on a unix socket until told to stop
    Serve {
        /// The store's file; made if it is not there
        #[arg(long)]
        path: PathBuf,
        /// The socket
        #[arg(long)]
        socket: PathBuf,
        /// Do not wait for the disk: quicker, and a power cut may lose the last writes (a killed process loses nothing)
        #[arg(long)]
        no_sync: bool,
    },
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Command::Serve { path, socket, no_sync } = args.command;
    logging::init(LogLevel::default(), Format::Text);
    let mut config = ServeConfig::new(path, socket);
    if no_sync {
        config.engine.durability = Durability::Process;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let stop = async {
            // Without signals the process is ended the hard way, which the store survives.
            let _ = tortie_runtime::shutdown::signalled().await;
        };
        tortie_store::serve(config, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}
