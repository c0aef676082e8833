//! `tortie lab`'s arguments.

use crate::kube::space::SpaceSpec;
use crate::spec::{Cni, Datastore, Encapsulation, FabricKind, Families, LabSpec, MAX_NODES, ProxyMode};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use tortie_net::Cidr;

/// A Calico cluster on this machine: every node a network namespace, joined by a routed fabric.
#[derive(Clone, Debug, Parser)]
#[command(name = "lab")]
pub struct Args {
    /// Name of the lab; several live side by side
    #[arg(long, global = true, default_value = LabSpec::DEFAULT_NAME, env = "TORTIE_LAB", value_name = "NAME")]
    pub(crate) name: String,
    /// Say less: no progress on stderr
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a lab
    Up(UpArgs),
    /// Stop a lab and remove everything it made
    Down,
    /// Show nodes, sessions, pods and objects of a lab
    Status {
        #[command(flatten)]
        output: OutputArg,
    },
    /// List labs
    List {
        #[command(flatten)]
        output: OutputArg,
    },
    /// Run a command on a node, the router, a segment or an outside host
    Exec {
        /// `node1`, `router`, `seg1`, `world`, ...
        place: String,
        /// The command; a shell if none is given
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Pods
    #[command(subcommand)]
    Pod(PodCommand),
    /// Create or change objects; workloads become pods that listen on their containers' ports
    Apply {
        /// YAML or JSON file, directory, or - for standard input
        #[arg(long = "filename", short, required = true, value_name = "FILE|DIR|-")]
        filename: Vec<PathBuf>,
        /// Do not wait until every node enforces it
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Delete objects
    Delete {
        /// YAML or JSON file, directory, or - for standard input
        #[arg(long = "filename", short, value_name = "FILE|DIR|-", conflicts_with = "object")]
        filename: Vec<PathBuf>,
        /// KIND and NAME, or KIND and NAMESPACE/NAME
        #[arg(num_args = 2, value_names = ["KIND", "NAME"], required_unless_present = "filename")]
        object: Vec<String>,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Who can reach whom: what policy says against what packets do
    Matrix(MatrixArgs),
    /// Run scenario files with real packets
    Run(RunArgs),
    /// What a pod's start, a policy's change and an idle agent cost here
    Bench(BenchArgs),
    /// Print a kubeconfig for `kubectl` on this machine, of a lab with a Kubernetes API
    Kubeconfig,
    /// Check that a pod with the address of a removed one inherits none of its connections
    Reuse {
        #[command(flatten)]
        output: OutputArg,
    },
    /// Break something on purpose, or heal it
    Fault {
        /// `kill-agent N`, `restart-agent N`, `kill-bird N`, `cut N`, `heal N`, `kill-store`, `restart-node N`
        #[arg(required = true, num_args = 1..=2, value_name = "FAULT")]
        fault: Vec<String>,
    },
    #[command(hide = true)]
    Sandbox(InnerArgs),
    #[command(hide = true)]
    Init(InnerArgs),
    #[command(hide = true)]
    Node(SpaceArgs),
    #[command(hide = true)]
    NodeInit(SpaceArgs),
    #[command(hide = true)]
    Enter {
        #[arg(long)]
        pid_file: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
    #[command(hide = true)]
    Become {
        #[arg(last = true)]
        command: Vec<String>,
    },
    #[command(hide = true)]
    Supervise(InnerArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InnerArgs {
    #[arg(long, value_parser = parse_spec)]
    pub(crate) spec: LabSpec,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SpaceArgs {
    #[arg(long, value_parser = parse_space)]
    pub(crate) space: SpaceSpec,
}

fn parse_space(text: &str) -> Result<SpaceSpec, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

fn parse_spec(text: &str) -> Result<LabSpec, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// How a lab is shaped.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShapeArgs {
    /// Where the nodes' data live
    #[arg(long, value_enum, default_value_t)]
    pub(crate) datastore: Datastore,
    /// How the nodes are joined
    #[arg(long, value_enum, default_value_t)]
    pub(crate) fabric: FabricKind,
    /// How pods' packets travel between nodes
    #[arg(long, value_enum, default_value_t)]
    pub(crate) encapsulation: Encapsulation,
    /// Address families of pods, Services and nodes
    #[arg(long, value_enum, default_value_t)]
    pub(crate) families: Families,
    /// Address pool of pods; repeat it for the other family (default: 10.65.0.0/16 and fd65::/64)
    #[arg(long = "pool", value_name = "CIDR", value_parser = tortie_scenario::parse_pool)]
    pub(crate) pools: Vec<Cidr>,
    /// The CNI plugin (default: `tortie-cni` beside this executable)
    #[arg(long, value_name = "PATH")]
    pub(crate) cni_bin: Option<PathBuf>,
    /// Configuration for every agent, e.g. FELIX_LOGSEVERITYSCREEN=debug
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) agent_env: Vec<(String, String)>,
    /// Real nodes: kubelet and containerd each, with the control plane that they need
    #[arg(long)]
    pub(crate) kubernetes: bool,
    /// With --kubernetes: only API server and kubelets; pods name their node, Services lead nowhere
    #[arg(long, requires = "kubernetes")]
    pub(crate) lean: bool,
    /// With --kubernetes: who gives pods their network
    #[arg(long, value_enum, default_value_t, requires = "kubernetes")]
    pub(crate) cni: Cni,
    /// With --kubernetes: how kube-proxy makes Services
    #[arg(long, value_enum, default_value_t, requires = "kubernetes")]
    pub(crate) kube_proxy: ProxyMode,
    /// With --kubernetes and --cni none: without our kinds and objects, as a cluster is before anything is installed
    #[arg(long, requires = "kubernetes")]
    pub(crate) bare: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_NODES as u64))]
    pub(crate) nodes: usize,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    /// Stay, and take the lab down when standard input ends, or this command does
    #[arg(long)]
    pub(crate) tied: bool,
    /// Only the fabric: no agents and no BIRD
    #[arg(long, hide = true)]
    pub(crate) without_agents: bool,
}

/// `lab pod ...`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PodCommand {
    /// Start pods
    Add {
        /// `namespace/name`
        #[arg(required = true, value_name = "NAMESPACE/NAME")]
        pods: Vec<String>,
        /// Node number or name (default: the node with the fewest pods)
        #[arg(long)]
        node: Option<String>,
        /// Labels: `a=b,c=d`
        #[arg(long, value_delimiter = ',', value_parser = parse_pair, value_name = "KEY=VALUE")]
        labels: Vec<(String, String)>,
        /// Ports to listen on: `80/tcp`, `http=80/tcp`
        #[arg(long, value_delimiter = ',', value_name = "PORT/PROTOCOL")]
        listen: Vec<String>,
        /// Service account
        #[arg(long, default_value = "default")]
        service_account: String,
    },
    /// Stop pods
    Del {
        /// `namespace/name`
        #[arg(required = true, value_name = "NAMESPACE/NAME")]
        pods: Vec<String>,
    },
    /// List pods
    List {
        #[command(flatten)]
        output: OutputArg,
    },
    /// Run a command in a pod's network namespace
    Exec {
        /// `namespace/name`
        pod: String,
        /// The command; a shell if none is given
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MatrixArgs {
    /// Only pods whose `namespace/name` matches one of these globs
    #[arg(value_name = "GLOB")]
    pub(crate) pods: Vec<String>,
    /// A line for each pod, also where all pods of a workload behave alike
    #[arg(long)]
    pub(crate) each: bool,
    /// A table for each port
    #[arg(long)]
    pub(crate) ports: bool,
    #[command(flatten)]
    pub(crate) output: OutputArg,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// In labs of its own with real nodes, in turns with the CNI project's bridge
    #[arg(long)]
    pub(crate) kubernetes: bool,
    /// With --kubernetes: how often each network gets a cluster
    #[arg(long, requires = "kubernetes", value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    pub(crate) rounds: Option<usize>,
    /// With --kubernetes: as little as shows that it works
    #[arg(long, requires = "kubernetes")]
    pub(crate) short: bool,
    /// With --kubernetes: the CNI plugin (default: `tortie-cni` beside this executable)
    #[arg(long, requires = "kubernetes", value_name = "PATH")]
    pub(crate) cni_bin: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArg,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Scenario files, or directories of them
    #[arg(required = true, value_name = "SCENARIO")]
    pub(crate) scenarios: Vec<PathBuf>,
    /// Report
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: ReportFormat,
    /// Leave the lab up
    #[arg(long)]
    pub(crate) keep: bool,
    /// After each step kill every agent with -9, restart it, and check everything again
    #[arg(long)]
    pub(crate) restart_agents: bool,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArg {
    /// Output
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// Format of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Table,
    Json,
    Yaml,
}

/// Format of a scenario report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    #[default]
    Table,
    Json,
    Junit,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
        let args =
            Args::try_parse_from(["lab", "pod", "add", "a/b", "--labels", "x=1,y=2", "--name", "z"]).unwrap();
        assert_eq!(args.name, "z");
        let Command::Pod(PodCommand::Add { labels, .. }) = args.command else { unreachable!() };
        assert_eq!(labels, [("x".into(), "1".into()), ("y".into(), "2".into())]);
        assert!(Args::try_parse_from(["lab", "up", "--nodes", "0"]).is_err());
        let beyond = Args::try_parse_from(["lab", "up", "--pool", "10.65.3.0/16"]).unwrap_err().to_string();
        assert!(beyond.contains("did you mean 10.65.0.0/16?"), "{beyond}");
        assert!(Args::try_parse_from(["lab", "delete"]).is_err());
        assert!(Args::try_parse_from(["lab", "delete", "pod", "a/b"]).is_ok());
    }
}
