//! What other objects demand of one: tiers that policies name, pools that must not overlap.

use super::initialize::{TIERS, kind};
use super::{Client, ClientError, ObjectName, name_of, prepare, text};
use serde_json::Value;
use tortie_api::v3::{DEFAULT_TIER, ResourceType};
use tortie_api::validate::Problem;
use tortie_model::Key;
use tortie_net::Cidr;

impl Client {
    /// A policy can only be created in a tier that exists.
    pub(super) async fn check_tier(&self, of: &ResourceType, object: &Value) -> Result<(), ClientError> {
        if !prepare::is_tiered(of) {
            return Ok(());
        }
        let tier = match text(object, "/spec/tier") {
            "" => DEFAULT_TIER,
            tier => tier,
        };
        self.get(kind("Tier"), "", tier).await.map(drop)
    }

    /// A peer can only name filters that exist.
    pub(super) async fn check_filters(&self, of: &ResourceType, peer: &Value) -> Result<(), ClientError> {
        let named = peer.pointer("/spec/filters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if of.kind != "BGPPeer" || named.is_empty() {
            return Ok(());
        }
        let known = self.list(kind("BGPFilter"), None).await?.items;
        let missing: Vec<&str> = named
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !known.iter().any(|filter| text(filter, "/metadata/name") == *name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!("BGPFilter(s) not found: {}; create them first", missing.join(", "));
        let problem = Problem { path: "spec.filters".to_owned(), message };
        Err(ClientError::wrong(name_of(of, peer), peer, vec![problem]))
    }

    /// A new pool must not overlap another, nor blocks of another size.
    pub(super) async fn check_new_pool(&self, of: &ResourceType, pool: &Value) -> Result<(), ClientError> {
        let Ok(cidr) = text(pool, "/spec/cidr").parse::<Cidr>() else { return Ok(()) };
        if of.kind != "IPPool" {
            return Ok(());
        }
        let id = name_of(of, pool);
        let mut problems = Vec::new();
        for other in self.list(of, None).await?.items {
            let (name, other_cidr) = (text(&other, "/metadata/name"), text(&other, "/spec/cidr"));
            if name != id.name && other_cidr.parse::<Cidr>().is_ok_and(|c| c.overlaps(cidr)) {
                let message =
                    format!("{cidr} overlaps with IPPool({name}) {other_cidr}; choose another prefix");
                problems.push(Problem { path: "spec.cidr".to_owned(), message });
            }
        }
        let size = pool.pointer("/spec/blockSize").and_then(Value::as_u64).unwrap_or(0);
        let prefix = tortie_model::key::blocks_prefix(cidr.family());
        for entry in self.store.list(&prefix).await?.entries {
            if let Some(Key::Block(block)) = Key::from_path(&entry.key)
                && block.overlaps(cidr)
                && u64::from(block.len()) != size
            {
                let message =
                    format!("is {size}, but the block {block} with addresses in use has another size");
                problems.push(Problem { path: "spec.blockSize".to_owned(), message });
                break;
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ClientError::wrong(id, pool, problems)) }
    }

    /// A tier can only be removed when no policy is in it.
    pub(super) async fn check_unused(&self, of: &ResourceType, id: &ObjectName) -> Result<(), ClientError> {
        if of.kind != "Tier" {
            return Ok(());
        }
        if TIERS.iter().any(|(name, ..)| *name == id.name) {
            return Err(ClientError::unsupported("delete", id.clone(), "it is a tier of the system"));
        }
        for policies in
            ["NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"]
        {
            let policies = kind(policies);
            let list = self.list(policies, None).await?;
            if let Some(policy) = list.items.iter().find(|p| text(p, "/spec/tier") == id.name) {
                let reason = format!(
                    "it is not empty; move or delete {} and the like first",
                    name_of(policies, policy)
                );
                return Err(ClientError::unsupported("delete", id.clone(), &reason));
            }
        }
        Ok(())
    }
}

/// Prefix, size of blocks and purpose of a pool stay as they are.
pub(super) fn check_pool_change(
    of: &ResourceType,
    id: &ObjectName,
    stored: &Value,
    new: &Value,
) -> Result<(), ClientError> {
    if of.kind != "IPPool" {
        return Ok(());
    }
    let mut problems = Vec::new();
    let mut refuse = |path: &str, message: String| {
        problems.push(Problem { path: path.to_owned(), message });
    };
    let (old_cidr, new_cidr) = (text(stored, "/spec/cidr"), text(new, "/spec/cidr"));
    let same = match (old_cidr.parse::<Cidr>(), new_cidr.parse::<Cidr>()) {
        (Ok(old), Ok(new)) => old == new,
        _ => old_cidr == new_cidr,
    };
    if !same {
        refuse("spec.cidr", format!("cannot be changed from {old_cidr}; make another pool"));
    }
    let size = |pool: &Value| pool.pointer("/spec/blockSize").and_then(Value::as_u64);
    if size(stored) != size(new) {
        let old = size(stored).unwrap_or(0);
        refuse("spec.blockSize", format!("cannot be changed from {old}; make another pool"));
    }
    let balances = |pool: &Value| {
        let uses = pool.pointer("/spec/allowedUses").and_then(Value::as_array);
        uses.is_some_and(|uses| uses.iter().any(|u| u == "LoadBalancer"))
    };
    if balances(stored) && !balances(new) {
        refuse("spec.allowedUses", "cannot be changed from LoadBalancer; make another pool".to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(ClientError::wrong(id.clone(), new, problems)) }
}
