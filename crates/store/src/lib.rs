//! The datastore port, and the embedded store.
//!
//! Keys are paths in Calico's etcd layout (`/calico/...`), values are bytes (JSON). One revision counter orders all
//! changes. Every datastore that Tortie speaks to is an implementation of [`Store`].
//!
//! The embedded store is for one machine or one lab: a [`Engine`] over one file, [`serve`]d on a unix socket by one
//! process, used by all others through [`EmbeddedClient`]. It must not know what the values mean.

pub mod backup;
pub mod client;
pub mod engine;
pub mod port;
pub mod server;
mod wire;

pub use client::{ClientConfig, EmbeddedClient};
pub use engine::{Durability, Engine, EngineConfig, OpenError, Status};
pub use port::{BoxFuture, Entry, Event, List, Op, Precondition, Store, StoreError, Watch, WatchItem};
pub use server::{ServeConfig, ServeError, serve};
