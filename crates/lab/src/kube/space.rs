//! A node's own namespaces: where kubelet and containerd believe to be alone on a machine.
//!
//! Four short programs, all this executable. `lab node` makes the namespaces and waits; `lab node-init` is process 1 in them,
//! mounts and reaps; `lab enter` puts a program into them, by way of `lab become`, so that the death of whoever asked for it is
//! the program's too. The death of `lab node` is the end of everything in the node.

use crate::kube::cgroups;
use crate::sandbox::{ARG0, NETNS_DIR, SELF, STATE_DIR};
use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::sethostname;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long a program waits for the node's namespaces.
const PATIENCE: Duration = Duration::from_secs(10);

/// Host directories that a node may write to without anybody noticing.
const COVERED: [&str; 3] = ["/etc", "/opt", "/var"];

/// Directories of which every node has one of its own, which outlives a restart of the node.
const OWN: [&str; 7] = [
    "/var/lib/kubelet",
    "/etc/cni/net.d",
    "/opt/cni/bin",
    "/var/lib/cni",
    "/var/lib/calico",
    "/var/log/pods",
    "/var/log/containers",
];

/// What a node's namespaces are made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpaceSpec {
    /// The node's name.
    pub(crate) node: String,
    /// The directory of all labs, which stays visible.
    pub(crate) labs: PathBuf,
    /// The node's private files on a tmpfs; `containerd` in it becomes `/var/lib/containerd`.
    pub(crate) data: PathBuf,
}

impl SpaceSpec {
    fn pid_file(&self) -> PathBuf {
        self.data.join("pid")
    }

    /// The process id of the node's process 1, in the sandbox.
    pub(crate) fn first_process(&self) -> anyhow::Result<i32> {
        let path = self.pid_file();
        let text = fs::read_to_string(&path).ok();
        text.and_then(|t| t.trim().parse().ok())
            .with_context(|| format!("{} is not up: no process id in {}", self.node, path.display()))
    }

    /// Where the files of one of the node's own directories lie.
    pub(crate) fn own(&self, dir: &str) -> PathBuf {
        self.data.join("own").join(dir.trim_start_matches('/'))
    }

    /// Forgets the process id of a process 1 that has ended without a chance to do so itself.
    pub(crate) fn forget(&self) {
        let _ = fs::remove_file(self.pid_file());
    }

    /// The arguments of this executable for running a program inside.
    pub(crate) fn enter_arguments(&self, program: &Path, arguments: &[String]) -> Vec<String> {
        let words = ["lab", "enter", "--pid-file"].map(str::to_owned);
        let rest = [self.pid_file().display().to_string(), "--".to_owned(), program.display().to_string()];
        words.into_iter().chain(rest).chain(arguments.iter().cloned()).collect()
    }

    /// The arguments of this executable for making the namespaces.
    pub(crate) fn node_arguments(&self) -> anyhow::Result<Vec<String>> {
        Ok(["lab", "node", "--space", &serde_json::to_string(self)?].map(str::to_owned).to_vec())
    }
}

/// `lab node`: makes the namespaces and stays until they end.
pub(crate) fn node(spec: &SpaceSpec) -> anyhow::Result<ExitCode> {
    let _ = fs::remove_file(spec.pid_file());
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .context("cannot make the node's namespaces")?;
    let mut init = Command::new(SELF)
        .arg0(ARG0)
        .args(["lab", "node-init", "--space", &serde_json::to_string(spec)?])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the node's first process")?;
    let mut ready = [0];
    let told = init.stdout.take().context("no pipe")?.read_exact(&mut ready);
    if told.is_err() {
        bail!("{} does not come up: {}", spec.node, init.wait()?);
    }
    let unfinished = spec.pid_file().with_extension("new");
    fs::write(&unfinished, init.id().to_string())
        .with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, spec.pid_file()).context("cannot tell the node's process id")?;
    let status = init.wait()?;
    let _ = fs::remove_file(spec.pid_file());
    bail!("{} has ended: {status}", spec.node)
}

/// `lab node-init`: process 1 of the node.
pub(crate) fn init(spec: &SpaceSpec) -> anyhow::Result<ExitCode> {
    if std::process::id() != 1 {
        bail!("`lab node-init` is the first process of a node and of no use by itself");
    }
    set_pdeathsig(Signal::SIGKILL).context("cannot tie the node to its lab")?;
    sethostname(&spec.node).context("cannot name the node")?;
    mounts(spec)?;
    tell_ready()?;
    loop {
        // Orphans are all that ever ends here; without any there is nothing to wait for but a signal.
        if matches!(waitpid(None, None), Err(Errno::ECHILD)) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn tell_ready() -> anyhow::Result<()> {
    use std::io::Write as _;
    std::io::stdout()
        .write_all(b"r")
        .and_then(|()| std::io::stdout().flush())
        .context("nobody waits for the node")
}

const NONE: Option<&str> = None;

/// The file system as the node sees it: the host's, but what it writes stays in the node.
fn mounts(spec: &SpaceSpec) -> anyhow::Result<()> {
    // Containers' mounts must reach the kubelet, and back.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE).context("cannot share mounts")?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), quiet, NONE).context("cannot mount /proc")?;

    for dir in COVERED {
        let [upper, work] = ["upper", "work"]
            .map(|part| spec.data.join("cover").join(part).join(dir.trim_start_matches('/')));
        for path in [&upper, &work] {
            fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let options = format!("lowerdir={dir},upperdir={},workdir={}", upper.display(), work.display());
        mount(Some("overlay"), dir, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot cover {dir}: does this kernel have overlayfs?"))?;
    }
    let keep = [spec.labs.as_path(), Path::new(STATE_DIR)];
    let handles: Vec<File> = keep
        .iter()
        .map(|dir| File::open(dir).with_context(|| format!("cannot open {}", dir.display())))
        .collect::<anyhow::Result<_>>()?;
    tmpfs("/run")?;
    for (dir, handle) in keep.iter().zip(&handles) {
        // A bind mount of a directory that has since been covered.
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let behind = format!("/proc/self/fd/{}", handle.as_raw_fd());
        bind(Path::new(&behind), dir)?;
    }
    fs::create_dir_all(NETNS_DIR).with_context(|| format!("cannot create {NETNS_DIR}"))?;
    for dir in OWN {
        let own = spec.own(dir);
        for path in [own.as_path(), Path::new(dir)] {
            fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        bind(&own, Path::new(dir))?;
    }
    let containerd = Path::new("/var/lib/containerd");
    fs::create_dir_all(containerd).context("cannot create /var/lib/containerd")?;
    bind(&spec.data.join("containerd"), containerd)
}

fn tmpfs(dir: &str) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {dir}"))?;
    mount(Some("node"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .and_then(|()| mount(NONE, dir, NONE, MsFlags::MS_SHARED, NONE))
        .with_context(|| format!("cannot mount a tmpfs on {dir}"))
}

fn bind(from: &Path, to: &Path) -> anyhow::Result<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .and_then(|()| mount(NONE, to, NONE, MsFlags::MS_SHARED, NONE))
        .with_context(|| format!("cannot show {} at {}", from.display(), to.display()))
}

/// `lab enter`: runs a program in the node and ends as it does.
pub(crate) fn enter(pid_file: &Path, command: &[String]) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + PATIENCE;
    let pid: i32 = loop {
        match fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse().ok()) {
            Some(pid) => break pid,
            None if Instant::now() >= deadline => bail!("the node of {} is not up", pid_file.display()),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    join(pid)?;
    let status = Command::new(SELF)
        .arg0(ARG0)
        .args(["lab", "become", "--"])
        .args(command)
        .current_dir("/")
        .status()
        .context("cannot start a process in the node")?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(code.clamp(0, 255) as u8))
}

/// Moves this process into a node's namespaces, but for that of its network; its children are in the node's pid namespace.
pub(crate) fn join(first_process: i32) -> anyhow::Result<()> {
    let spaces = [
        ("pid", CloneFlags::CLONE_NEWPID),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    let open = |(kind, flag): (&str, CloneFlags)| {
        let path = format!("/proc/{first_process}/ns/{kind}");
        Ok((File::open(&path).with_context(|| format!("cannot open {path}"))?, flag))
    };
    let opened: Vec<(File, CloneFlags)> = spaces.into_iter().map(open).collect::<anyhow::Result<_>>()?;
    for (file, flag) in opened {
        setns(file, flag).context("cannot enter the node's namespaces")?;
    }
    Ok(())
}

/// `lab become`: this process, but tied to its parent's life, is the program.
pub(crate) fn become_program(command: &[String]) -> anyhow::Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie the program to its parent")?;
    let (program, arguments) = command.split_first().context("no program given")?;
    let mut process = Command::new(program);
    if Path::new(program) == Path::new(SELF) {
        process.arg0(ARG0);
    }
    Err(process.args(arguments).exec()).with_context(|| format!("cannot run {program}"))
}

/// What a machine lacks for real nodes, in words.
pub(crate) fn obstacles() -> Vec<String> {
    let mut all = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        all.push("nodes with a kubelet need root: they make control groups and mounts".to_owned());
    }
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|t| t.contains("overlay")) {
        all.push("the kernel has no overlayfs".to_owned());
    }
    if !cgroups::unified() && !Path::new(cgroups::ROOT).join("memory").is_dir() {
        all.push(format!("no control groups are mounted at {}", cgroups::ROOT));
    }
    all
}
