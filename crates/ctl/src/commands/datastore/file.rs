//! The file of a migration, as Calico's client writes and reads it: objects as YAML, the cluster's information as
//! JSON, address management as JSON. Only form; what is in it comes from elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stands between the parts.
const SEPARATOR: &str = "===\n";

/// The three parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MigrationFile {
    /// YAML documents.
    pub(super) objects: String,
    /// The ClusterInformation.
    pub(super) cluster: Value,
    /// Address management.
    pub(super) ipam: IpamPart,
}

/// Keys and values of address management.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct IpamPart {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) block_affinities: Vec<Pair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) blocks: Vec<Pair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) handles: Vec<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Pair>,
}

/// A key and its value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: Value,
    /// Nothing of this expires.
    #[serde(default, rename = "TTL")]
    pub(super) ttl: u64,
}

/// Why a text is no such file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(
        "imported file: {0} is improperly formatted. Try recreating with 'calicoctl datastore migrate export'"
    )]
    Parts(String),
    #[error("the cluster information in {0} is no JSON")]
    Cluster(String, #[source] serde_json::Error),
    #[error("failed to read IPAM resources: the last part of {0} is not what an export writes")]
    Ipam(String, #[source] serde_json::Error),
}

impl IpamPart {
    /// All pairs, in the order in which they can be written: a block stands before what refers to it.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.block_affinities.iter().chain(&self.blocks).chain(&self.handles).chain(&self.config)
    }
}

impl MigrationFile {
    /// The file as text.
    pub(super) fn render(&self) -> Result<String, serde_json::Error> {
        let cluster = serde_json::to_string_pretty(&self.cluster)?;
        let ipam = serde_json::to_string_pretty(&self.ipam)?;
        Ok(format!("{}{SEPARATOR}{cluster}\n{SEPARATOR}{ipam}\n", self.objects))
    }

    /// Reads the file; `name` is for messages.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, FileError> {
        let parts: Vec<&str> = text.split(SEPARATOR).collect();
        let [objects, cluster, ipam] = parts.as_slice() else {
            return Err(FileError::Parts(name.to_owned()));
        };
        Ok(Self {
            objects: (*objects).to_owned(),
            cluster: serde_json::from_str(cluster).map_err(|e| FileError::Cluster(name.to_owned(), e))?,
            ipam: serde_json::from_str(ipam).map_err(|e| FileError::Ipam(name.to_owned(), e))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_again() {
        let pair = Pair {
            key: "/calico/ipam/v2/config".to_owned(),
            value: json!({"strict_affinity": true}),
            ttl: 0,
        };
        let file = MigrationFile {
            objects: "kind: TierList\n---\n".to_owned(),
            cluster: json!({"kind": "ClusterInformation"}),
            ipam: IpamPart { config: Some(pair), ..IpamPart::default() },
        };
        let text = file.render().unwrap();
        assert!(text.contains("\"TTL\": 0"), "{text}");
        assert_eq!(MigrationFile::parse("f", &text).unwrap(), file);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "a\n===\n{}\n", "a\n===\n{}\n===\n[\n", "a\n===\nb\n===\n{}\n"] {
            assert!(MigrationFile::parse("f", text).is_err(), "{text}");
        }
    }
}
