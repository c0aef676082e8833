//! `lab pod`.

use super::{Context, exec};
use crate::args::{OutputArg, PodCommand};
use crate::pods::{PodName, PodRow};
use crate::request::{PodArgs, Request};
use crate::table::{self, Table};
use crate::terminal::Terminal;
use anyhow::Context as _;
use std::process::ExitCode;

pub(crate) fn pod(context: &Context, command: PodCommand) -> anyhow::Result<ExitCode> {
    match command {
        PodCommand::Add { pods, node, labels, listen, service_account } => {
            let node = node.map_or(Ok(0), |n| node_number(&n))?;
            let args = |name: &String| PodArgs {
                name: name.clone(),
                node,
                labels: labels.iter().cloned().collect(),
                service_account: service_account.clone(),
                listen: listen.clone(),
            };
            let pods = pods.iter().map(args).collect();
            let rows: Vec<PodRow> = context.ask(&Request::AddPods { pods })?;
            Terminal::print(&render(&rows));
            Ok(ExitCode::SUCCESS)
        }
        PodCommand::Del { pods } => {
            context.ask::<()>(&Request::RemovePods { pods: pods.clone() })?;
            for pod in pods {
                Terminal::print(&format!("pod {pod} deleted"));
            }
            Ok(ExitCode::SUCCESS)
        }
        PodCommand::List { output } => list(context, output),
        PodCommand::Exec { pod, command } => {
            // Checked here so that a pod's name can never mean a node.
            let name: PodName = pod.parse()?;
            exec::exec(context, &name.to_string(), &command)
        }
    }
}

fn node_number(text: &str) -> anyhow::Result<usize> {
    text.strip_prefix("node")
        .unwrap_or(text)
        .parse()
        .with_context(|| format!("--node: {text:?} is no node, expected 1 or node1"))
}

fn list(context: &Context, output: OutputArg) -> anyhow::Result<ExitCode> {
    let rows: Vec<PodRow> = context.ask(&Request::Pods)?;
    table::emit(output.output, &rows, |rows| render(rows))?;
    Ok(ExitCode::SUCCESS)
}

fn render(rows: &[PodRow]) -> String {
    let mut table = Table::new(&["NAMESPACE", "NAME", "NODE", "ADDRESSES", "LISTEN", "OWNER"]);
    for row in rows {
        let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
        table.add([
            row.namespace.clone(),
            row.name.clone(),
            row.node.clone(),
            addresses.join(" "),
            row.listen.join(","),
            row.owner.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}
