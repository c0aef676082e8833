//! `lab exec` and `lab pod exec`: join the sandbox and run a command there, on this terminal.

use super::Context;
use crate::control::{Client, Place};
use crate::kube::space;
use crate::request::Request;
use crate::sandbox::NETNS_DIR;
use anyhow::Context as _;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Runs `command` (a shell if empty) in the namespace of `target`; answers its exit status.
pub(crate) fn exec(context: &Context, target: &str, command: &[String]) -> anyhow::Result<ExitCode> {
    context.clean_leftover()?;
    let mut client = Client::connect(&context.dir)?;
    let place: Place = client.call(&Request::Place { target: target.to_owned() }, &mut |_| {})?;
    let cwd = std::env::current_dir().ok();
    let path = path_with_self();
    // While the connection is open the supervisor lives, so its process id is not reused.
    join(client.supervisor_pid()?, &place.netns).with_context(|| format!("cannot enter {target}"))?;
    if let Some(first_process) = place.space {
        space::join(first_process).with_context(|| format!("cannot enter {target}"))?;
    }
    drop(client);
    // The root directory is now that of the sandbox, or of a real node; its files are those of the host, but for /run and what
    // the node has written.
    let cwd = cwd.filter(|d| d.is_dir()).unwrap_or_else(|| "/".into());

    let shell = [std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned())];
    let command = if command.is_empty() { &shell[..] } else { command };
    let (program, arguments) = command.split_first().context("no command given")?;
    // Keys such as Ctrl-C are for the command; this process only waits for its end.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP] {
        signals.add(signal);
    }
    let _ = signals.thread_block();
    let status = Command::new(program)
        .args(arguments)
        .envs(place.env)
        .env("TORTIE_LAB", context.dir.name())
        .env("PATH", path)
        .current_dir(cwd)
        .status()
        .with_context(|| format!("cannot run {program:?} in {target}"))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(code.clamp(0, 255) as u8))
}

/// Where programs are looked for: beside this executable too, so that `tortie` is found wherever it lies.
fn path_with_self() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| crate::process::PATH.into());
    if let Some(dir) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        path.push(":");
        path.push(dir);
    }
    path
}

/// Moves this process into the namespaces of process `pid`, and into the network namespace `netns` there. Children are in its
/// pid namespace too, so they end with the lab.
fn join(pid: i32, netns: &str) -> anyhow::Result<()> {
    let open = |kind: &str| {
        let path = format!("/proc/{pid}/ns/{kind}");
        File::open(&path).with_context(|| format!("cannot open {path}"))
    };
    let same_user = namespace(&format!("/proc/{pid}/ns/user")) == namespace("/proc/self/ns/user");
    let user = if same_user { None } else { Some(open("user")?) };
    let (mnt, pid_ns, uts, ipc) = (open("mnt")?, open("pid")?, open("uts")?, open("ipc")?);
    if let Some(user) = user {
        setns(user, CloneFlags::CLONE_NEWUSER).context("cannot join the user namespace")?;
    }
    setns(pid_ns, CloneFlags::CLONE_NEWPID).context("cannot join the pid namespace")?;
    setns(uts, CloneFlags::CLONE_NEWUTS).context("cannot join the host name's namespace")?;
    setns(ipc, CloneFlags::CLONE_NEWIPC).context("cannot join the ipc namespace")?;
    setns(mnt, CloneFlags::CLONE_NEWNS).context("cannot join the mount namespace")?;
    let path = Path::new(NETNS_DIR).join(netns);
    let net = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    setns(net, CloneFlags::CLONE_NEWNET).context("cannot join the network namespace")
}

fn namespace(path: &str) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
