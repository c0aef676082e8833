//! `tortie policy test`: scenario files by the reference evaluator; no kernel, no store.

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tortie_scenario::{Format, Report, ScenarioReport, Source};

/// `tortie policy ...`
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check what scenario files expect against the reference evaluator
    ///
    /// Exit status: 0 all as expected, 1 a difference, 2 a file is wrong.
    Test {
        /// Scenario files, or directories of them
        #[arg(required_unless_present = "schema")]
        files: Vec<PathBuf>,
        /// Form of the report: table, json or junit
        #[arg(short, long, default_value = "table")]
        output: Format,
        /// Print the JSON schema of scenario files and exit
        #[arg(long)]
        schema: bool,
    },
}

/// Runs the command.
pub fn run(args: Args, out: &mut impl Write) -> Result<ExitCode> {
    let Command::Test { files, output, schema } = args.command;
    if schema {
        serde_json::to_writer_pretty(&mut *out, &tortie_scenario::schema())?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let mut report = Report::default();
    for file in scenarios(&files)? {
        report.scenarios.push(test(&file, &started));
    }
    out.write_all(report.render(output).as_bytes())?;
    Ok(ExitCode::from(report.exit_status()))
}

fn test(file: &Path, started: &Instant) -> ScenarioReport {
    let name = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) => {
            let error = Some(format!("the file cannot be read: {e}"));
            return ScenarioReport { error, ..ScenarioReport::unreadable(&name, Vec::new()) };
        }
    };
    let base = file.parent().unwrap_or(Path::new("")).to_owned();
    let loader = move |path: &str| sources(&base.join(path));
    match tortie_scenario::load(&name, &text, &loader) {
        Ok(plan) => tortie_scenario::test(&plan, &|| started.elapsed()),
        Err(problems) => ScenarioReport::unreadable(&name, problems),
    }
}

/// The scenario files among the arguments; a directory stands for the YAML files in it.
pub fn scenarios(arguments: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for argument in arguments {
        if argument.is_dir() {
            let inside = documents(argument).with_context(|| format!("read {}", argument.display()))?;
            anyhow::ensure!(
                !inside.is_empty(),
                "{}: no scenario file (*.yaml, *.yml, *.json) in this directory",
                argument.display()
            );
            files.extend(inside);
        } else {
            files.push(argument.clone());
        }
    }
    Ok(files)
}

/// A file, or the documents of a directory, with their names.
pub fn sources(path: &Path) -> Result<Vec<Source>, String> {
    let files =
        if path.is_dir() { documents(path).map_err(|e| e.to_string())? } else { vec![path.to_owned()] };
    files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            Ok(Source { name: file.display().to_string(), text })
        })
        .collect()
}

fn documents(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| {
            p.is_file() && p.extension().is_some_and(|e| matches!(e.to_str(), Some("yaml" | "yml" | "json")))
        })
        .collect();
    files.sort();
    Ok(files)
}
