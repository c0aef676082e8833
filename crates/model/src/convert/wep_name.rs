//! Names of workload endpoints: `<node>-<orchestrator>-<workload>-<endpoint>`, dashes inside a part doubled.

use crate::WorkloadId;
use std::fmt;

/// What the name of a workload endpoint is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WepName {
    /// The node.
    pub node: String,
    /// `k8s`, `cni`, `libnetwork`, or another.
    pub orchestrator: String,
    /// Pod, container, or workload, as the orchestrator has it.
    pub workload: String,
    /// Interface inside the workload.
    pub endpoint: String,
}

/// A part of a name that is missing or cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {part} {text:?} cannot be part of the name of a workload endpoint: it must not be empty, nor begin or end with \"-\""
)]
pub struct WepNameError {
    /// Which part.
    pub part: &'static str,
    /// Its text.
    pub text: String,
}

impl WepName {
    /// The name.
    pub fn to_name(&self) -> Result<String, WepNameError> {
        let parts = [
            ("node", &self.node),
            ("orchestrator", &self.orchestrator),
            ("workload", &self.workload),
            ("endpoint", &self.endpoint),
        ];
        let mut name = String::new();
        for (part, text) in parts {
            if text.is_empty() || text.starts_with('-') || text.ends_with('-') {
                return Err(WepNameError { part, text: text.clone() });
            }
            if !name.is_empty() {
                name.push('-');
            }
            name.push_str(&text.replace('-', "--"));
        }
        Ok(name)
    }

    /// The parts of a name, `None` if it has not exactly four.
    pub fn parse(name: &str) -> Option<Self> {
        let parts = split(name);
        let [node, orchestrator, workload, endpoint] = <[String; 4]>::try_from(parts).ok()?;
        Some(Self { node, orchestrator, workload, endpoint })
    }

    /// Key of the endpoint in the model. `namespace` is that of the v3 object.
    pub fn workload_id(&self, namespace: &str) -> WorkloadId {
        WorkloadId {
            host: self.node.clone(),
            orchestrator: self.orchestrator.clone(),
            workload: format!("{namespace}/{}", self.workload),
            endpoint: self.endpoint.clone(),
        }
    }
}

impl fmt::Display for WepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} on {}", self.endpoint, self.workload, self.node)
    }
}

/// Splits a name at single dashes; two dashes are one inside a part. A part neither begins nor ends with a dash, so a
/// third dash separates.
pub fn split(name: &str) -> Vec<String> {
    let mut part = String::new();
    let mut parts = Vec::new();
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let first = parts.is_empty() && part.is_empty();
        if c != '-' || first {
            part.push(c);
        } else if chars.next_if_eq(&'-').is_some() {
            part.push('-');
        } else {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(parts: [&str; 4]) -> WepName {
        let [node, orchestrator, workload, endpoint] = parts.map(str::to_owned);
        WepName { node, orchestrator, workload, endpoint }
    }

    #[test]
    fn names() {
        for (parts, want) in [
            (["n-1", "k8s", "po-d--x", "eth0"], Some("n--1-k8s-po--d----x-eth0")),
            (["n", "cni", "abc", "eth0"], Some("n-cni-abc-eth0")),
            (["", "k8s", "p", "eth0"], None),
            (["n", "k8s", "-p", "eth0"], None),
            (["n", "k8s", "p", "eth0-"], None),
        ] {
            assert_eq!(name(parts).to_name().ok().as_deref(), want);
        }
        assert_eq!(WepName::parse("n--1-k8s-p-eth0"), Some(name(["n-1", "k8s", "p", "eth0"])));
        for bad in ["", "a", "a-b-c", "a-b-c-d-e"] {
            assert_eq!(WepName::parse(bad), None, "{bad}");
        }
        assert_eq!(split("a-b"), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn every_name_is_read_back(parts in proptest::array::uniform4("[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?")) {
            let [a, b, c, d] = &parts;
            let wep = name([a, b, c, d]);
            prop_assert_eq!(WepName::parse(&wep.to_name().unwrap()), Some(wep));
        }
    }
}
