//! Seeing what is there. Nothing is changed.

use super::{Leftovers, SeeError};
use tortie_kernel_net::Netlink;
use tortie_kernel_nft::{Filters, SharedChain, TableFamily, TableRef, legacy};
use tortie_model::names::felix;

/// Tables that Felix shares with others.
const SHARED_TABLES: [&str; 4] = ["filter", "nat", "mangle", "raw"];
/// `NF_INET_FORWARD`
const FORWARD: u32 = 2;
/// What only kube-proxy has.
const KUBE_PROXY_CHAIN: &str = "KUBE-SERVICES";
const KUBE_PROXY_TABLE: &str = "kube-proxy";
const KUBE_PROXY_INTERFACE: &str = "kube-ipvs0";

/// Looks at the network namespace of the calling thread.
pub fn see() -> Result<Leftovers, SeeError> {
    let mut left = Leftovers::default();
    let mut filters = Filters::open()?;
    see_nftables(&mut left, &mut filters)?;
    left.sets = filters.ip_sets()?.into_iter().filter(|name| felix::is_set(name)).collect();
    see_legacy(&mut left)?;
    see_programs(&mut left)?;
    Ok(left)
}

fn is_own(table: &TableRef) -> bool {
    felix::is_table(&table.family.to_string(), &table.name)
}

fn is_shared(table: &TableRef) -> bool {
    matches!(table.family, TableFamily::Ip | TableFamily::Ip6) && SHARED_TABLES.contains(&&*table.name)
}

fn see_nftables(left: &mut Leftovers, filters: &mut Filters) -> Result<(), SeeError> {
    for table in filters.tables()? {
        left.kube_proxy |= &*table.name == KUBE_PROXY_TABLE;
        if is_own(&table) {
            left.tables.push(table);
        }
    }
    let chains = filters.chains()?;
    for chain in &chains {
        left.kube_proxy |= &*chain.name == KUBE_PROXY_CHAIN;
        left.enforcing |= is_own(&chain.table) && chain.hook == Some(FORWARD);
        if is_shared(&chain.table) && felix::is_chain(&chain.name) {
            left.chains.push((chain.table.clone(), chain.name.clone()));
        }
    }
    // A node has thousands of rules of kube-proxy; Felix puts its own into the chains of hooks only.
    let hooks =
        chains.iter().filter(|c| c.hook.is_some() && is_shared(&c.table) && !felix::is_chain(&c.name));
    for chain in hooks {
        see_rules(left, filters, chain)?;
    }
    Ok(())
}

fn see_rules(left: &mut Leftovers, filters: &mut Filters, chain: &SharedChain) -> Result<(), SeeError> {
    let before = left.rules.len();
    for rule in filters.rules(&chain.table, &chain.name)? {
        let jumps = rule.jump.as_deref().is_some_and(felix::is_chain);
        if jumps || rule.comment.as_deref().is_some_and(felix::is_rule_comment) {
            left.rules.push(rule);
        }
    }
    if chain.hook == Some(FORWARD) && left.rules.len() > before {
        left.enforcing |= &*chain.table.name == "filter";
        if chain.drops {
            left.closed.push(chain.table.to_string());
        }
    }
    Ok(())
}

fn see_legacy(left: &mut Leftovers) -> Result<(), SeeError> {
    for mut table in legacy::tables(&|chain| felix::is_chain(chain) || chain == KUBE_PROXY_CHAIN)? {
        left.kube_proxy |= table.chains.iter().any(|chain| chain == KUBE_PROXY_CHAIN);
        table.chains.retain(|chain| felix::is_chain(chain));
        if table.chains.is_empty() {
            continue;
        }
        if table.name == "filter" {
            left.enforcing = true;
            if table.forward_drops {
                left.closed.push(format!("{} filter (iptables-legacy)", table.family));
            }
        }
        left.legacy.push(table);
    }
    Ok(())
}

fn see_programs(left: &mut Leftovers) -> Result<(), SeeError> {
    let netlink = Netlink::open()?;
    for link in netlink.links()? {
        left.kube_proxy |= link.name == KUBE_PROXY_INTERFACE;
        let programs = netlink.programs(link.index)?;
        let theirs = programs.into_iter().filter(|program| felix::is_program(&program.name));
        left.programs.extend(theirs.map(|program| (link.name.clone(), program)));
        if felix::BPF_INTERFACES.contains(&link.name.as_str()) {
            left.bpf_interfaces.push(link.name);
        }
    }
    left.enforcing |= !left.programs.is_empty() || !left.bpf_interfaces.is_empty();
    Ok(())
}
