//! Values as the datastore keeps them: JSON, save for settings and the ready flag, which are bare text.

use super::Value;
use crate::Key;
use serde::de::{self, DeserializeOwned};
use std::sync::Arc;

/// Bytes that are not the value of their key.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the value of {path}")]
pub struct ValueParseError {
    /// Path of the key.
    pub path: String,
    /// What is wrong.
    pub source: serde_json::Error,
}

impl Value {
    /// Reads the stored bytes of a key.
    pub fn parse(key: &Key, bytes: &[u8]) -> Result<Self, ValueParseError> {
        fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
            if bytes.trim_ascii_start().starts_with(b"[") {
                // A list of a struct's fields would do as well, to serde.
                return Err(de::Error::custom("expected an object, found a list"));
            }
            serde_json::from_slice(bytes)
        }
        let value = match key {
            Key::WorkloadEndpoint(_) => json(bytes).map(|v| Self::WorkloadEndpoint(Arc::new(v))),
            Key::HostEndpoint { .. } => json(bytes).map(|v| Self::HostEndpoint(Arc::new(v))),
            Key::Policy(_) => json(bytes).map(|v| Self::Policy(Arc::new(v))),
            Key::Tier(_) => json(bytes).map(Self::Tier),
            Key::ProfileRules(_) => json(bytes).map(|v| Self::ProfileRules(Arc::new(v))),
            Key::ProfileLabels(_) => json(bytes).map(|v| Self::ProfileLabels(Arc::new(v))),
            Key::NetworkSet(_) => json(bytes).map(|v| Self::NetworkSet(Arc::new(v))),
            Key::IpPool(_) => json(bytes).map(|v| Self::IpPool(Arc::new(v))),
            Key::Block(_) => json(bytes).map(|v| Self::Block(Arc::new(v))),
            // The oldest affinities have no value at all.
            Key::BlockAffinity { .. } if bytes.is_empty() => {
                Ok(Self::BlockAffinity(super::BlockAffinity::default()))
            }
            Key::BlockAffinity { .. } => json(bytes).map(Self::BlockAffinity),
            Key::IpamHandle(_) => json(bytes).map(Self::IpamHandle),
            Key::IpamConfig => json(bytes).map(Self::IpamConfig),
            Key::Wireguard(_) => json(bytes).map(Self::Wireguard),
            Key::Resource(resource) => json(bytes).map(|mut object| {
                if POLICIES.contains(&resource.kind.as_str()) {
                    written_name(&mut object);
                }
                Self::Resource(Arc::new(object))
            }),
            Key::AgentStatus { .. }
            | Key::LastAgentStatus { .. }
            | Key::WorkloadStatus { .. }
            | Key::HostEndpointStatus { .. } => json(bytes).map(|v| Self::Resource(Arc::new(v))),
            Key::ReadyFlag => Ok(Self::Ready(bytes == b"true")),
            Key::GlobalConfig(_)
            | Key::HostConfig { .. }
            | Key::BgpGlobalConfig(_)
            | Key::BgpNodeConfig { .. } => Ok(Self::Config(String::from_utf8_lossy(bytes).into_owned())),
        };
        value.map_err(|source| ValueParseError { path: key.to_path().unwrap_or_default(), source })
    }

    /// The value as JSON; settings are strings and the ready flag is a boolean.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::WorkloadEndpoint(v) => serde_json::to_value(v),
            Self::HostEndpoint(v) => serde_json::to_value(v),
            Self::Policy(v) => serde_json::to_value(v),
            Self::Tier(v) => serde_json::to_value(v),
            Self::ProfileRules(v) => serde_json::to_value(v),
            Self::ProfileLabels(v) => serde_json::to_value(v),
            Self::NetworkSet(v) => serde_json::to_value(v),
            Self::IpPool(v) => serde_json::to_value(v),
            Self::Block(v) => serde_json::to_value(v),
            Self::BlockAffinity(v) => serde_json::to_value(v),
            Self::IpamHandle(v) => serde_json::to_value(v),
            Self::IpamConfig(v) => serde_json::to_value(v),
            Self::Wireguard(v) => serde_json::to_value(v),
            Self::Resource(v) => serde_json::to_value(v),
            Self::Config(text) => Ok(text.clone().into()),
            Self::Ready(ready) => Ok((*ready).into()),
        }
        .expect("the model's types have string keys only, so JSON can hold them")
    }

    /// The bytes as the datastore keeps them.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Config(text) => text.clone().into_bytes(),
            other => other.to_json().to_string().into_bytes(),
        }
    }
}

/// Kinds whose stored name can differ from the one that the user wrote.
const POLICIES: [&str; 4] =
    ["NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"];

/// Annotation with the metadata that the user wrote, as JSON.
const WRITTEN_METADATA: &str = "projectcalico.org/metadata";

/// Gives a policy back its name: older writers put the tier before it, and the name into an annotation.
fn written_name(policy: &mut serde_json::Value) {
    let tier = policy.pointer("/spec/tier").and_then(serde_json::Value::as_str).unwrap_or_default();
    let in_default = matches!(tier, "" | "default");
    let Some(metadata) = policy.get_mut("metadata").and_then(serde_json::Value::as_object_mut) else {
        return;
    };
    let annotation = metadata
        .get_mut("annotations")
        .and_then(serde_json::Value::as_object_mut)
        .and_then(|annotations| annotations.remove(WRITTEN_METADATA));
    let annotated = annotation
        .as_ref()
        .and_then(serde_json::Value::as_str)
        .and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok())
        .and_then(|written| Some(written.get("name")?.as_str()?.to_owned()));
    let stored = metadata.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
    let stripped = stored.strip_prefix("default.").filter(|_| in_default).map(str::to_owned);
    if let Some(name) = annotated.or(stripped) {
        metadata.insert("name".to_owned(), name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PolicyId, PolicyKind};

    #[test]
    fn stored_values_survive() {
        let policy = Key::Policy(PolicyId {
            kind: PolicyKind::NetworkPolicy,
            namespace: "a".into(),
            name: "b".into(),
        });
        for (key, raw) in [
            (
                policy,
                r#"{"namespace":"a","tier":"default","order":10.0,"selector":"all()","types":["ingress"]}"#,
            ),
            (Key::Tier("t".into()), r#"{"order":1000000.0,"defaultAction":"Deny"}"#),
            (Key::GlobalConfig("x".into()), "some text"),
            (Key::ReadyFlag, "true"),
            (Key::Wireguard("n".into()), r#"{"interfaceIPv4Addr":"10.0.0.1","publicKey":"k"}"#),
        ] {
            let value = Value::parse(&key, raw.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(value.to_bytes()).unwrap(), raw);
        }
        let affinity = Key::BlockAffinity {
            host: "n".into(),
            affinity_type: "host".into(),
            cidr: "10.0.0.0/26".parse().unwrap(),
        };
        assert!(matches!(Value::parse(&affinity, b""), Ok(Value::BlockAffinity(a)) if a.state.is_empty()));
        assert!(matches!(Value::parse(&Key::ReadyFlag, b"yes"), Ok(Value::Ready(false))));
        let error = Value::parse(&Key::Tier("t".into()), b"{").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the value of /calico/v1/policy/tier/t/metadata");
    }

    #[test]
    fn policies_have_the_name_that_was_written() {
        let key = Key::Resource(crate::ResourceKey {
            kind: "NetworkPolicy".into(),
            namespace: "a".into(),
            name: "default.b".into(),
        });
        for (raw, name) in [
            (r#"{"metadata":{"name":"default.b"},"spec":{"tier":"default"}}"#, "b"),
            (r#"{"metadata":{"name":"default.b"}}"#, "b"),
            (r#"{"metadata":{"name":"default.b"},"spec":{"tier":"t"}}"#, "default.b"),
            (
                r#"{"metadata":{"name":"default.b","annotations":{"projectcalico.org/metadata":"{\"name\":\"c\"}"}}}"#,
                "c",
            ),
        ] {
            let Ok(Value::Resource(object)) = Value::parse(&key, raw.as_bytes()) else { panic!("{raw}") };
            assert_eq!(object["metadata"]["name"], name, "{raw}");
            assert_eq!(object.pointer("/metadata/annotations/projectcalico.org~1metadata"), None);
        }
    }
}
