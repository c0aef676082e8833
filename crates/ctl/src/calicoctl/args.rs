//! The arguments of each command, by the names that Calico's client gives them.

use crate::commands::Scope;
use crate::commands::crud::{self, Selection};
use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a resource by file, directory or stdin
    Create {
        #[command(flatten)]
        file: File,
        /// Skip over resources that already exist
        #[arg(long)]
        skip_exists: bool,
    },
    /// Apply a resource by file, directory or stdin
    Apply {
        #[command(flatten)]
        file: File,
    },
    /// Replace a resource by file, directory or stdin
    Replace {
        #[command(flatten)]
        file: File,
    },
    /// Delete a resource by file, directory, stdin, or type and name
    Delete {
        #[command(flatten)]
        file: File,
        /// Skip over resources that do not exist
        #[arg(short, long)]
        skip_not_exists: bool,
    },
    /// Get a resource by file, directory, stdin, or type and name
    Get {
        #[command(flatten)]
        file: File,
        /// Output format: yaml, json, ps, wide, custom-columns=..., go-template=..., go-template-file=...
        #[arg(short, long, default_value = "ps")]
        output: String,
        /// List the requested objects across all namespaces
        #[arg(short = 'A', long, short_alias = 'a')]
        all_namespaces: bool,
        /// Strip cluster-specific information from the output
        #[arg(long)]
        export: bool,
    },
    /// Patch a pre-existing resource in place
    Patch {
        /// Kind of the resource
        kind: String,
        /// Name of the resource
        name: String,
        #[command(flatten)]
        config: Config,
        /// Namespace of the resource
        #[arg(short, long)]
        namespace: Option<String>,
        /// Spec to use to patch the resource
        #[arg(short, long, default_value = "")]
        patch: String,
        /// Format of patch type: strategic, json, or merge
        #[arg(short = 't', long = "type", default_value = "strategic")]
        form: String,
    },
    /// Add or update labels of resources
    Label {
        /// Kind of the resource
        kind: String,
        /// Name of the resource
        name: String,
        /// key=value, or key with --remove
        label: String,
        #[command(flatten)]
        config: Config,
        /// Namespace of the resource
        #[arg(short, long)]
        namespace: Option<String>,
        /// Overwrite the value when the key is already present in labels
        #[arg(long)]
        overwrite: bool,
        /// Remove the specified key from labels
        #[arg(long)]
        remove: bool,
    },
    /// Validate a resource by file, directory or stdin without applying it
    Validate {
        #[command(flatten)]
        file: File,
    },
    /// IP address management
    Ipam {
        #[command(subcommand)]
        command: Option<IpamCommand>,
    },
    /// Calico node management
    Node {
        #[command(subcommand)]
        command: Option<NodeCommand>,
    },
    /// Access cluster information
    Cluster {
        #[command(subcommand)]
        command: Option<ClusterCommand>,
    },
    /// Calico datastore management
    Datastore {
        #[command(subcommand)]
        command: Option<DatastoreCommand>,
    },
    /// Tell what a kind or a field is and what values it takes
    Explain {
        /// KIND, or KIND.path.to.field
        path: String,
        /// Show the fields of fields too
        #[arg(long)]
        recursive: bool,
    },
    /// Label selectors
    Selector {
        #[command(subcommand)]
        command: Option<SelectorCommand>,
    },
    /// Display the version of this binary
    Version {
        #[command(flatten)]
        config: Config,
        /// Display the client version only
        #[arg(long)]
        client: bool,
        /// Poll for changes to the cluster information at this interval
        #[arg(long)]
        poll: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum SelectorCommand {
    /// Check whether a selector is well formed, what it means, and what it selects
    Check {
        /// The expression
        selector: String,
        /// Labels to try it on: key=value,... (again for another thing)
        #[arg(long = "labels")]
        labels: Vec<String>,
        /// List the endpoints and network sets of the datastore that it selects, by their own and inherited labels
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum IpamCommand {
    /// Show details of a Calico configuration, assigned IP address, or of overall IP usage
    Show {
        #[command(flatten)]
        config: Config,
        /// Report whether this specific IP address is in use
        #[arg(long)]
        ip: Option<String>,
        /// Show detailed information for IP blocks as well as pools
        #[arg(long)]
        show_blocks: bool,
        /// Show detailed information for borrowed IP addresses
        #[arg(long)]
        show_borrowed: bool,
        /// Show current Calico IPAM configuration
        #[arg(long)]
        show_configuration: bool,
    },
    /// Release a Calico assigned IP address
    Release {
        #[command(flatten)]
        config: Config,
        /// IP address to release
        #[arg(long)]
        ip: Option<String>,
        /// Release all leaked addresses from the report
        #[arg(long)]
        from_report: Vec<String>,
        /// Force release of leaked addresses
        #[arg(long)]
        force: bool,
    },
    /// Configure IPAM
    Configure {
        #[command(flatten)]
        config: Config,
        /// Set StrictAffinity to true/false
        #[arg(long)]
        strictaffinity: Option<String>,
        /// Set the maximum number of blocks that can be affine to a host
        #[arg(long)]
        max_blocks_per_host: Option<String>,
        /// Control whether KubeVirt VMs retain persistent IP addresses (Enabled|Disabled)
        #[arg(long)]
        kubevirt_ip_persistence: Option<String>,
        /// Set the minimum time between release and re-allocation of an IP address
        #[arg(long, allow_negative_numbers = true)]
        ip_cooldown_seconds: Option<i64>,
    },
    /// Compare what address management holds with what nodes and workloads use
    Check {
        #[command(flatten)]
        config: Config,
        /// Print all IPs that are checked
        #[arg(long)]
        show_all_ips: bool,
        /// Print all IPs that are leaked or not allocated properly
        #[arg(long)]
        show_problem_ips: bool,
        /// Path to output report file
        #[arg(short, long)]
        output: Option<String>,
        /// Path to Kubeconfig file
        #[arg(long)]
        kubeconfig: Option<String>,
    },
    /// Split an IP pool into the specified number of smaller IP pools
    Split {
        /// How many
        number: String,
        #[command(flatten)]
        config: Config,
        /// CIDR of the IP pool to split
        #[arg(long)]
        cidr: Option<String>,
        /// Name of the IP pool to split
        #[arg(long)]
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DatastoreCommand {
    /// Migrate the contents of an etcdv3 datastore to a Kubernetes datastore
    Migrate {
        #[command(subcommand)]
        command: Option<MigrateCommand>,
    },
    /// Rewrite policy names from before v3.32 to drop the "default." tier prefix
    MigratePolicyNames {
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MigrateCommand {
    /// Lock the datastore to prevent changes during migration
    Lock {
        #[command(flatten)]
        config: Config,
    },
    /// Unlock the datastore to allow changes after migration
    Unlock {
        #[command(flatten)]
        config: Config,
    },
    /// Export the contents of the datastore as YAML
    Export {
        #[command(flatten)]
        config: Config,
        /// Export from a Kubernetes datastore, too: to go from one of its API groups (CALICO_API_GROUP) to the other
        #[arg(long)]
        any_datastore: bool,
    },
    /// Store the resources of an export into the Kubernetes datastore
    Import {
        #[command(flatten)]
        config: Config,
        /// File of an export; '-' for stdin
        #[arg(short, long, default_value = "")]
        filename: String,
        /// Judge file and datastore, tell what would be written, and write nothing
        #[arg(long)]
        dry_run: bool,
        /// Write what became of each kind to this file, as JSON
        #[arg(long)]
        report: Option<String>,
        /// Go on with an import that was interrupted; what is there is replaced
        #[arg(long)]
        resume: bool,
        /// Import into a datastore other than Kubernetes, too
        #[arg(long)]
        any_datastore: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// View the current status of a Calico node
    Status,
    /// Gather a diagnostics bundle for a Calico node
    Diags {
        /// The directory containing Calico logs
        #[arg(long, default_value = "/var/log/calico")]
        log_dir: String,
    },
    /// Verify the compute host is able to run a Calico node instance
    Checksystem {
        /// Override the Kernel config file location
        #[arg(short = 'f', long)]
        kernel_config: Option<String>,
    },
    /// Run the Calico node container image
    Run(NodeRun),
}

/// What `node run` takes.
#[derive(Debug, ClapArgs)]
pub(super) struct NodeRun {
    #[command(flatten)]
    config: Config,
    /// Set the local IPv4 routing address for this node
    #[arg(long)]
    ip: Option<String>,
    /// Set the local IPv6 routing address for this node
    #[arg(long)]
    ip6: Option<String>,
    /// Set the AS number for this node
    #[arg(long = "as")]
    as_number: Option<String>,
    /// The name of the Calico node
    #[arg(long)]
    name: Option<String>,
    /// Specify the autodetection method for detecting the local IPv4 routing address
    #[arg(long, default_value = "first-found")]
    ip_autodetection_method: String,
    /// Specify the autodetection method for detecting the local IPv6 routing address
    #[arg(long, default_value = "first-found")]
    ip6_autodetection_method: String,
    /// The directory containing Calico logs
    #[arg(long, default_value = "/var/log/calico")]
    log_dir: String,
    /// Image to use for the per-node container
    #[arg(long)]
    node_image: Option<String>,
    /// Specify which networking backend to use (bird|none)
    #[arg(long, default_value = "bird")]
    backend: String,
    /// Output the appropriate command, without starting the container
    #[arg(long)]
    dryrun: bool,
    /// Run the appropriate command to use with an init system
    #[arg(long)]
    init_system: bool,
    /// Do not create default pools upon startup
    #[arg(long)]
    no_default_ippools: bool,
    /// Path to the file containing Felix configuration
    #[arg(long)]
    felix_config: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Collect snapshot of diagnostic info and logs related to Calico at the cluster-level
    Diags {
        #[command(flatten)]
        config: Config,
        /// Only collect logs newer than provided relative duration (e.g. 30m, 2h)
        #[arg(long, default_value = "")]
        since: String,
        /// Only collect up to this number of logs, for each kind of Calico component
        #[arg(long, default_value_t = 5, allow_negative_numbers = true)]
        max_logs: i64,
        /// Maximum number of parallel threads to use for collecting logs
        #[arg(long, default_value_t = 10, allow_negative_numbers = true)]
        max_parallelism: i64,
        /// Comma-separated list of nodes from which to try first to collect logs
        #[arg(long, default_value = "")]
        focus_nodes: String,
        /// Don't clean up the temporary directory
        #[arg(long)]
        skip_temp_dir_cleanup: bool,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct Config {
    /// Path to the file containing connection configuration in YAML or JSON format [default: /etc/calico/calicoctl.cfg]
    #[arg(short, long)]
    pub(super) config: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct File {
    /// Kind, and names of the resources
    #[arg(value_name = "KIND [NAME]")]
    resources: Vec<String>,
    /// File or directory of the resources; '-' for stdin
    #[arg(short, long)]
    filename: Option<String>,
    /// Process the filename specified in -f recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Do not error if files contain no data
    #[arg(long)]
    skip_empty: bool,
    #[command(flatten)]
    config: Config,
    /// Namespace of the resource
    #[arg(short, long)]
    namespace: Option<String>,
}

impl File {
    pub(super) fn split(self) -> (crud::Options, Config) {
        let Self { resources, filename, recursive, skip_empty, config, namespace } = self;
        let mut resources = resources.into_iter();
        let selection = Selection {
            filename: filename.filter(|f| !f.is_empty()),
            recursive,
            skip_empty,
            kind: resources.next(),
            names: resources.collect(),
        };
        let scope = Scope { namespace, all_namespaces: false };
        (crud::Options { selection, scope, ..crud::Options::default() }, config)
    }
}
