//! The trials, in the order in which they run.

mod add_interrupted;
mod agent_away;
mod cni_verbs;
mod containerd_next;
mod containerd_restarts;
mod manifest;
mod node_restarts;
mod pods_talk;
mod probes;
mod problems;
mod removal;
mod services;
mod takeover;
mod vxlan;

use crate::Trial;

/// All of them.
pub const ALL: &[Trial] = &[
    pods_talk::TRIAL,
    add_interrupted::TRIAL,
    agent_away::TRIAL,
    containerd_restarts::TRIAL,
    cni_verbs::TRIAL,
    containerd_next::TRIAL,
    node_restarts::TRIAL,
    probes::BOTH,
    probes::IPV6,
    services::NFTABLES,
    services::IPTABLES,
    vxlan::TRIAL,
    takeover::TRIAL,
    manifest::BGP,
    manifest::VXLAN,
    removal::BGP,
    removal::VXLAN,
    removal::STORAGE,
    problems::MISTAKES,
    problems::AWAY,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_fit_into_a_namespace() {
        let names: BTreeSet<&str> = ALL.iter().map(|t| t.name).collect();
        assert_eq!(names.len(), ALL.len());
        let fits = |name: &str| {
            name.len() <= 40 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        assert!(names.iter().all(|name| fits(name)), "{names:?}");
    }
}
