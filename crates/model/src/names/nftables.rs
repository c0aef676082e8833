//! Names inside the nftables table: chains and sets.
//!
//! Prefixes are Calico's. A name is a function of what it names and of nothing else, so that an agent recognises after a restart what an
//! earlier one wrote. Every name is legal in `nft` text: `[A-Za-z0-9/_.-]`, starting with a letter.

use crate::PolicyId;
use sha2::{Digest as _, Sha256};
use tortie_net::Family;

/// The table, in the `inet` family.
pub const TABLE: &str = "calico";

/// Base chain: traffic forwarded from workloads.
pub const FORWARD_FROM: &str = "cali-FORWARD-from";
/// Base chain: traffic forwarded to workloads.
pub const FORWARD_TO: &str = "cali-FORWARD-to";
/// Base chain: traffic to this host, policy of workloads.
pub const INPUT: &str = "cali-INPUT";
/// Base chain: traffic to this host, what policy let through.
pub const INPUT_HOST: &str = "cali-INPUT-host";
/// Base chain: source NAT.
pub const POSTROUTING: &str = "cali-POSTROUTING";
/// Masquerade of traffic that leaves the pools.
pub const NAT_OUTGOING: &str = "cali-nat-outgoing";
/// Workload to host.
pub const WORKLOAD_TO_HOST: &str = "cali-wl-to-host";
/// Neighbour discovery.
pub const NEIGHBOURS: &str = "cali-neighbours";
/// Chain and verdict map: by incoming interface.
pub const FROM_WORKLOAD_DISPATCH: &str = "cali-from-wl-dispatch";
/// Chain and verdict map: by outgoing interface.
pub const TO_WORKLOAD_DISPATCH: &str = "cali-to-wl-dispatch";
/// Id of the set of pools whose traffic is masqueraded.
pub const MASQUERADE_POOLS: &str = "masq-ipam-pools";
/// Id of the set of all pools.
pub const ALL_POOLS: &str = "network-ip-pools";
/// Addresses of nodes from which VXLAN comes.
pub const TUNNEL_ENDS: &str = "all-vxlan-net";

/// Longest name of a set.
pub const MAX_SET_NAME: usize = 31;
/// Longest name of a chain that we make.
pub const MAX_CHAIN_NAME: usize = 64;

/// Chain of traffic from the workload behind `interface`.
pub fn from_workload(interface: &str) -> String {
    limited("cali-fw-", interface, MAX_CHAIN_NAME)
}

/// Chain of traffic to the workload behind `interface`.
pub fn to_workload(interface: &str) -> String {
    limited("cali-tw-", interface, MAX_CHAIN_NAME)
}

/// Chain of a policy's ingress rules.
pub fn policy_ingress(id: &PolicyId) -> String {
    policy("cali-pi-", id)
}

/// Chain of a policy's egress rules.
pub fn policy_egress(id: &PolicyId) -> String {
    policy("cali-po-", id)
}

/// Chain of a profile's ingress rules.
pub fn profile_ingress(name: &str) -> String {
    limited("cali-pri-", name, MAX_CHAIN_NAME)
}

/// Chain of a profile's egress rules.
pub fn profile_egress(name: &str) -> String {
    limited("cali-pro-", name, MAX_CHAIN_NAME)
}

/// Set of the members of `id` in one family. Sets of host addresses (`cali40…`, as Calico's) and sets that hold
/// prefixes (`cali41…`) differ in kind, so they differ in name.
pub fn ip_set(family: Family, id: &str, prefixes: bool) -> String {
    let start = format!("cali{}{}", family.version(), u8::from(prefixes));
    let mut legal = id.replace(':', "-");
    let room = MAX_SET_NAME - start.len();
    // The calculation's ids are a kind and a long hash, of which a name shows as much as fits, as Calico's does.
    let hash_id = id.split_once(':').is_some_and(|(kind, hash)| {
        kind.len() < 10
            && hash.len() >= 20
            && hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    });
    if hash_id {
        legal.truncate(room);
        return start + &legal;
    }
    limited(&start, &legal, MAX_SET_NAME)
}

/// A set named by its content: `text` says what is in it, legibly if that is short and legal.
pub fn constant_set(prefix: &str, text: &str) -> String {
    limited(prefix, text, MAX_SET_NAME)
}

fn policy(prefix: &str, id: &PolicyId) -> String {
    format!("{prefix}{}", digest(&format!("{}/{}/{}", id.kind.as_str(), id.namespace, id.name), 20))
}

/// `prefix` + `text` if that is legal and short, else `prefix` + `_` + a hash of `text`.
fn limited(prefix: &str, text: &str, max: usize) -> String {
    let legal = !text.is_empty()
        && !text.starts_with('_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'.' | b'-'));
    if legal && prefix.len() + text.len() <= max {
        return format!("{prefix}{text}");
    }
    format!("{prefix}_{}", digest(text, (max - prefix.len() - 1).min(24)))
}

/// The first `len` characters of SHA-256 in the URL-safe base 64 alphabet.
fn digest(text: &str, len: usize) -> String {
    let mut hash = data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(text));
    hash.truncate(len);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PolicyKind;

    #[test]
    fn chains() {
        assert_eq!(from_workload("cali123"), "cali-fw-cali123");
        assert_eq!(profile_ingress("kns.default"), "cali-pri-kns.default");
        assert!(profile_ingress("a b").starts_with("cali-pri-_"));
        assert_eq!(profile_ingress(&"x".repeat(200)).len(), "cali-pri-_".len() + 24);
        let id = |namespace: &str, name: &str| PolicyId {
            kind: PolicyKind::NetworkPolicy,
            namespace: namespace.into(),
            name: name.into(),
        };
        assert_eq!(policy_ingress(&id("a", "b")).len(), 28);
        assert_ne!(policy_ingress(&id("a", "b")), policy_ingress(&id("", "a/b")));
    }

    #[test]
    fn sets() {
        assert_eq!(
            ip_set(Family::V4, "s:Zm9vYmFyYmF6cXV4cXV1eGNvcmdl", false),
            "cali40s-Zm9vYmFyYmF6cXV4cXV1eGN",
            "as much of Calico's hash as fits"
        );
        assert_eq!(ip_set(Family::V6, MASQUERADE_POOLS, true), "cali61masq-ipam-pools");
        let service = ip_set(Family::V4, "svc:a-long-namespace/a-long-service-name", false);
        assert!(service.starts_with("cali40_") && service.len() == MAX_SET_NAME, "{service}");
        assert_eq!(constant_set("cali-ports-", "80.443"), "cali-ports-80.443");
        assert_eq!(constant_set("cali-ports-", &"80.".repeat(30)).len(), MAX_SET_NAME);
    }
}
