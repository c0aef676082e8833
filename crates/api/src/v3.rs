//! projectcalico.org/v3: the kinds, as Calico writes them into JSON.
//!
//! Structures are faithful, not strict: text stays text, unknown fields are kept in `other`, empty fields are left out
//! where Calico leaves them out. Must not validate.

/// A body whose empty fields are not written and whose unknown fields are kept.
macro_rules! body {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "crate::meta::is_default", deserialize_with = "crate::meta::null_as_default")]
                pub $field: $type,
            )*
            /// Fields that are not named above.
            #[serde(flatten)]
            pub other: crate::Map,
        }
    };
}

/// Names the kind of a body and its object.
macro_rules! kind {
    ($($object:ident = $kind:literal: $spec:ty;)*) => {
        $(
            #[doc = concat!("`", $kind, "` of projectcalico.org/v3.")]
            pub type $object = crate::meta::Object<$spec>;
            impl crate::meta::Spec for $spec {
                const API_VERSION: &'static str = crate::v3::API_VERSION;
                const KIND: &'static str = $kind;
            }
        )*
    };
}

mod bgp;
mod config;
mod endpoint;
mod ipam;
mod node;
mod policy;
mod registry;
#[cfg(test)]
mod tests;

pub use bgp::*;
pub use config::*;
pub use endpoint::*;
pub use ipam::*;
pub use node::*;
pub use policy::*;
pub(crate) use registry::split_path;
pub use registry::{PATH_PREFIX, RESOURCES, ResourceType, by_kind, by_plural, lookup, parse_path};

/// Group of every kind here.
pub const GROUP: &str = "projectcalico.org";
/// Group and version of every kind here.
pub const API_VERSION: &str = "projectcalico.org/v3";
/// Label that the system puts on endpoints: the namespace.
pub const LABEL_NAMESPACE: &str = "projectcalico.org/namespace";
/// Label that the system puts on endpoints: the service account.
pub const LABEL_SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount";
/// Label that the system puts on endpoints: `k8s` and others.
pub const LABEL_ORCHESTRATOR: &str = "projectcalico.org/orchestrator";
/// Label that the system puts on policies: the tier.
pub const LABEL_TIER: &str = "projectcalico.org/tier";
/// Name of the tier of policies that name none.
pub const DEFAULT_TIER: &str = "default";
