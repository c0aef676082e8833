//! Makes the node forget the tracked connections of addresses that change hands; see `docs/design/agent.md`.
//!
//! One thread walks the connection table, for many addresses at once, off every hot path. [`ledger`] decides when and
//! for which; this only carries it out.

mod ledger;

use ledger::{Due, Ledger};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tortie_causes::chain;
use tortie_kernel_net::conntrack::flush_addresses;
use tortie_model::Change;

/// The node's tracked connections. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    /// Something was put into the ledger.
    work: Condvar,
    /// A walk has ended.
    ended: Notify,
}

/// The connections of addresses are not forgotten.
#[derive(Debug, thiserror::Error)]
#[error("tracked connections of an earlier holder may survive: {0}")]
pub(crate) struct NotForgotten(String);

/// Addresses that a pod is going to have.
#[derive(Debug)]
pub(crate) struct Taken {
    connections: Connections,
    ticket: Option<ledger::Ticket>,
}

impl Connections {
    /// Starts the thread, in the network namespace of the caller.
    pub(crate) fn spawn(node: &str) -> std::io::Result<Self> {
        let shared =
            Shared { ledger: Mutex::new(Ledger::new(node)), work: Condvar::new(), ended: Notify::new() };
        let connections = Self { shared: Arc::new(shared) };
        let shared = connections.shared.clone();
        std::thread::Builder::new().name("connections".to_owned()).spawn(move || shared.work())?;
        Ok(connections)
    }

    /// Changes whose consequences for policy are in the kernel.
    pub(crate) fn note(&self, changes: impl IntoIterator<Item = Change>) {
        let mut ledger = self.shared.lock();
        for change in changes {
            ledger.on_change(&change);
        }
        self.shared.work.notify_one();
    }

    /// Everything that exists was noted.
    pub(crate) fn in_sync(&self) {
        self.shared.lock().in_sync();
        self.shared.work.notify_one();
    }

    /// Something may have happened that was not noted.
    pub(crate) fn gap(&self) {
        self.shared.lock().gap();
        self.shared.work.notify_one();
    }

    /// Addresses were assigned to a container of this node: see [`Taken::clean`] before packets can reach it.
    pub(crate) fn take(&self, container: &str, addresses: &[IpAddr]) -> Taken {
        let ticket = self.shared.lock().take(&container.into(), addresses);
        self.shared.work.notify_one();
        Taken { connections: self.clone(), ticket }
    }

    /// Addresses have no interface any more, and are released.
    pub(crate) fn release(&self, container: &str, addresses: &[IpAddr]) {
        self.shared.lock().release(container, addresses);
        self.shared.work.notify_one();
    }
}

impl Taken {
    /// Waits until no connection of an earlier holder is left. Returns at once unless the addresses changed hands a
    /// moment ago.
    pub(crate) async fn clean(self) -> Result<(), NotForgotten> {
        let Some(ticket) = self.ticket else { return Ok(()) };
        let shared = &self.connections.shared;
        loop {
            // Registered before the look, or a walk that ends in between would be missed.
            let ended = shared.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if let Some(outcome) = shared.lock().outcome(ticket) {
                return outcome.map_err(NotForgotten);
            }
            ended.await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // The ledger has no steps between which a panic could leave it.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Walks for ever.
    fn work(&self) {
        let origin = Instant::now();
        let mut ledger = self.lock();
        loop {
            if let Some(addresses) = ledger.begin(origin.elapsed()) {
                drop(ledger);
                let began = Instant::now();
                let outcome = forget(&addresses);
                let took = began.elapsed();
                ledger = self.lock();
                ledger.end(origin.elapsed(), took, outcome);
                self.ended.notify_waiters();
                continue;
            }
            ledger = match ledger.due() {
                Due::Never => self.work.wait(ledger).unwrap_or_else(PoisonError::into_inner),
                Due::At(time) => {
                    let pause = time.saturating_sub(origin.elapsed());
                    self.work.wait_timeout(ledger, pause).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

fn forget(addresses: &[IpAddr]) -> Result<(), String> {
    match flush_addresses(addresses) {
        Ok(count) => {
            tracing::debug!(addresses = addresses.len(), count, "tracked connections forgotten");
            Ok(())
        }
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(addresses = addresses.len(), %error, "tracked connections are not all forgotten; trying again");
            Err(error)
        }
    }
}
