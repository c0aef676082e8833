//! The embedded store in this process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use tortie_store::{BoxFuture, Durability, Engine, EngineConfig, Store, StoreError};
use tortie_store_suite::{Faults, Subject, conformance};

struct InProcess(Engine);

impl Faults for InProcess {
    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.compact(revision))
    }

    fn another(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Arc::new(self.0.clone()) as Arc<dyn Store> })
    }
}

async fn subject() -> Subject {
    let directory = tortie_store_suite::served::scratch();
    let file = directory.path().join("store.redb");
    let engine =
        Engine::open(EngineConfig { durability: Durability::Process, ..EngineConfig::new(file) }).unwrap();
    Subject {
        alone: true,
        store: Arc::new(engine.clone()),
        faults: Box::new(InProcess(engine)),
        keep: Box::new(directory),
    }
}

conformance!(subject);
