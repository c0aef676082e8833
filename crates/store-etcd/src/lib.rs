//! etcd v3 as a datastore.
//!
//! Spoken directly over gRPC with hand-written messages ([`messages`]), so that no protocol compiler is needed to
//! build. Keys and values are stored as they are; the layout is the caller's.
//!
//! No call hangs: every attempt at an endpoint has a limit, and so has the whole call. An error names what was tried.

mod config;
mod error;
pub mod messages;
mod pool;
mod range;
mod store;
mod txn;
mod version;
mod watching;

pub use config::{ConfigError, Credentials, EtcdConfig, TlsFiles};
pub use store::EtcdStore;
pub use watching::EtcdWatch;
