//! Which pools an automatic assignment may use.

use crate::{AllowedUse, Pool};
use std::fmt;
use tortie_model::value::StringMap;
use tortie_net::{Cidr, Family};

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
pub struct PoolQuery<'a> {
    /// Family of the wanted address.
    pub family: Family,
    /// Pools that were asked for. If there are any, selectors and assignment mode do not matter.
    pub requested: &'a [Cidr],
    /// Labels of the node.
    pub node_labels: &'a StringMap,
    /// Labels of the pod's namespace; `None` for addresses that are not for pods.
    pub namespace_labels: Option<&'a StringMap>,
    /// What the address is for; `None` skips that check.
    pub intended_use: Option<AllowedUse>,
    /// Longest prefix that a block may have.
    pub max_prefix_len: u8,
}

impl<'a> PoolQuery<'a> {
    /// A query for a pod's address without wishes.
    pub fn for_workload(family: Family, node_labels: &'a StringMap) -> Self {
        Self {
            family,
            requested: &[],
            node_labels,
            namespace_labels: None,
            intended_use: Some(AllowedUse::Workload),
            max_prefix_len: family.bits(),
        }
    }
}

/// The answer: pools in the order of the input, and why the others of the family are not among them.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// Pools to assign from.
    pub pools: Vec<&'a Pool>,
    /// Pools that were left out.
    pub rejected: Vec<Rejected<'a>>,
}

/// A pool that was left out.
#[derive(Clone, Debug)]
pub struct Rejected<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// Why.
    pub reason: RejectReason,
}

/// Why a pool was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// It hands out no addresses.
    Disabled,
    /// It is only used when asked for.
    Manual,
    /// `nodeSelector` does not match the node.
    NodeSelector,
    /// `namespaceSelector` does not match the namespace.
    NamespaceSelector,
    /// A selector cannot be parsed.
    BadSelector,
    /// `allowedUses` lacks the use.
    Use(AllowedUse),
    /// Others were asked for.
    NotRequested,
}

/// No pools could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// There is no enabled pool of the family at all.
    #[error("there is no enabled IPPool of family {family} with blocks of /{max_prefix_len} or larger")]
    NoPools {
        /// The family.
        family: Family,
        /// Longest prefix that a block may have.
        max_prefix_len: u8,
    },
    /// A pool was asked for that is not there.
    #[error("the requested IPPool {cidr} does not exist or is disabled")]
    Requested {
        /// The pool.
        cidr: Cidr,
    },
}

/// Chooses the pools that a query may use.
///
/// A pool with a selector that cannot be parsed is left out, as if it matched nothing; the others still serve.
pub fn select_pools<'a>(pools: &'a [Pool], query: &PoolQuery<'_>) -> Result<Selection<'a>, SelectError> {
    let of_family = || pools.iter().filter(|p| p.cidr.family() == query.family);
    let usable = |p: &&Pool| p.enabled && p.block_len <= query.max_prefix_len;
    if !of_family().any(|p| usable(&p)) {
        let (family, max_prefix_len) = (query.family, query.max_prefix_len);
        return Err(SelectError::NoPools { family, max_prefix_len });
    }
    let mut chosen: Vec<&Pool> = Vec::new();
    let mut rejected = Vec::new();
    if query.requested.is_empty() {
        for pool in of_family() {
            match mismatch(pool, query) {
                None => chosen.push(pool),
                Some(reason) => rejected.push(Rejected { pool, reason }),
            }
        }
    } else {
        for cidr in query.requested {
            let pool = of_family().filter(usable).find(|p| p.cidr == *cidr);
            chosen.push(pool.ok_or(SelectError::Requested { cidr: *cidr })?);
        }
        let others = of_family().filter(|p| !query.requested.contains(&p.cidr));
        rejected.extend(others.map(|pool| Rejected { pool, reason: RejectReason::NotRequested }));
    }
    if let Some(wanted) = query.intended_use {
        chosen.retain(|pool| {
            let allowed = pool.allowed_uses.contains(&wanted);
            if !allowed {
                rejected.push(Rejected { pool, reason: RejectReason::Use(wanted) });
            }
            allowed
        });
    }
    Ok(Selection { pools: chosen, rejected })
}

/// Why a pool that nobody asked for does not suit a query.
fn mismatch(pool: &Pool, query: &PoolQuery<'_>) -> Option<RejectReason> {
    if !pool.enabled {
        return Some(RejectReason::Disabled);
    }
    if !pool.automatic {
        return Some(RejectReason::Manual);
    }
    let none = StringMap::new();
    let tests = [
        (&pool.node_selector, query.node_labels, RejectReason::NodeSelector),
        (&pool.namespace_selector, query.namespace_labels.unwrap_or(&none), RejectReason::NamespaceSelector),
    ];
    tests.into_iter().find_map(|(selector, labels, reason)| match &selector.parsed {
        Ok(selector) => (!selector.evaluate(labels)).then_some(reason),
        Err(_) => Some(RejectReason::BadSelector),
    })
}

impl fmt::Display for Rejected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pool { name, cidr, node_selector, namespace_selector, allowed_uses, .. } = self.pool;
        write!(f, "IPPool {name} ({cidr}): ")?;
        match self.reason {
            RejectReason::Disabled => f.write_str("disabled or being deleted"),
            RejectReason::Manual => f.write_str("assignmentMode is Manual, so it must be asked for"),
            RejectReason::NodeSelector => {
                write!(f, "nodeSelector {:?} does not match the node's labels", node_selector.text)
            }
            RejectReason::NamespaceSelector => {
                write!(
                    f,
                    "namespaceSelector {:?} does not match the namespace's labels",
                    namespace_selector.text
                )
            }
            RejectReason::BadSelector => {
                let bad = [("nodeSelector", node_selector), ("namespaceSelector", namespace_selector)];
                let field = bad.iter().find_map(|(name, s)| Some((name, s.parsed.as_ref().err()?)));
                field.map_or(Ok(()), |(name, error)| write!(f, "{name}: {error}"))
            }
            RejectReason::Use(wanted) => {
                let uses: Vec<&str> = allowed_uses.iter().map(|u| u.as_str()).collect();
                write!(f, "allowedUses [{}] lacks {wanted}", uses.join(", "))
            }
            RejectReason::NotRequested => f.write_str("not among the requested pools"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn pools(specs: &[(&str, serde_json::Value)]) -> Vec<Pool> {
        let pool = |(name, spec): &(&str, serde_json::Value)| {
            Pool::from_v3(&json!({"metadata": {"name": name}, "spec": spec})).unwrap()
        };
        specs.iter().map(pool).collect()
    }

    fn labels(pairs: &[(&str, &str)]) -> StringMap {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn sample() -> Vec<Pool> {
        pools(&[
            ("any", json!({"cidr": "10.0.0.0/16"})),
            ("bad", json!({"cidr": "10.7.0.0/16", "nodeSelector": "zone =="})),
            ("blue", json!({"cidr": "10.1.0.0/16", "namespaceSelector": "team == 'blue'"})),
            ("lb", json!({"cidr": "10.5.0.0/16", "allowedUses": ["LoadBalancer"]})),
            ("manual", json!({"cidr": "10.2.0.0/16", "assignmentMode": "Manual"})),
            ("off", json!({"cidr": "10.3.0.0/16", "disabled": true})),
            ("six", json!({"cidr": "fd00::/48"})),
            ("zone-a", json!({"cidr": "10.4.0.0/16", "nodeSelector": "zone == 'a'"})),
        ])
    }

    fn show(result: Result<Selection<'_>, SelectError>) -> String {
        match result {
            Ok(selection) => {
                let names: Vec<&str> = selection.pools.iter().map(|p| p.name.as_str()).collect();
                let mut lines = vec![names.join(" ")];
                // The words about a bad selector are the parser's.
                lines.extend(selection.rejected.iter().map(|r| match r.reason {
                    RejectReason::BadSelector => {
                        r.to_string().split_inclusive("Selector:").next().unwrap_or_default().to_owned()
                    }
                    _ => r.to_string(),
                }));
                lines.join("\n")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn selectors_modes_and_uses() {
        let (pools, node, team) = (sample(), labels(&[("zone", "a")]), labels(&[("team", "blue")]));
        let query = PoolQuery { namespace_labels: Some(&team), ..PoolQuery::for_workload(Family::V4, &node) };
        expect![[r"
            any blue zone-a
            IPPool bad (10.7.0.0/16): nodeSelector:
            IPPool manual (10.2.0.0/16): assignmentMode is Manual, so it must be asked for
            IPPool off (10.3.0.0/16): disabled or being deleted
            IPPool lb (10.5.0.0/16): allowedUses [LoadBalancer] lacks Workload"]]
        .assert_eq(&show(select_pools(&pools, &query)));
        let nowhere = StringMap::new();
        let query = PoolQuery::for_workload(Family::V4, &nowhere);
        expect![[r#"
            any
            IPPool bad (10.7.0.0/16): nodeSelector:
            IPPool blue (10.1.0.0/16): namespaceSelector "team == 'blue'" does not match the namespace's labels
            IPPool manual (10.2.0.0/16): assignmentMode is Manual, so it must be asked for
            IPPool off (10.3.0.0/16): disabled or being deleted
            IPPool zone-a (10.4.0.0/16): nodeSelector "zone == 'a'" does not match the node's labels
            IPPool lb (10.5.0.0/16): allowedUses [LoadBalancer] lacks Workload"#]].assert_eq(&show(select_pools(&pools, &query)));
        let query = PoolQuery::for_workload(Family::V6, &nowhere);
        expect!["six"].assert_eq(&show(select_pools(&pools, &query)));
    }

    #[test]
    fn requested_pools_beat_selectors_but_must_be_enabled() {
        let (pools, node) = (sample(), StringMap::new());
        let ask = |requested: &[&str]| {
            let requested: Vec<Cidr> = requested.iter().map(|c| c.parse().unwrap()).collect();
            let query = PoolQuery { requested: &requested, ..PoolQuery::for_workload(Family::V4, &node) };
            let chosen = select_pools(&pools, &query);
            chosen
                .map(|s| s.pools.iter().map(|p| p.name.clone()).collect::<Vec<_>>())
                .map_err(|e| e.to_string())
        };
        assert_eq!(ask(&["10.4.0.0/16", "10.2.0.0/16"]).unwrap(), ["zone-a", "manual"]);
        assert_eq!(ask(&["10.7.0.0/16"]).unwrap(), ["bad"]);
        assert_eq!(
            ask(&["10.3.0.0/16"]).unwrap_err(),
            "the requested IPPool 10.3.0.0/16 does not exist or is disabled"
        );
        assert_eq!(
            ask(&["10.9.0.0/16"]).unwrap_err(),
            "the requested IPPool 10.9.0.0/16 does not exist or is disabled"
        );
        assert!(ask(&["10.5.0.0/16"]).unwrap().is_empty());
    }

    #[test]
    fn no_pool_at_all() {
        let (pools, node) =
            (pools(&[("off", json!({"cidr": "10.0.0.0/16", "disabled": true}))]), StringMap::new());
        let query = PoolQuery::for_workload(Family::V4, &node);
        expect!["there is no enabled IPPool of family ipv4 with blocks of /32 or larger"]
            .assert_eq(&show(select_pools(&pools, &query)));
    }
}
