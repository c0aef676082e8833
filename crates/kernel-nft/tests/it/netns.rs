//! Network namespaces for tests, one per thread.

use nix::sched::{CloneFlags, unshare};
use std::process::Command;
use tortie_calc::Update;
use tortie_kernel_nft::{ApplyReport, Driver};
use tortie_rules::{Config, Desired};

/// Runs `f` on a thread in a new network namespace, which goes with it.
pub(crate) fn in_netns<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace needs root");
            run("ip link set lo up");
            f()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs a command line, words apart by blanks, and answers what it printed. Fails if the command does.
pub(crate) fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    exec(&words)
}

pub(crate) fn exec(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {} {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// `nft -f` with a text.
pub(crate) fn nft(text: &str) {
    use std::io::Write as _;
    let mut child =
        Command::new("nft").args(["-f", "-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

/// `nft list ruleset`, which must succeed and print something sensible.
pub(crate) fn list() -> String {
    let text = run("nft list ruleset");
    for bad in ["invalid", "unknown", "type 0x"] {
        let known = text.replace("\"unknown workload interface\"", "").replace("ct state invalid", "");
        assert!(!known.contains(bad), "{text}");
    }
    run("nft -j list ruleset");
    text
}

/// A driver and what it drives.
pub(crate) struct Node {
    pub(crate) desired: Desired,
    pub(crate) driver: Driver,
    pub(crate) in_sync: bool,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self { desired: Desired::new(config), driver: Driver::open().unwrap(), in_sync: true }
    }

    pub(crate) fn update(&mut self, updates: &[Update]) -> ApplyReport {
        for update in updates {
            self.desired.on_update(update);
        }
        self.driver.apply(&mut self.desired, self.in_sync).unwrap()
    }

    /// Applies until nothing is left to be removed.
    pub(crate) fn settle(&mut self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.update(&[]).again_after.is_some() {
            assert!(std::time::Instant::now() < deadline, "something is never removed");
            std::thread::yield_now();
        }
    }

    /// A new driver finds nothing to do.
    pub(crate) fn assert_equal(&mut self) {
        let mut driver = Driver::open().unwrap();
        let found = driver.resync(&mut self.desired).unwrap();
        assert!(found.is_equal(), "{found:?}\n{}\n{}", self.desired.table(), run("nft list ruleset"));
        assert_eq!(driver.apply(&mut self.desired, true).unwrap().transactions, 0);
    }
}
