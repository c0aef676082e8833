//! The objects that users write: projectcalico.org/v3 and the Kubernetes kinds that Tortie reads.
//!
//! * [`document`]: YAML or JSON text to objects and back, with the position of everything for messages;
//! * [`v3`]: projectcalico.org/v3, and the table of its kinds, names and paths;
//! * [`crd`]: what the kinds may hold, for Kubernetes and for people;
//! * [`k8s`]: the part of Kubernetes' objects that matters here.
//!
//! Pure: no I/O, no clock. Types are faithful (what was read can be written again, unknown fields included);
//! judging values is a step of its own.

pub mod admit;
pub mod canonical;
pub mod crd;
pub mod document;
pub mod duration;
mod int_or_string;
pub mod k8s;
pub mod meta;
pub mod v3;
pub mod validate;

pub use int_or_string::IntOrString;
pub use meta::ObjectMeta;

/// A JSON object whose order is that of the text it came from.
pub type Map = serde_json::Map<String, serde_json::Value>;
