//! From arguments to commands.

use super::args::{
    ClusterCommand, Command, Config, DatastoreCommand, IpamCommand, MigrateCommand, NodeCommand,
    SelectorCommand,
};
use super::{Args, Program};
use crate::commands::crud::{self, Action};
use crate::commands::{
    Common, Failure, Outcome, Scope, Surroundings, cluster, datastore, explain, get, ipam, label, node,
    patch, selector, version,
};
use clap::CommandFactory;

pub(super) async fn dispatch(args: Args, name: &str, world: &mut Surroundings<'_>) -> Outcome {
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
            dispatch_migrate(command, &common, world).await
        }
        Command::Datastore { command: Some(DatastoreCommand::MigratePolicyNames { config }) } => {
            datastore::names::run(&common(config), world).await
        }
        Command::Node { command: None } => help(&["node"], name, world),
        Command::Node { command: Some(command) } => dispatch_node(command, world).await,
        Command::Cluster { command: None } => help(&["cluster"], name, world),
        Command::Cluster {
            command:
                Some(ClusterCommand::Diags {
                    config,
                    since,
                    max_logs,
                    max_parallelism,
                    focus_nodes,
                    skip_temp_dir_cleanup,
                }),
        } => {
            let options = cluster::Options {
                since,
                max_logs,
                max_parallelism,
                focus_nodes,
                keep: skip_temp_dir_cleanup,
            };
            cluster::diags(&options, &common(config), world).await
        }
    }
}

async fn dispatch_migrate(
    command: MigrateCommand,
    common: &dyn Fn(Config) -> Common,
    world: &mut Surroundings<'_>,
) -> Outcome {
    match command {
        MigrateCommand::Lock { config } => datastore::lock(&common(config), world).await,
        MigrateCommand::Unlock { config } => datastore::unlock(&common(config), world).await,
        MigrateCommand::Export { config, any_datastore } => {
            datastore::export::run(any_datastore, &common(config), world).await
        }
        MigrateCommand::Import { config, filename, dry_run, report, resume, any_datastore } => {
            let options = datastore::import::Options { filename, dry_run, report, resume, any_datastore };
            datastore::import::run(&options, &common(config), world).await
        }
    }
}

async fn dispatch_node(command: NodeCommand, world: &mut Surroundings<'_>) -> Outcome {
    match command {
        NodeCommand::Status => node::status(world).await,
        NodeCommand::Diags { log_dir } => node::diags(&log_dir, world).await,
        NodeCommand::Checksystem { kernel_config } => node::check_system(kernel_config.as_deref(), world),
        NodeCommand::Run(_) => Err(Failure::new(
            "there is no container image to run: start the node agent itself with 'tortie agent', or as the calico-node \
             DaemonSet; it takes the same environment (IP, IP6, AS, NODENAME, CALICO_NETWORKING_BACKEND, ...)",
        )),
    }
}

async fn dispatch_ipam(
    command: IpamCommand,
    allow_version_mismatch: bool,
    world: &mut Surroundings<'_>,
) -> Outcome {
    let common = |config: Config| Common { config: config.config, allow_version_mismatch };
    match command {
        IpamCommand::Show { config, ip, show_blocks, show_borrowed, show_configuration } => {
            let options = ipam::Options {
                ip,
                blocks: show_blocks,
                borrowed: show_borrowed,
                configuration: show_configuration,
            };
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
                // As with Calico's client, a negative number says nothing.
                ip_cooldown_seconds: ip_cooldown_seconds.and_then(|seconds| u32::try_from(seconds).ok()),
            };
            ipam::configure(&settings, &common(config), world).await
        }
        IpamCommand::Check { config, show_all_ips, show_problem_ips, output, kubeconfig } => {
            let options = ipam::check::Options {
                all: show_all_ips,
                problems: show_problem_ips,
                report: output,
                kubeconfig,
            };
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
