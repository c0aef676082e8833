//! Removing what was seen: first what decides about packets, then what that referred to.

use super::Leftovers;
use tortie_causes::chain;
use tortie_kernel_net::Netlink;
use tortie_kernel_nft::{Filters, Removal, RemoveError, legacy};
use tortie_model::names::felix;

/// What a removal could not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// One line each, naming the object.
    pub failures: Vec<String>,
    /// IP sets that are still referred to; the kernel lets go of them a moment after the rules.
    pub busy_sets: usize,
}

/// Removes what was seen in the network namespace of the calling thread; goes on after a failure.
pub fn remove(left: &Leftovers) -> Removed {
    let mut done = Removed::default();
    match Filters::open() {
        Ok(mut filters) => {
            remove_nftables(left, &mut filters, &mut done);
            remove_legacy(left, &mut done);
            remove_sets(left, &mut filters, &mut done);
        }
        Err(error) => done.failures.push(chain(&error)),
    }
    remove_programs(left, &mut done);
    done
}

/// Everything in one transaction; a chain to which somebody else's rule jumps is emptied and stays.
fn remove_nftables(left: &Leftovers, filters: &mut Filters, done: &mut Removed) {
    let mut rules = Removal::default();
    for rule in &left.rules {
        rules.rule(rule);
    }
    for (table, name) in &left.chains {
        rules.rules_of(table, name);
    }
    for table in &left.tables {
        rules.table(table);
    }
    let mut all = rules.clone();
    for (table, name) in &left.chains {
        all.chain(table, name);
    }
    match filters.remove(&all) {
        Ok(()) => return,
        Err(RemoveError::Busy) => {}
        Err(error) => return done.failures.push(format!("chains and tables of Calico: {}", chain(&error))),
    }
    if let Err(error) = filters.remove(&rules) {
        return done.failures.push(format!("rules of Calico: {}", chain(&error)));
    }
    for (table, name) in &left.chains {
        let mut one = Removal::default();
        one.chain(table, name);
        if let Err(error) = filters.remove(&one) {
            done.failures.push(format!(
                "chain {name} of table {table} is empty now, but stays: {} (see `nft list table {table}`)",
                chain(&error)
            ));
        }
    }
}

fn remove_legacy(left: &Leftovers, done: &mut Removed) {
    for table in &left.legacy {
        let removed = legacy::remove(table.family, &table.name, &felix::is_chain, &felix::is_rule_comment);
        if let Err(error) = removed {
            let program = match table.family {
                tortie_net::Family::V4 => "iptables-legacy",
                tortie_net::Family::V6 => "ip6tables-legacy",
            };
            done.failures.push(format!(
                "chains of Calico in table {0} of {program}: {1}; to do it by hand: \
                 `{program}-save -t {0} | grep -v cali | {program}-restore -T {0}`",
                table.name,
                chain(&error)
            ));
        }
    }
}

fn remove_sets(left: &Leftovers, filters: &mut Filters, done: &mut Removed) {
    for name in &left.sets {
        match filters.remove_ip_set(name) {
            Ok(()) => {}
            Err(RemoveError::Busy) => done.busy_sets += 1,
            Err(error) => done.failures.push(format!("IP set {name}: {}", chain(&error))),
        }
    }
}

fn remove_programs(left: &Leftovers, done: &mut Removed) {
    if left.programs.is_empty() && left.bpf_interfaces.is_empty() {
        return;
    }
    let netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(error) => return done.failures.push(chain(&error)),
    };
    for (link, program) in &left.programs {
        match netlink.delete_program(program) {
            Ok(()) => {}
            Err(error) if error.is_missing() => {}
            Err(error) => done.failures.push(format!("{link}: {}", chain(&error))),
        }
    }
    // The two ends of one cable.
    for name in &left.bpf_interfaces {
        match netlink.delete_link(name.as_str()) {
            Ok(()) => {}
            Err(error) if error.is_missing() => {}
            Err(error) => done.failures.push(chain(&error)),
        }
    }
}
