//! Processes of the lab: started in a network namespace, watched, started again when they die.
//!
//! One task owns one process. Everybody else holds a [`Process`] and asks: kill, start. The sandbox's end ends
//! them all, so nothing here tries to clean up behind a supervisor that is gone.

use anyhow::{Context as _, anyhow};
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tortie_kernel_net::NetNs;

/// A process that lived this long starts again at once.
const STEADY: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSpec {
    /// For messages: `agent of node1`.
    pub(crate) title: String,
    pub(crate) program: PathBuf,
    /// Name that the process goes by, if not its path.
    pub(crate) arg0: Option<String>,
    pub(crate) args: Vec<String>,
    /// The whole environment, but for PATH.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) netns: NetNs,
    /// Where both output streams go.
    pub(crate) log: PathBuf,
}

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Running with this process id (of the sandbox's pid namespace).
    Running(u32),
    /// Ended, will be started again; with the reason.
    Restarting(String),
    /// Stopped on request.
    Stopped,
}

#[derive(Debug)]
enum Ask {
    /// SIGKILL; stay down if `hold`.
    Kill { hold: bool, done: oneshot::Sender<()> },
    /// Run if not running.
    Start(oneshot::Sender<()>),
}

/// A handle of a process. Dropping the last one leaves the process running.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    asks: mpsc::Sender<Ask>,
    state: watch::Receiver<State>,
    restarts: watch::Receiver<u32>,
}

impl Process {
    /// Starts the process; an error if its program cannot be executed at all.
    pub(crate) async fn start(spec: ProcessSpec) -> anyhow::Result<Self> {
        let child = spawn(&spec).await?;
        let (asks, asked) = mpsc::channel(4);
        let (set_state, state) = watch::channel(running(&child));
        let (set_restarts, restarts) = watch::channel(0);
        tokio::spawn(
            Owner { spec, asked, state: set_state, restarts: set_restarts, delay: FIRST_DELAY }.own(child),
        );
        Ok(Self { asks, state, restarts })
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// How often it was started again after dying.
    pub(crate) fn restarts(&self) -> u32 {
        *self.restarts.borrow()
    }

    /// Kills it without warning and waits for its end; it is started again at once unless `hold`.
    pub(crate) async fn kill(&self, hold: bool) {
        self.ask(|done| Ask::Kill { hold, done }).await;
    }

    /// Starts it unless it runs.
    pub(crate) async fn resume(&self) {
        self.ask(Ask::Start).await;
    }

    async fn ask(&self, what: impl FnOnce(oneshot::Sender<()>) -> Ask) {
        let (done, wait) = oneshot::channel();
        if self.asks.send(what(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

fn running(child: &Child) -> State {
    State::Running(child.id().unwrap_or(0))
}

/// What the owner of a process does next.
enum Next {
    /// Nobody holds a handle any more.
    Abandon,
    /// Start it after this time.
    StartAfter(Duration),
    /// Wait for somebody to ask.
    Rest,
}

struct Owner {
    spec: ProcessSpec,
    asked: mpsc::Receiver<Ask>,
    state: watch::Sender<State>,
    restarts: watch::Sender<u32>,
    delay: Duration,
}

impl Owner {
    async fn own(mut self, first: Child) {
        let mut child = Some(first);
        loop {
            let next = match child.take() {
                Some(child) => self.watch(child).await,
                None => self.rest().await,
            };
            let start = match next {
                Next::Abandon => return,
                Next::Rest => false,
                Next::StartAfter(delay) => self.wait(delay).await,
            };
            if start {
                child = self.spawn_again().await;
            }
        }
    }

    /// Follows a running process until it ends or somebody asks for something.
    async fn watch(&mut self, mut child: Child) -> Next {
        let started = Instant::now();
        loop {
            tokio::select! {
                status = child.wait() => {
                    let reason = status.map_or_else(|e| e.to_string(), |s| s.to_string());
                    tracing::warn!(process = self.spec.title, reason, "ended, starting it again");
                    self.delay = if started.elapsed() > STEADY { FIRST_DELAY } else { (self.delay * 2).min(LONGEST_DELAY) };
                    let _ = self.state.send(State::Restarting(reason));
                    return Next::StartAfter(self.delay);
                }
                ask = self.asked.recv() => match ask {
                    None => return Next::Abandon,
                    Some(Ask::Start(done)) => { let _ = done.send(()); }
                    Some(Ask::Kill { hold, done }) => {
                        let _ = child.kill().await;
                        let state = if hold { State::Stopped } else { State::Restarting("killed on request".to_owned()) };
                        let _ = self.state.send(state);
                        let _ = done.send(());
                        self.delay = FIRST_DELAY;
                        return if hold { Next::Rest } else { Next::StartAfter(Duration::ZERO) };
                    }
                },
            }
        }
    }

    /// Nothing runs and nothing shall until somebody asks for it.
    async fn rest(&mut self) -> Next {
        match self.asked.recv().await {
            None => Next::Abandon,
            Some(Ask::Start(done)) => {
                let _ = done.send(());
                self.delay = FIRST_DELAY;
                Next::StartAfter(Duration::ZERO)
            }
            Some(Ask::Kill { hold: true, done }) => {
                let _ = done.send(());
                Next::Rest
            }
            Some(Ask::Kill { hold: false, done }) => {
                let _ = done.send(());
                Next::StartAfter(Duration::ZERO)
            }
        }
    }

    /// Waits before a start; false if it was called off.
    async fn wait(&mut self, delay: Duration) -> bool {
        if delay.is_zero() {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            ask = self.asked.recv() => match ask {
                Some(Ask::Kill { hold: true, done }) => {
                    let _ = self.state.send(State::Stopped);
                    let _ = done.send(());
                    false
                }
                Some(Ask::Start(done) | Ask::Kill { hold: false, done }) => { let _ = done.send(()); true }
                None => false,
            },
        }
    }

    async fn spawn_again(&mut self) -> Option<Child> {
        loop {
            match spawn(&self.spec).await {
                Ok(child) => {
                    self.restarts.send_modify(|n| *n += 1);
                    let _ = self.state.send(running(&child));
                    return Some(child);
                }
                Err(error) => {
                    tracing::error!("{error:#}");
                    let _ = self.state.send(State::Restarting(format!("{error:#}")));
                    if !self.wait(LONGEST_DELAY).await {
                        return None;
                    }
                }
            }
        }
    }
}

async fn spawn(spec: &ProcessSpec) -> anyhow::Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)
        .with_context(|| format!("cannot open {}", spec.log.display()))?;
    let also = log.try_clone().with_context(|| format!("cannot duplicate {}", spec.log.display()))?;
    let mut command = Command::new(&spec.program);
    if let Some(name) = &spec.arg0 {
        command.arg0(name);
    }
    command
        .args(&spec.args)
        .env_clear()
        .env("PATH", PATH)
        .env("NO_COLOR", "1")
        .envs(spec.env.iter().map(|(k, v)| (k, v)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(also);
    in_netns(&spec.netns, move || command.spawn())
        .await?
        .with_context(|| format!("cannot start the {} ({})", spec.title, spec.program.display()))
}

/// Where programs are looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a closure inside a network namespace without holding up the runtime.
pub(crate) async fn in_netns<R: Send + 'static>(
    netns: &NetNs,
    job: impl FnOnce() -> R + Send + 'static,
) -> anyhow::Result<R> {
    let netns = netns.clone();
    let runtime = tokio::runtime::Handle::current();
    let job = move || {
        netns.run(move || {
            let _entered = runtime.enter();
            job()
        })
    };
    let outcome =
        tokio::task::spawn_blocking(job).await.map_err(|e| anyhow!("a job in a namespace failed: {e}"))?;
    Ok(outcome?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(dir: &tempfile::TempDir, script: &str) -> ProcessSpec {
        ProcessSpec {
            title: "test".to_owned(),
            program: "/bin/sh".into(),
            arg0: None,
            args: vec!["-c".into(), script.into()],
            env: vec![("X".into(), "y".into())],
            netns: NetNs::current().unwrap(),
            log: dir.path().join("log"),
        }
    }

    fn pid(state: &State) -> Option<u32> {
        match state {
            State::Running(pid) => Some(*pid),
            _ => None,
        }
    }

    async fn until(process: &Process, wanted: impl Fn(&State) -> bool) -> State {
        let mut state = process.state.clone();
        tokio::time::timeout(Duration::from_secs(10), state.wait_for(wanted)).await.unwrap().unwrap().clone()
    }

    // Entering a namespace takes root; the other tests of the lab run inside its sandbox.
    fn can_enter() -> bool {
        nix::unistd::geteuid().is_root()
    }

    #[tokio::test]
    async fn the_dead_rise_and_the_stopped_rest() {
        if !can_enter() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let said = |times: usize| {
            let log = dir.path().join("log");
            async move {
                let deadline = Instant::now() + Duration::from_secs(10);
                while std::fs::read_to_string(&log).unwrap() != "y\n".repeat(times) {
                    assert!(Instant::now() < deadline, "not started {times} times");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        let process = Process::start(shell(&dir, "echo $X; exec sleep 1000")).await.unwrap();
        said(1).await;
        let first = pid(&process.state());
        process.kill(false).await;
        let State::Running(_) = until(&process, |s| pid(s).is_some() && pid(s) != first).await else {
            unreachable!()
        };
        said(2).await;
        assert_eq!(process.restarts(), 1);
        process.kill(true).await;
        assert_eq!(process.state(), State::Stopped);
        process.resume().await;
        said(3).await;
        process.kill(true).await;
        assert_eq!(process.state(), State::Stopped);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error_with_its_name() {
        if !can_enter() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let spec = ProcessSpec { program: "/nowhere/at/all".into(), ..shell(&dir, "") };
        let error = Process::start(spec).await.unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/at/all"), "{error:#}");
    }
}
