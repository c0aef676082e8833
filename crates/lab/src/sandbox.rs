//! The sandbox: namespaces that hold a whole lab and end with it.
//!
//! Three short programs, each the parent of the next, all the same executable:
//! 1. `lab sandbox` makes the namespaces (a user namespace only without root) and starts
//! 2. `lab init`, process 1 of the new pid namespace: mounts, then reaps orphans until its only child ends, and ends
//!    too. The kernel then drops mounts and network namespaces, and would kill whatever were left: nothing can outlive
//! 3. `lab supervise`, which builds the lab and answers commands.
//!
//! Descriptors are passed as standard streams, the only ones that safe code can hand to a new program:
//! 0 = the channel to the command that waits for `up`, 1 = the held lock, 2 = the log.

use crate::dirs::{Claim, LabDir};
use crate::kube::{cgroups, forward};
use crate::spec::LabSpec;
use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid, sethostname, setsid};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

/// This program, whatever its path is in the mount namespace of the reader, even if it has been replaced.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Name that our own processes go by.
pub(crate) const ARG0: &str = "tortie";

/// Private files of a lab, inside the sandbox only.
pub(crate) const STATE_DIR: &str = "/run/tortie-state";

/// How a Rust program exits that panicked.
const PANICKED: i32 = 101;

/// Where network namespaces are bound.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// Starts the first of the three programs; answers the channel on which the supervisor tells how it goes.
pub(crate) fn launch(claim: &Claim, dir: &LabDir, spec: &LabSpec) -> anyhow::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.log())
        .with_context(|| format!("cannot create {}", dir.log().display()))?;
    if spec.kube_bin.is_some() {
        forward::offer(&ours).context("cannot make a way to the API server")?;
    }
    let child = program("sandbox", spec)?
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::from(claim.file()?))
        .stderr(Stdio::from(log))
        .current_dir("/")
        .spawn()
        .context("cannot start the lab's sandbox")?;
    Ok((child, ours))
}

fn program(verb: &str, spec: &LabSpec) -> anyhow::Result<Command> {
    let mut command = Command::new(SELF);
    // What it logs goes into a file.
    command.arg0(ARG0).args(["lab", verb, "--spec", &serde_json::to_string(spec)?]).env("NO_COLOR", "1");
    Ok(command)
}

/// The first program: makes the namespaces.
pub(crate) fn enter(spec: &LabSpec) -> anyhow::Result<ExitCode> {
    setsid().context("cannot leave the terminal's session")?;
    let (uid, gid) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(explain_unshare)?;
    if !uid.is_root() {
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
        write("/proc/self/gid_map", &format!("0 {gid} 1"))?;
    }
    program("init", spec)?.spawn().context("cannot start the sandbox's first process")?;
    Ok(ExitCode::SUCCESS)
}

fn explain_unshare(error: Errno) -> anyhow::Error {
    let advice = match error {
        Errno::EPERM => {
            "the kernel refuses user namespaces to you: run as root, or allow them with \
             `sysctl kernel.unprivileged_userns_clone=1` (Debian) or \
             `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu)"
        }
        Errno::ENOSPC | Errno::EUSERS => {
            "too many namespaces: see `sysctl user.max_user_namespaces user.max_net_namespaces`"
        }
        _ => "does this kernel have network, pid and user namespaces?",
    };
    anyhow::Error::new(error).context(advice).context("cannot make the lab's namespaces")
}

/// The second program: process 1.
pub(crate) fn init(spec: &LabSpec) -> anyhow::Result<ExitCode> {
    if std::process::id() != 1 {
        bail!("`lab init` is the first process of a lab's sandbox and of no use by itself");
    }
    mounts(&spec.dir)?;
    let _ = sethostname(format!("lab-{}", spec.name));
    let supervisor = program("supervise", spec)?.spawn().context("cannot start the supervisor")?;
    let code = loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() as u32 == supervisor.id() => break Some(code),
            Ok(WaitStatus::Signaled(pid, ..)) if pid.as_raw() as u32 == supervisor.id() => break None,
            Err(Errno::ECHILD) => break None,
            _ => {}
        }
    };
    // Only what is in this pid namespace, and not this process.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while !matches!(waitpid(None, None), Err(Errno::ECHILD)) {}
    match code {
        // Nobody writes any more. After a crash the files stay for whoever wants to know why.
        Some(code) if code != PANICKED => {
            cgroups::remove(&spec.name)?;
            LabDir::at(&spec.name, &spec.dir).remove_as_owner()?;
            Ok(ExitCode::from(code.clamp(0, 255) as u8))
        }
        _ => Ok(ExitCode::FAILURE),
    }
}

/// A private view of the file system: fresh /proc, /sys and /run, with the lab's directory where it was.
fn mounts(dir: &Path) -> anyhow::Result<()> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("cannot make mounts private")?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Kubelets need them, and a fresh /sys has none.
    let cgroups = File::open(cgroups::ROOT).ok();
    mount(Some("proc"), "/proc", Some("proc"), quiet, NONE)
        .context("cannot mount /proc (inside a container it needs an unmasked /proc, e.g. --privileged)")?;
    // Only tools that list /sys/class/net miss it.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), quiet, NONE);

    if let Some(cgroups) = cgroups {
        let behind = format!("/proc/self/fd/{}", cgroups.as_raw_fd());
        let _ = mount(Some(behind.as_str()), cgroups::ROOT, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE);
    }

    // The directory of all labs, so that this one's can be removed from inside.
    let dir = dir.parent().unwrap_or(dir);
    let handle = File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("lab"), "/run", Some("tmpfs"), quiet, Some("mode=0755"))
        .context("cannot mount a tmpfs on /run")?;
    if dir.starts_with("/run") {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {} in the sandbox", dir.display()))?;
        let behind = format!("/proc/self/fd/{}", handle.as_raw_fd());
        mount(Some(behind.as_str()), dir, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
            .with_context(|| format!("cannot keep {} visible in the sandbox", dir.display()))?;
    }
    for private in [STATE_DIR, NETNS_DIR] {
        fs::create_dir_all(private).with_context(|| format!("cannot create {private}"))?;
    }
    Ok(())
}

fn write(path: &str, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {text:?} to {path}"))
}
