//! `lab list` and `lab status`.

use super::Context;
use crate::args::Output;
use crate::control::Client;
use crate::dirs::{self, DirState};
use crate::kube::control_plane::admin_config_path;
use crate::request::{LabStatus, NodeRow, Request};
use crate::spec::LabSpec;
use crate::table::{self, Table};
use crate::terminal::Terminal;
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    state: &'static str,
    nodes: Option<usize>,
    pods: Option<usize>,
    fabric: Option<String>,
    datastore: Option<String>,
    directory: String,
}

/// Prints the file with which `kubectl` on the host reaches the lab's API server.
pub(crate) fn kubeconfig(context: &Context) -> anyhow::Result<ExitCode> {
    let spec: LabSpec = context.ask(&Request::Shape)?;
    let path = admin_config_path(context.dir.path());
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            Terminal::print(text.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Err(_) if spec.kube_bin.is_none() => bail!(
            "lab {:?} keeps its objects in the {} datastore and has no Kubernetes API: start one with `tortie lab up --datastore kubernetes`",
            spec.name,
            spec.datastore
        ),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

pub(crate) fn list(terminal: Terminal, output: Output) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for dir in dirs::all()? {
        if dir.state()? != DirState::Alive {
            if dir.clean()? {
                terminal.warn(&format!("removed the leftovers of lab {:?}, which had died", dir.name()));
            }
            continue;
        }
        let status: Option<LabStatus> = match Client::try_connect(&dir)? {
            Some(mut client) => Some(client.call(&Request::Status, &mut |_| {})?),
            None => None,
        };
        rows.push(Row {
            name: dir.name().to_owned(),
            state: if status.is_some() { "up" } else { "starting" },
            nodes: status.as_ref().map(|s| s.nodes.len()),
            pods: status.as_ref().map(|s| s.pods),
            fabric: status.as_ref().map(|s| s.fabric.clone()),
            datastore: status.as_ref().map(|s| s.datastore.clone()),
            directory: dir.path().display().to_string(),
        });
    }
    let dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    table::emit(output, &rows, |rows| {
        let mut table = Table::new(&["NAME", "STATE", "NODES", "PODS", "FABRIC", "DATASTORE", "DIRECTORY"]);
        for row in rows {
            table.add([
                row.name.clone(),
                row.state.to_owned(),
                dash(row.nodes.map(|n| n.to_string())),
                dash(row.pods.map(|n| n.to_string())),
                dash(row.fabric.clone()),
                dash(row.datastore.clone()),
                row.directory.clone(),
            ]);
        }
        table.to_string()
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn status(context: &Context, output: Output) -> anyhow::Result<ExitCode> {
    let status: LabStatus = context.ask(&Request::Status)?;
    table::emit(output, &status, render)?;
    Ok(ExitCode::SUCCESS)
}

fn render(status: &LabStatus) -> String {
    let mut text = format!(
        "lab {}: {} fabric, {} datastore, pools {}, up for {} s\nfiles in {}\n\n",
        status.name,
        status.fabric,
        status.datastore,
        status.pools.join(" "),
        status.uptime_seconds,
        status.directory
    );
    let mut nodes =
        Table::new(&["NODE", "SEGMENT", "ADDRESSES", "LINK", "AGENT", "BIRD", "BGP", "PODS", "STATE"]);
    for node in &status.nodes {
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        nodes.add([
            node.name.clone(),
            node.segment.to_string(),
            addresses.join(" "),
            if node.connected { "up" } else { "cut" }.to_owned(),
            node.agent.clone(),
            node.bird.clone(),
            sessions(node),
            node.pods.to_string(),
            health(node),
        ]);
    }
    text.push_str(&nodes.to_string());
    text.push('\n');
    let mut processes = Table::new(&["PROCESS", "STATE", "RESTARTS"]);
    for process in &status.processes {
        processes.add([process.name.clone(), process.state.clone(), process.restarts.to_string()]);
    }
    text.push_str(&processes.to_string());
    text
}

/// Established sessions of all.
fn sessions(node: &NodeRow) -> String {
    let Some(status) = &node.status else { return "-".to_owned() };
    let up = status.bgp.iter().filter(|s| s.state == "up").count();
    format!("{up}/{}", status.bgp.len())
}

fn health(node: &NodeRow) -> String {
    match &node.status {
        None => "-".to_owned(),
        Some(status) if status.ready => "ready".to_owned(),
        Some(status) if status.reasons.is_empty() => status.sync.clone(),
        Some(status) => status.reasons.join(", "),
    }
}
