//! Requests of commands to the supervisor, and the shapes of its answers.

use crate::bench::kubernetes::Measure;
use crate::run::{RunOptions, ScenarioText};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tortie_agent_api::NodeStatus;

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// The lab's [`crate::spec::LabSpec`].
    Shape,
    /// [`LabStatus`].
    Status,
    /// End the lab.
    Down,
    /// [`crate::control::Place`] of a node, pod, router, segment or outside host.
    Place {
        /// `node1`, `router`, `world`, `namespace/pod`.
        target: String,
    },
    /// [`crate::apply::Applied`]; items are [`crate::apply::Outcome`].
    Apply {
        /// Objects in the order of the files.
        documents: Vec<Value>,
        /// Wait until all nodes enforce it.
        wait: bool,
    },
    /// [`crate::apply::Applied`]; items are [`crate::apply::Outcome`].
    Delete {
        /// Objects; only their identity counts.
        documents: Vec<Value>,
    },
    /// Start pods; answers their [`crate::pods::PodRow`]s.
    AddPods {
        /// The pods.
        pods: Vec<PodArgs>,
    },
    /// Stop pods.
    RemovePods {
        /// `namespace/name`.
        pods: Vec<String>,
    },
    /// [`crate::pods::PodRow`]s.
    Pods,
    /// [`crate::matrix::MatrixSummary`]; items are lists of [`crate::matrix::Entry`].
    Matrix {
        /// Only ends whose names match one of these, if there are any.
        globs: Vec<String>,
    },
    /// Run a scenario; items are [`StepResult`](crate::run::StepResult)s.
    Run {
        /// Its text.
        scenario: ScenarioText,
        /// How.
        options: RunOptions,
    },
    /// [`crate::bench::Row`]s.
    Bench,
    /// [`crate::bench::kubernetes::Samples`], on real nodes.
    Measure {
        /// Of what.
        measure: Measure,
    },
    /// [`crate::bench::Row`]s: the kinds of connections that are not inherited.
    Reuse,
    /// Break or heal something.
    Fault {
        /// In the words of a scenario: `kill-agent 2`.
        fault: String,
    },
}

/// A pod to be started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PodArgs {
    /// `namespace/name`.
    pub(crate) name: String,
    /// Number of the node, from 1; 0: any.
    pub(crate) node: usize,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) service_account: String,
    /// `80/tcp`, `http=80/tcp`.
    pub(crate) listen: Vec<String>,
}

/// What `lab status` shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LabStatus {
    pub(crate) name: String,
    pub(crate) datastore: String,
    pub(crate) fabric: String,
    pub(crate) pools: Vec<String>,
    pub(crate) uptime_seconds: u64,
    pub(crate) directory: String,
    pub(crate) processes: Vec<ProcessStatus>,
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) pods: usize,
}

/// One process of the lab.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessStatus {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) restarts: u32,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeRow {
    pub(crate) name: String,
    pub(crate) segment: usize,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) connected: bool,
    pub(crate) agent: String,
    pub(crate) bird: String,
    pub(crate) pods: usize,
    /// The agent's own report, if it answers.
    pub(crate) status: Option<NodeStatus>,
}
