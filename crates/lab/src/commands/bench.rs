//! `tortie lab bench`.

use super::Context;
use crate::args::Output;
use crate::bench::{Row, table as render};
use crate::request::Request;
use crate::table;
use std::process::ExitCode;

pub(super) fn bench(context: &Context, output: Output) -> anyhow::Result<ExitCode> {
    let rows: Vec<Row> = context.ask(&Request::Bench)?;
    table::emit(output, &rows, |rows| render(rows))?;
    Ok(ExitCode::SUCCESS)
}
