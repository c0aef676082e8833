//! The datastore port, and the embedded store.
//!
//! Keys are paths in Calico's etcd layout (`/calico/...`), values are bytes (JSON). One revision counter orders all
//! changes. Every datastore that Tortie speaks to is an implementation of [`Store`].

pub mod port;

pub use port::{BoxFuture, Entry, Event, List, Op, Precondition, Store, StoreError, Watch, WatchItem};
