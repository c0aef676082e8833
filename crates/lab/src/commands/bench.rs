//! `tortie lab bench` and `tortie lab reuse`.

use super::Context;
use crate::args::{BenchArgs, Output};
use crate::bench::{Row, table as render};
use crate::request::Request;
use crate::table;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) fn reuse(context: &Context, output: Output) -> anyhow::Result<ExitCode> {
    let rows: Vec<Row> = context.ask(&Request::Reuse)?;
    table::emit(output, &rows, |rows| {
        rows.iter().fold(String::new(), |mut text, row| {
            let _ = writeln!(text, "{:>3} connections are not {}", row.count, row.what);
            text
        })
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn bench(context: &Context, args: &BenchArgs) -> anyhow::Result<ExitCode> {
    if args.kubernetes {
        return super::bench_kubernetes::bench(context, args);
    }
    let rows: Vec<Row> = context.ask(&Request::Bench)?;
    table::emit(args.output.output, &rows, |rows| render(rows))?;
    Ok(ExitCode::SUCCESS)
}
