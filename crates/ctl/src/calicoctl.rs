//! `tortie ctl`, also `calicoctl` and `kubectl-calico`: arguments as Calico's client takes them, and dispatch.

use crate::commands::crud::{self, Action, Selection};
use crate::commands::{
    Common, Failure, Outcome, Scope, Surroundings, datastore, explain, get, ipam, label, patch, selector,
    version,
};
use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// Manage Calico network and security policy, endpoints and nodes
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Set the log level (panic, fatal, error, warn, info, debug)
    #[arg(short, long, global = true, default_value = "panic")]
    log_level: String,
    /// The name of the kubeconfig context to use
    #[arg(long, global = true)]
    context: Option<String>,
    /// Allow client and cluster versions mismatch
    #[arg(long, global = true)]
    allow_version_mismatch: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The program by its own name.
#[derive(Debug, Parser)]
#[command(name = "calicoctl", disable_help_subcommand = true)]
struct Program {
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, Subcommand)]
enum Command {
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
enum SelectorCommand {
    /// Check whether a selector is well formed, what it means, and what it selects
    Check {
        /// The expression
        selector: String,
        /// Labels to try it on: key=value,... (again for another thing)
        #[arg(long = "labels")]
        labels: Vec<String>,
        /// List the endpoints and network sets of the datastore that it selects by their own labels
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Debug, Subcommand)]
enum IpamCommand {
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
        #[arg(long)]
        ip_cooldown_seconds: Option<u32>,
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
enum DatastoreCommand {
    /// Lock and unlock the datastore for a migration
    Migrate {
        #[command(subcommand)]
        command: Option<MigrateCommand>,
    },
}

#[derive(Debug, Subcommand)]
enum MigrateCommand {
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
}

#[derive(Debug, ClapArgs)]
struct Config {
    /// Path to the file containing connection configuration in YAML or JSON format [default: /etc/calico/calicoctl.cfg]
    #[arg(short, long)]
    config: Option<String>,
}

#[derive(Debug, ClapArgs)]
struct File {
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

/// True if a program of this name is the client itself.
pub fn is_own_name(name: &str) -> bool {
    matches!(name, "calicoctl" | "kubectl-calico")
}

/// Runs the client with the process's own streams and environment. `arguments` begin with the program's name.
pub fn main(arguments: &[String]) -> ExitCode {
    let mut world = Surroundings {
        environment: &|name| std::env::var(name).ok(),
        stdin: &mut std::io::stdin(),
        out: &mut std::io::stdout(),
        err: &mut std::io::stderr(),
    };
    ExitCode::from(run(arguments, &mut world))
}

/// The client's arguments, as `calicoctl` has them.
pub fn command() -> clap::Command {
    Program::command()
}

/// Runs the client on parsed arguments, with the process's own streams and environment.
pub fn run_args(args: Args, out: &mut impl Write) -> ExitCode {
    let mut world = Surroundings {
        environment: &|name| std::env::var(name).ok(),
        stdin: &mut std::io::stdin(),
        out,
        err: &mut std::io::stderr(),
    };
    ExitCode::from(finish(args, "calicoctl", &mut world))
}

/// Runs the client in any surroundings; answers the exit status.
pub fn run(arguments: &[String], world: &mut Surroundings<'_>) -> u8 {
    let name = arguments.first().map_or("calicoctl", |path| path.rsplit('/').next().unwrap_or("calicoctl"));
    let parsed = Program::command()
        .bin_name(name.to_owned())
        .try_get_matches_from(arguments)
        .and_then(|matches| Program::from_arg_matches(&matches));
    match parsed {
        Ok(program) => finish(program.args, name, world),
        Err(error) => {
            let stream = if error.use_stderr() { &mut world.err } else { &mut world.out };
            // Nobody is left to be told if the stream is closed.
            let _ = write!(stream, "{error}");
            u8::from(error.use_stderr())
        }
    }
}

fn finish(args: Args, name: &str, world: &mut Surroundings<'_>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(world.err, "cannot start the runtime: {error}");
            return 1;
        }
    };
    let outcome = runtime.block_on(dispatch(args, name, world));
    let flushed = world.out.flush();
    match outcome {
        Ok(()) => u8::from(flushed.is_err()),
        Err(Failure::OnStdout(told)) => {
            let _ = writeln!(world.out, "{told}");
            1
        }
        Err(Failure::Message(told)) => {
            let _ = writeln!(world.err, "{}", told.trim_end());
            1
        }
    }
}

async fn dispatch(args: Args, name: &str, world: &mut Surroundings<'_>) -> Outcome {
    if !["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"]
        .contains(&args.log_level.to_ascii_lowercase().as_str())
    {
        return Err(Failure::new(format!(
            "unknown log level: {}, expected one of: panic, fatal, error, warn, info, debug",
            args.log_level
        )));
    }
    let common = |config: Config| Common {
        config: config.config,
        allow_version_mismatch: args.allow_version_mismatch,
    };
    let Some(command) = args.command else { return help(&[], name, world) };
    match command {
        Command::Create { file, skip_exists } => {
            let (options, config) = file.split();
            let options = crud::Options { skip_exists, ..options };
            crud::run(Action::Create, &options, &common(config), world).await
        }
        Command::Apply { file } => {
            let (options, config) = file.split();
            crud::run(Action::Apply, &options, &common(config), world).await
        }
        Command::Replace { file } => {
            let (options, config) = file.split();
            crud::run(Action::Replace, &options, &common(config), world).await
        }
        Command::Validate { file } => {
            let (options, config) = file.split();
            crud::run(Action::Validate, &options, &common(config), world).await
        }
        Command::Delete { file, skip_not_exists } => {
            let (options, config) = file.split();
            let options = crud::Options { skip_not_exists, ..options };
            crud::run(Action::Delete, &options, &common(config), world).await
        }
        Command::Get { file, output, all_namespaces, export } => {
            let (options, config) = file.split();
            let scope = Scope { all_namespaces, ..options.scope };
            let options = get::Options { selection: options.selection, scope, output, export };
            get::run(&options, &common(config), world).await
        }
        Command::Patch { kind, name, config, namespace, patch, form } => {
            let scope = Scope { namespace, all_namespaces: false };
            let options = patch::Options { kind, name, patch, form, scope };
            patch::run(&options, &common(config), world).await
        }
        Command::Label { kind, name, label, config, namespace, overwrite, remove } => {
            let scope = Scope { namespace, all_namespaces: false };
            let options = label::Options { kind, name, label, overwrite, remove, scope };
            label::run(&options, &common(config), world).await
        }
        Command::Version { config, client, poll } => {
            version::run(&version::Options { client, poll }, &common(config), world).await
        }
        Command::Explain { path, recursive } => explain::run(&path, recursive, world),
        Command::Selector { command: None } => help(&["selector"], name, world),
        Command::Selector { command: Some(SelectorCommand::Check { selector, labels, live, config }) } => {
            let selector = selector::check(&selector::Options { selector, labels }, world)?;
            if live {
                let client = common(config).client(world).await?;
                selector::live(&selector, &client, world).await?;
            }
            Ok(())
        }
        Command::Ipam { command: None } => help(&["ipam"], name, world),
        Command::Ipam { command: Some(command) } => {
            dispatch_ipam(command, args.allow_version_mismatch, world).await
        }
        Command::Datastore { command: None } => help(&["datastore"], name, world),
        Command::Datastore { command: Some(DatastoreCommand::Migrate { command: None }) } => {
            help(&["datastore", "migrate"], name, world)
        }
        Command::Datastore { command: Some(DatastoreCommand::Migrate { command: Some(command) }) } => {
            match command {
                MigrateCommand::Lock { config } => datastore::set_ready(false, &common(config), world).await,
                MigrateCommand::Unlock { config } => datastore::set_ready(true, &common(config), world).await,
            }
        }
    }
}

async fn dispatch_ipam(
    command: IpamCommand,
    allow_version_mismatch: bool,
    world: &mut Surroundings<'_>,
) -> Outcome {
    let common = |config: Config| Common { config: config.config, allow_version_mismatch };
    match command {
        IpamCommand::Show { config, ip, show_blocks, show_configuration } => {
            let options = ipam::Options { ip, blocks: show_blocks, configuration: show_configuration };
            ipam::show(&options, &common(config), world).await
        }
        IpamCommand::Release { config, ip, from_report, force } => {
            if from_report.is_empty() {
                return ipam::release(ip.as_deref(), &common(config), world).await;
            }
            let options = ipam::reports::Options { reports: from_report, force };
            ipam::reports::run(&options, &common(config), world).await
        }
        IpamCommand::Configure {
            config,
            strictaffinity,
            max_blocks_per_host,
            kubevirt_ip_persistence,
            ip_cooldown_seconds,
        } => {
            let settings = ipam::Settings {
                strict_affinity: strictaffinity,
                max_blocks_per_host,
                kubevirt_ip_persistence,
                ip_cooldown_seconds,
            };
            ipam::configure(&settings, &common(config), world).await
        }
        IpamCommand::Check { config, show_all_ips, show_problem_ips, output, kubeconfig: _ } => {
            let options =
                ipam::check::Options { all: show_all_ips, problems: show_problem_ips, report: output };
            ipam::check::run(&options, &common(config), world).await
        }
        IpamCommand::Split { number, config, cidr, name } => {
            ipam::split::run(&ipam::split::Options { number, cidr, name }, &common(config), world).await
        }
    }
}

/// A group of commands without a command tells what it has.
fn help(path: &[&str], name: &str, world: &mut Surroundings<'_>) -> Outcome {
    let mut command = Program::command().bin_name(name.to_owned());
    command.build();
    let group = path.iter().try_fold(&mut command, |command, part| command.find_subcommand_mut(part));
    if let Some(group) = group {
        write!(world.out, "{}", group.render_long_help())?;
    }
    Ok(())
}

impl File {
    fn split(self) -> (crud::Options, Config) {
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
