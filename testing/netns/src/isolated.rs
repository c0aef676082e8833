//! A test inside a network namespace of its own.

use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use tortie_kernel_net::{LinkChange, Netlink};

/// Tells the copy of the test program inside a user namespace that it is there.
const INSIDE: &str = "TORTIE_TEST_INSIDE_USER_NAMESPACE";

/// Runs the body of a test on a thread in a fresh network namespace in which only `lo` exists, and is up.
///
/// For root this is a matter of a thread. For other users the test program is executed once more, for this test only,
/// inside a user namespace in which the user is root.
///
/// ```no_run
/// #[test]
/// fn sees_only_loopback() {
///     tortie_test_netns::isolated(|| {
///         // ...
///     });
/// }
/// ```
pub fn isolated(test: impl FnOnce() + Send) {
    if !geteuid().is_root() && std::env::var_os(INSIDE).is_none() {
        return in_user_namespace();
    }
    let outcome = thread::scope(|scope| {
        // A new thread, not one of the pool: the test harness captures the output of threads that its threads start.
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|e| panic!("cannot make a network namespace for the test: {e}"));
            Netlink::open().unwrap().set_link("lo", &LinkChange::up()).unwrap();
            test();
        });
        thread.join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn in_user_namespace() {
    let current = thread::current();
    let test = current.name().filter(|name| *name != "main").unwrap_or_else(|| {
        panic!("cannot tell which test this is: without root, tests need threads (not --test-threads=1)")
    });
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--"])
        .arg(program)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap_or_else(|e| panic!("cannot execute unshare (util-linux): {e}"));
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "the test failed inside a user namespace\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
