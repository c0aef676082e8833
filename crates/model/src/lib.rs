//! The internal key/value model: what the calculation reads, in the shapes that Felix, Typha and etcd know.
//!
//! * [`key`]: typed keys and their datastore paths;
//! * [`value`]: the values under them (Calico's "v1" JSON);
//! * [`names`]: every name that becomes visible in the kernel;
//! * [`convert`]: Kubernetes and projectcalico.org/v3 objects to keys and values.
//!
//! Pure: no I/O, no clock.

pub mod convert;
pub mod key;
pub mod names;
pub mod value;

pub use key::{Key, PolicyId, PolicyKind, ResourceKey, WorkloadId};
pub use value::Value;

/// A change of one key: the new value, or `None` when it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What changed.
    pub key: Key,
    /// Its value now.
    pub value: Option<Value>,
}
