//! `lab fault`: break something on purpose.

use super::Context;
use crate::request::Request;
use crate::terminal::Terminal;
use std::process::ExitCode;

pub(crate) fn fault(context: &Context, words: &[String]) -> anyhow::Result<ExitCode> {
    let done: String = context.ask(&Request::Fault { fault: words.join(" ") })?;
    Terminal::print(&done);
    Ok(ExitCode::SUCCESS)
}
