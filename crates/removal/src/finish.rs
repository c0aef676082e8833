//! The last of a removal: when no pod needs anything any more.

use crate::{Configurations, Mark};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use tortie_causes::chain;
use tortie_kernel_net::{DumpError, Netlink, Route, RouteFilter, RouteProtocol, TableId};

/// Ends of tunnels, whose routes, neighbours and forwarding entries go with them.
const TUNNELS: [&str; 2] = ["vxlan.calico", "vxlan-v6.calico"];
/// Files of the directory of sockets.
const RUNTIME: [&str; 6] = ["agent.sock", "bird.ctl", "bird.pid", "bird.before", "bird.cfg", "bird.cfg.new"];
/// Files of the directory of state.
const STATE: [&str; 2] = ["nodename", "mtu"];
/// Ends of pods that no agent has heard of; files of our own in a directory of our own.
const JOURNAL: &str = "cni-del";
/// The plugin's names.
const PLUGINS: [&str; 2] = ["calico", "calico-ipam"];

/// Where things are on the node, as the caller sees it.
#[derive(Clone, Debug)]
pub struct Places {
    /// State: `/var/lib/calico`.
    pub lib: PathBuf,
    /// Sockets: `/var/run/calico`.
    pub run: PathBuf,
    /// Network configurations: `/etc/cni/net.d`.
    pub net: PathBuf,
    /// Plugins: `/opt/cni/bin`.
    pub bin: PathBuf,
    /// Our plugin: only files equal to it are taken away. May be of a process that runs, whose file is gone.
    pub plugin: PathBuf,
}

/// Workload interfaces that are still there.
pub fn workloads(host: &Netlink, mark: &Mark) -> Result<Vec<String>, DumpError> {
    let links = host.links()?;
    Ok(links.into_iter().map(|link| link.name).filter(|name| mark.is_workload(name)).collect())
}

/// Takes our network configurations away, so that the runtime does not call us any more. Answers what could not be done.
pub fn forget(net: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    match Configurations::read(net) {
        Ok(found) => found.ours.iter().for_each(|path| remove(path, &mut problems)),
        Err(error) => problems.push(chain(&error)),
    }
    problems
}

/// Takes away everything that a removed network has left on this node. May be called at any time and again; goes on after
/// an error, and answers what could not be done. As long as something could not, mark, configuration and plugin stay, so
/// that the next call of the runtime tries again.
pub fn finish(host: &Netlink, mark: &Mark, places: &Places) -> Vec<String> {
    let mut problems = Vec::new();
    for tunnel in TUNNELS {
        match host.delete_link(tunnel) {
            Err(error) if !error.is_missing() => problems.push(chain(&error)),
            _ => {}
        }
    }
    remove_routes(host, mark, &mut problems);
    if let Err(error) = tortie_kernel_nft::remove_table() {
        problems.push(chain(&error));
    }
    let runtime = RUNTIME.map(|name| places.run.join(name));
    for path in runtime.into_iter().chain(STATE.map(|name| places.lib.join(name))) {
        remove(&path, &mut problems);
    }
    match std::fs::remove_dir_all(places.lib.join(JOURNAL)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => problems.push(format!("{JOURNAL}: {error}")),
        _ => {}
    }
    if problems.is_empty() {
        // From here on the runtime does not come again.
        problems.extend(forget(&places.net));
        remove_plugins(places, &mut problems);
    }
    if problems.is_empty()
        && let Err(error) = Mark::clear(&places.lib)
    {
        problems.push(chain(&error));
    }
    // A directory that is somebody else's too, or mounted here, stays.
    for directory in [&places.run, &places.lib] {
        let _ = std::fs::remove_dir(directory);
    }
    problems
}

/// Routes that BIRD or the agent made, within networks that were ours.
fn remove_routes(host: &Netlink, mark: &Mark, problems: &mut Vec<String>) {
    let filter = RouteFilter { table: Some(TableId::MAIN), ..RouteFilter::default() };
    let routes = match host.routes(filter) {
        Ok(routes) => routes,
        Err(error) => return problems.push(chain(&error)),
    };
    let ours = |route: &&Route| {
        matches!(route.protocol, RouteProtocol::BIRD | RouteProtocol::CALICO)
            && mark.networks.iter().any(|network| network.covers(route.dst))
    };
    for route in routes.iter().filter(ours) {
        match host.delete_route(route) {
            Err(error) if !error.is_missing() => problems.push(chain(&error)),
            _ => {}
        }
    }
}

/// The plugin may have been replaced by somebody else's of the same name.
fn remove_plugins(places: &Places, problems: &mut Vec<String>) {
    let there: Vec<_> =
        PLUGINS.iter().map(|name| places.bin.join(name)).filter(|path| path.is_file()).collect();
    if there.is_empty() {
        return;
    }
    match std::fs::read(&places.plugin) {
        Ok(own) => {
            for path in there.iter().filter(|path| std::fs::read(path).is_ok_and(|there| there == own)) {
                remove(path, problems);
            }
        }
        Err(error) => problems.push(format!("{}: {error}", places.plugin.display())),
    }
}

fn remove(path: &Path, problems: &mut Vec<String>) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => problems.push(cannot(path, &error)),
        _ => {}
    }
}

fn cannot(path: &Path, error: &dyn Display) -> String {
    format!("cannot remove {}: {error}", path.display())
}
