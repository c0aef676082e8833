//! Ctrl-C and its relatives: what was begun is stopped or left in order, and a sentence says which.
//!
//! Signals are taken by a thread of their own, so that commands may wait for whatever they wait for. Everything dies without
//! this too (see the sandbox); but then nobody says so.

use crate::commands::wait_until_gone;
use crate::dirs::LabDir;
use crate::terminal::Terminal;
use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a signal meets.
#[derive(Debug, Default)]
enum Stage {
    /// Nothing has been asked of a lab.
    #[default]
    Idle,
    /// A lab that ends with this command, and the channel that holds it up.
    Own { dir: LabDir, channel: UnixStream, what: &'static str },
    /// A lab that goes on without this command.
    Other { lab: String },
    /// A signal was taken: the process is about to end.
    Ending,
}

/// A command's view of the signals that end it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupts(Arc<Mutex<Stage>>);

impl Interrupts {
    /// Takes the signals from here on.
    pub(crate) fn watch(&self, terminal: Terminal) -> anyhow::Result<()> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        // Programs that are started get none of it: the standard library unblocks everything for them.
        signals.thread_block().context("cannot block signals")?;
        let interrupts = self.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if let Ok(signal) = signals.wait() {
                    interrupts.end(signal, terminal);
                }
            })
            .context("cannot watch signals")?;
        Ok(())
    }

    /// From here on a signal takes the lab down; `what` is done to it.
    pub(crate) fn hold(&self, dir: &LabDir, channel: &UnixStream, what: &'static str) -> anyhow::Result<()> {
        let channel = channel.try_clone().context("cannot duplicate the lab's channel")?;
        self.set(Stage::Own { dir: dir.clone(), channel, what });
        Ok(())
    }

    /// From here on a signal only ends the command.
    pub(crate) fn leave(&self, dir: &LabDir) {
        self.set(Stage::Other { lab: dir.name().to_owned() });
    }

    /// Waits for the end if a signal was taken: what went wrong since went wrong because of it.
    pub(crate) fn settle(&self) {
        if matches!(*self.stage(), Stage::Ending) {
            loop {
                std::thread::park();
            }
        }
    }

    fn set(&self, next: Stage) {
        let mut stage = self.stage();
        if !matches!(*stage, Stage::Ending) {
            *stage = next;
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, signal: Signal, terminal: Terminal) -> ! {
        let met = std::mem::replace(&mut *self.stage(), Stage::Ending);
        let sentence = match met {
            Stage::Idle | Stage::Ending => "nothing was begun".to_owned(),
            Stage::Other { lab } => {
                format!("lab {lab:?} is up, and finishes what it was asked: see `tortie lab status`")
            }
            Stage::Own { dir, channel, what } => {
                terminal.progress(&format!("interrupted: taking lab {:?} down", dir.name()));
                let _ = channel.shutdown(Shutdown::Both);
                match wait_until_gone(&dir) {
                    Ok(()) => {
                        format!("{what} stopped and lab {:?} is down; nothing is left of it", dir.name())
                    }
                    Err(error) => format!("{what} stopped, but {error:#}"),
                }
            }
        };
        Terminal::say(&format!("interrupted: {sentence}"));
        // As shells report it.
        std::process::exit(128 + signal as i32)
    }
}
