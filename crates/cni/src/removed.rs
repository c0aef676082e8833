//! The plugin on a node whose network was removed: no agent answers, and none will.
//!
//! Pods that run keep their network until they end. DEL takes a pod's interface away by itself, and the last one
//! everything that is left, the plugin included. ADD fails and says why. As soon as another network's configuration is
//! there, ours goes, so that the runtime turns to that one; a process that waits for the last pod stays, because its
//! DELs go elsewhere.

use crate::config::{Invocation, Verb};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tortie_agent_api::{ApiError, code};
use tortie_kernel_net::{NetNs, Netlink, pod};
use tortie_model::names;
use tortie_removal::{Configurations, Mark, Places};

/// Tells a copy of the plugin that it waits for the last pod: the directory of state.
const WAIT: &str = "TORTIE_CNI_WAIT";

/// This program, also where its file is gone.
const SELF: &str = "/proc/self/exe";

/// Where libcni notes what it has attached, until it is detached.
const RECORDS: &str = "/var/lib/cni/results";

/// How often the one who waits looks at the pods.
const INTERVAL: Duration = Duration::from_secs(5);

/// The mark of the call's node.
pub(crate) fn mark(call: &Invocation) -> Option<Mark> {
    // A mark that cannot be read changes nothing: the agent is asked.
    Mark::read(&lib(call)).ok().flatten()
}

/// The directory of state, beside the journal.
fn lib(call: &Invocation) -> PathBuf {
    call.journal.parent().map_or_else(|| "/var/lib/calico".into(), Path::to_owned)
}

fn places(call: &Invocation) -> Places {
    let run = call.socket.parent().map_or_else(|| "/var/run/calico".into(), Path::to_owned);
    Places { lib: lib(call), run, net: call.conf_dir.clone(), bin: own_directory(), plugin: SELF.into() }
}

fn own_directory() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().map_or_else(|| "/opt/cni/bin".into(), Path::to_owned)
}

/// Answers a call without an agent.
pub(crate) fn serve(call: &Invocation, mark: &Mark) -> Result<String, ApiError> {
    let places = places(call);
    match call.verb {
        Verb::Del => {
            let host = host(call)?;
            detach(call, &host, mark)?;
            // Whatever could not be taken away is no reason to keep a pod: the next call tries again.
            let _ = clean(call, &host, &places);
            Ok(String::new())
        }
        Verb::Gc => Ok(String::new()),
        Verb::Version => Ok(crate::result::versions()),
        Verb::Add | Verb::Check | Verb::Status => {
            // Whatever hinders the cleaning, it is tried again by the next call, and this one fails anyway.
            let next = host(call).ok().and_then(|host| clean(call, &host, &places).ok()).flatten();
            Err(refusal(call, mark, next.as_deref()))
        }
    }
}

fn host(call: &Invocation) -> Result<Netlink, ApiError> {
    Netlink::open().map_err(|e| kernel(call, &e))
}

/// The pod's interface goes, and its routes with it.
fn detach(call: &Invocation, host: &Netlink, mark: &Mark) -> Result<(), ApiError> {
    // By its end in the pod, if that is still there: it may have been made by somebody else, under another name.
    if let Ok(inside) = NetNs::open(&call.args.netns)
        && inside.id() != host.namespace().id()
        && let Ok(inside) = Netlink::open_in(&inside)
    {
        pod::detach_inside(&inside, &call.args.ifname).map_err(|e| kernel(call, &e))?;
    }
    if call.args.pod.is_empty() {
        return Ok(());
    }
    let prefix = if mark.interface_prefix.is_empty() { "cali" } else { &mark.interface_prefix };
    let name = names::veth(prefix, &call.args.namespace, &call.args.pod);
    pod::detach(host, &name).map(drop).map_err(|e| kernel(call, &e))
}

/// Takes away what nobody needs any more. Answers the configuration that took over, if one did.
fn clean(call: &Invocation, host: &Netlink, places: &Places) -> Result<Option<String>, Vec<String>> {
    let told = |e: tortie_removal::MarkError| vec![e.to_string()];
    let _lock = Mark::lock(&places.lib).map_err(told)?;
    // Somebody may have been quicker.
    let Some(mut mark) = Mark::read(&places.lib).map_err(told)? else { return Ok(None) };
    let args = &call.args;
    let record = Path::new(RECORDS).join(format!("{}-{}-{}", args.network, args.container_id, args.ifname));
    // An attempt that failed has none.
    if call.verb == Verb::Del && record.exists() && mark.detached.insert(args.container_id.clone()) {
        mark.write(&places.lib).map_err(told)?;
    }
    let configurations = Configurations::read(&places.net).map_err(|e| vec![e.to_string()])?;
    let next = configurations.others.first().map(|path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    if !mark.ended && UnixStream::connect(places.run.join("agent.sock")).is_ok() {
        // The agent still keeps things together; it is on its way out.
        return Ok(next);
    }
    let pods = tortie_removal::workloads(host, &mark).map_err(|e| vec![e.to_string()])?;
    let problems = if pods.is_empty() && attached(call, &mark) == 0 {
        tortie_removal::finish(host, &mark, places)
    } else if next.is_some() && !configurations.ours.is_empty() {
        let mut problems = tortie_removal::forget(&places.net);
        if let Err(error) = leave_someone(places) {
            problems.push(format!("nobody waits for the last pod: {error}"));
        }
        problems
    } else {
        Vec::new()
    };
    if problems.is_empty() { Ok(next) } else { Err(problems) }
}

/// How many containers the runtime will still want to detach, as far as it keeps libcni's records: those may have lost their
/// interfaces already, by a start of the machine.
fn attached(call: &Invocation, mark: &Mark) -> usize {
    let (prefix, suffix) = (format!("{}-", call.args.network), format!("-{}", call.args.ifname));
    let records = std::fs::read_dir(RECORDS).into_iter().flatten().flatten();
    let names = records.filter_map(|record| record.file_name().into_string().ok());
    let containers =
        names.filter_map(|name| Some(name.strip_prefix(&prefix)?.strip_suffix(&suffix)?.to_owned()));
    containers.filter(|container| !mark.detached.contains(container)).count()
}

/// Starts a copy of the plugin that waits for the last pod. It holds nothing of the runtime's: no pipe, no group.
fn leave_someone(places: &Places) -> std::io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(&places.plugin);
    command.env_clear().env(WAIT, &places.lib).env("TORTIE_CNI_RUN", &places.run).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().map(drop)
}

/// Waits for the last pod and takes away what is left then, if this process was started for that. Ends at once when the
/// network is installed again.
pub fn wait(env: impl Fn(&str) -> Option<String>) -> bool {
    let (Some(lib), Some(run)) = (env(WAIT), env("TORTIE_CNI_RUN")) else { return false };
    let places = Places {
        lib: lib.into(),
        run: run.into(),
        // Our configuration is gone already, and may be there again.
        net: PathBuf::new(),
        bin: own_directory(),
        plugin: SELF.into(),
    };
    while let Ok(Some(mark)) = Mark::read(&places.lib) {
        let Ok(host) = Netlink::open() else { break };
        let gone = tortie_removal::workloads(&host, &mark).is_ok_and(|pods| pods.is_empty());
        if gone && tortie_removal::finish(&host, &mark, &places).is_empty() {
            break;
        }
        std::thread::sleep(INTERVAL);
    }
    true
}

fn refusal(call: &Invocation, mark: &Mark, next: Option<&str>) -> ApiError {
    let why = if mark.reason.is_empty() { "no reason is known" } else { &mark.reason };
    let since = if mark.since.is_empty() { String::new() } else { format!(" at {}", mark.since) };
    let subject = match call.verb {
        Verb::Status => "no pod can be attached".to_owned(),
        _ => call.subject(),
    };
    ApiError {
        code: if call.verb == Verb::Status { code::NOT_AVAILABLE } else { code::TRY_AGAIN },
        message: format!("{subject}: the network of this node was removed{since} ({why})"),
        details: match next {
            Some(next) => format!("{next} takes over; the runtime uses it for the next attempt"),
            None => "install a network; pods start when its configuration is on the node".to_owned(),
        },
    }
}

fn kernel(call: &Invocation, error: &dyn std::error::Error) -> ApiError {
    ApiError {
        code: code::KERNEL,
        message: format!("interface of {}: {error}", call.subject()),
        details: error.source().map(ToString::to_string).unwrap_or_default(),
    }
}
