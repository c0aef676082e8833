//! Objects on their way between text, arguments and the client: kinds, documents, tables.

pub mod columns;
mod load;

pub(crate) use load::parse;
pub use load::{LoadError, Loaded, load};
pub use tortie_api::canonical::canonical;

use columns::Columns;
use serde_json::Value;
use tortie_api::v3::{self, ResourceType};

/// An object that a command is about; only kind, namespace and name of it if the command line named it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Kind.
    pub kind: &'static ResourceType,
    /// The object.
    pub value: Value,
}

/// The kind that a user's word means, if commands can work with it.
pub fn kind_of(word: &str) -> Option<&'static ResourceType> {
    v3::lookup(word).filter(|kind| Columns::of(kind).is_some())
}

impl Resource {
    /// An object of which only the name is known; an empty name stands for all objects.
    pub fn named(kind: &'static ResourceType, name: &str) -> Self {
        let value = serde_json::json!({
            "kind": kind.kind,
            "apiVersion": v3::API_VERSION,
            "metadata": {"name": name},
        });
        Self { kind, value }
    }

    /// Name, empty if there is none.
    pub fn name(&self) -> &str {
        crate::client::text(&self.value, "/metadata/name")
    }

    /// Namespace, empty if there is none.
    pub fn namespace(&self) -> &str {
        crate::client::text(&self.value, "/metadata/namespace")
    }
}
