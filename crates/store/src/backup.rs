//! Copies of the embedded store, and the way back.
//!
//! A copy is an ordinary store file with all keys, their revisions and times to live, and no log. It is taken from one
//! committed state while the store goes on.

use crate::engine::tables::{self, DATA, META, TTL};
use crate::engine::{Durability, Engine, EngineConfig, OpenError, create_with};
use crate::port::StoreError;
use redb::{ReadTransaction, ReadableTable};
use std::path::Path;
use tortie_causes::chain;

/// How far a restored store's counter jumps ahead of the copy's.
///
/// Users of the lost store may have seen revisions after the copy was taken. They must never meet such a revision again
/// with another meaning: not as the condition of a write, and not as the start of a watch.
const REVISION_JUMP: u64 = 1_000_000;

/// Writes a copy to `path`, where no file may be; answers its revision.
pub fn backup(engine: &Engine, path: &Path) -> Result<u64, StoreError> {
    let doing = format!("backup to {}", path.display());
    let endpoint = format!("file {}", engine.path().display());
    let invalid = |reason: &str| Err(StoreError::Invalid { doing: doing.clone(), reason: reason.to_owned() });
    if !path.is_absolute() {
        return invalid("give an absolute path: the store process may run in another directory");
    }
    if path.exists() {
        return invalid("there is a file already; choose another path or remove it");
    }
    let copied = engine.snapshot().and_then(|txn| tables::position(&txn).map(|at| (txn, at.revision)));
    let (txn, revision) = match copied {
        Ok(copied) => copied,
        Err(error) => return Err(StoreError::Unavailable { endpoint, doing, reason: error.to_string() }),
    };
    match create_with(path, |db| copy(&txn, db, revision)) {
        Ok(()) => Ok(revision),
        Err(error) => Err(StoreError::Unavailable { endpoint, doing, reason: chain(&error) }),
    }
}

/// Makes the store file `to`, where no file may be, from the copy `from`; answers its revision.
///
/// All watches and conditions of before are void: the revision counter jumps ahead.
pub fn restore(from: &Path, to: &Path) -> Result<u64, OpenError> {
    if let Err(source) = std::fs::metadata(from) {
        return Err(OpenError::Io { doing: "read", path: from.into(), source });
    }
    if to.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(OpenError::Io { doing: "create", path: to.into(), source });
    }
    let copy_of = Engine::open(EngineConfig { durability: Durability::Process, ..EngineConfig::new(from) })?;
    let database_error = |source| OpenError::Database { path: from.into(), source: Box::new(source) };
    let txn = copy_of.snapshot().map_err(database_error)?;
    let revision = tables::position(&txn).map_err(database_error)?.revision.saturating_add(REVISION_JUMP);
    create_with(to, |db| copy(&txn, db, revision))?;
    Ok(revision)
}

fn copy(from: &ReadTransaction, to: &redb::Database, revision: u64) -> Result<(), redb::Error> {
    tables::initialise(to, revision)?;
    let txn = to.begin_write()?;
    {
        let mut data = txn.open_table(DATA)?;
        for row in from.open_table(DATA)?.iter()? {
            let (key, value) = row?;
            data.insert(key.value(), value.value())?;
        }
        let mut ttl = txn.open_table(TTL)?;
        for row in from.open_table(TTL)?.iter()? {
            let (key, value) = row?;
            ttl.insert(key.value(), value.value())?;
        }
        txn.open_table(META)?.insert(tables::COMPACTED, revision)?;
    }
    txn.commit()?;
    Ok(())
}
