//! Threads that enter network namespaces on behalf of others.
//!
//! The namespace is a property of a thread. Moving the caller's thread would be wrong in any program with a runtime or
//! a thread-local socket, so closures are handed to a worker that enters the namespace, runs the closure and leaves again.
//! Workers wait for the next closure; there are as many as closures ever ran at the same time.
//! A worker never rests inside a foreign namespace: that would keep the namespace, and the interfaces in it, alive.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sched::{CloneFlags, setns};

/// What a worker executes; the answer travels inside the closure.
type Job = Box<dyn FnOnce() + Send + 'static>;

struct Worker {
    jobs: SyncSender<Job>,
}

#[derive(Default)]
struct Pool {
    idle: Mutex<Vec<Worker>>,
}

static POOL: OnceLock<Pool> = OnceLock::new();

/// The namespace of the process' main thread, to which workers return.
fn home() -> io::Result<&'static File> {
    static HOME: OnceLock<File> = OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let file = File::open("/proc/self/ns/net")?;
    Ok(HOME.get_or_init(|| file))
}

/// Runs `job` on a worker thread that stands in `namespace` (or at home without one) and waits for its result.
pub(crate) fn run_in<R: Send>(
    namespace: Option<BorrowedFd<'_>>,
    job: impl FnOnce() -> R + Send,
) -> io::Result<R> {
    let home = home()?;
    let (answer, answered) = sync_channel::<Result<io::Result<R>, Box<dyn Any + Send>>>(1);
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(|| {
            if let Some(namespace) = namespace {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
            }
            Ok(job())
        }));
        let back = setns(home, CloneFlags::CLONE_NEWNET);
        // The receiver waits below for as long as this closure exists.
        let _ = answer.send(result);
        // A worker that cannot go home must not serve anybody else: the panic ends its thread.
        back.expect("returning to the namespace in which the process started cannot fail");
    };
    let worker = take_worker()?;
    let job: Box<dyn FnOnce() + Send + '_> = Box::new(work);
    #[expect(unsafe_code, reason = "a scoped closure has to be handed to a long-lived thread")]
    // SAFETY: only the lifetime changes. This function does not return, and does not unwind, before `answered.recv()`
    // below has returned: the worker sends the answer as the last use of anything that the closure borrows, and if the
    // closure is dropped without being run, the sender inside it is dropped and `recv` fails. What the closure
    // still owns after sending is the moved sender and `home`, which borrow nothing from the caller.
    let job: Job = unsafe { std::mem::transmute(job) };
    // A job that could not be handed over is dropped here, and with it the sender for which `recv` would wait.
    drop(worker.jobs.send(job));
    match answered.recv() {
        Ok(outcome) => {
            give_back(worker);
            outcome.unwrap_or_else(|panic| resume_unwind(panic))
        }
        Err(_) => Err(io::Error::other("the namespace worker thread has died")),
    }
}

fn take_worker() -> io::Result<Worker> {
    let pool = POOL.get_or_init(Pool::default);
    if let Some(worker) = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        return Ok(worker);
    }
    let (jobs, queue) = sync_channel::<Job>(1);
    std::thread::Builder::new().name("netns-worker".into()).spawn(move || work(&queue))?;
    Ok(Worker { jobs })
}

fn give_back(worker: Worker) {
    let pool = POOL.get_or_init(Pool::default);
    pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
}

fn work(queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        job();
    }
}
