//! What Calico's agent calls what it leaves in the kernel: the only marks by which it can be told from what others have.
//!
//! Source: `felix/rules/rulesdefs`, `felix/ipsets`, `felix/nftables`, `felix/bpf/tc`, `felix/dataplane/linux/dataplanedefs`.

/// Its own tables, by family: the first two in nftables mode, the last in all modes. Ours is `inet calico`.
pub const TABLES: [(&str, &str); 3] = [("ip", "calico"), ("ip6", "calico"), ("arp", "calico-arp")];

/// Prefixes of its chains in tables that it shares with others, the first one since 2017.
pub const CHAIN_PREFIXES: [&str; 8] =
    ["cali-", "califw-", "calitw-", "califh-", "calith-", "calipi-", "calipo-", "felix-"];

/// Prefixes of its IP sets, by family.
pub const SET_PREFIXES: [&str; 4] = ["cali4", "cali6", "felix-4", "felix-6"];

/// Interfaces that it makes in eBPF mode.
pub const BPF_INTERFACES: [&str; 2] = ["bpfin.cali", "bpfout.cali"];

/// Interfaces of encapsulations that need something of it: IP in IP, WireGuard for IPv4 and IPv6.
pub const TUNNEL_INTERFACES: [&str; 3] = ["tunl0", "wireguard.cali", "wg-v6.cali"];

/// A hash of this many characters follows the mark in the comment of each of its rules.
const HASH: usize = 16;

/// Whether a table is its own.
pub fn is_table(family: &str, name: &str) -> bool {
    TABLES.contains(&(family, name))
}

/// Whether a chain in a shared table is one of its own.
pub fn is_chain(name: &str) -> bool {
    CHAIN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a rule with this comment is one of its own: `cali:` and a hash.
pub fn is_rule_comment(comment: &str) -> bool {
    let hash = comment.strip_prefix("cali:");
    hash.is_some_and(|h| {
        h.len() == HASH && h.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

/// Whether an IP set is one of its own.
pub fn is_set(name: &str) -> bool {
    SET_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a BPF program on an interface is one of its own.
pub fn is_program(name: &str) -> bool {
    name.starts_with("cali_") || name.starts_with("calico_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        assert!(is_table("ip6", "calico") && is_table("arp", "calico-arp"));
        assert!(!is_table("inet", "calico") && !is_table("ip", "filter") && !is_table("arp", "calico"));
        assert!(is_chain("cali-FORWARD") && is_chain("felix-FORWARD") && is_chain("califw-eth0"));
        assert!(!is_chain("calico-dhcp-x") && !is_chain("KUBE-FORWARD") && !is_chain("FORWARD"));
        assert!(is_rule_comment("cali:wUHhoiAYhphO9Mso") && is_rule_comment("cali:a-b_c0123456789x"));
        assert!(!is_rule_comment("cali:note to self") && !is_rule_comment("calico") && !is_rule_comment(""));
        assert!(is_set("cali40s:qMt7iLlGDhvLnCjM0l9nzxb") && is_set("cali6ts:0") && !is_set("calamari"));
        assert!(is_program("cali_tc_preambl:[31]") && !is_program("cilium_from_container"));
    }
}
