//! What is in the file: four tables, and how a fresh or opened file is recognised.
//!
//! The revision counter is not stored by itself: it is the last revision of the log, or [`COMPACTED`] when the log is
//! empty. A commit so touches the data and the log only.

use super::OpenError;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::path::Path;

/// Key -> (revision of its last change, value).
pub(crate) const DATA: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("data");

/// (revision, number within the revision) -> (key, new value or nothing for a deletion).
pub(crate) const LOG: TableDefinition<'_, (u64, u32), (&str, Option<&[u8]>)> = TableDefinition::new("log");

/// Key -> (Unix time in milliseconds when it ends, time to live in milliseconds).
pub(crate) const TTL: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("ttl");

/// Name -> number.
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// In [`META`]: layout of these tables.
const FORMAT: &str = "format";
const FORMAT_NOW: u64 = 1;

/// In [`META`]: the log has all changes after this revision.
pub(crate) const COMPACTED: &str = "compacted";

/// Where the counter and the log stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) revision: u64,
    pub(crate) compacted: u64,
    pub(crate) log_len: u64,
}

/// Makes the tables; the counter starts at `revision`.
pub(crate) fn initialise(db: &Database, revision: u64) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    {
        txn.open_table(DATA)?;
        txn.open_table(LOG)?;
        txn.open_table(TTL)?;
        let mut meta = txn.open_table(META)?;
        meta.insert(FORMAT, FORMAT_NOW)?;
        meta.insert(COMPACTED, revision)?;
    }
    txn.commit()?;
    Ok(())
}

/// Refuses a database of another program or another time.
pub(super) fn check_format(db: &Database, path: &Path) -> Result<(), OpenError> {
    let format = || -> Result<Option<u64>, redb::Error> {
        let meta = db.begin_read()?.open_table(META)?;
        Ok(meta.get(FORMAT)?.map(|guard| guard.value()))
    };
    match format() {
        Ok(Some(FORMAT_NOW)) => Ok(()),
        Ok(Some(other)) => {
            Err(OpenError::Format { path: path.into(), found: format!("layout {other} of the tables") })
        }
        Ok(None) | Err(redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) => {
            Err(OpenError::Foreign { path: path.into() })
        }
        Err(source) => Err(OpenError::Database { path: path.into(), source: Box::new(source) }),
    }
}

/// Where the counter and the log stand in the last committed state.
pub(crate) fn position(txn: &redb::ReadTransaction) -> Result<Position, redb::Error> {
    let log = txn.open_table(LOG)?;
    let compacted = compacted(txn)?;
    let revision = log.last()?.map_or(compacted, |(key, _)| key.value().0);
    Ok(Position { revision, compacted, log_len: log.len()? })
}

/// The log has all changes after this revision.
pub(crate) fn compacted(txn: &redb::ReadTransaction) -> Result<u64, redb::Error> {
    let meta = txn.open_table(META)?;
    let compacted = meta.get(COMPACTED)?.map_or(0, |guard| guard.value());
    Ok(compacted)
}
