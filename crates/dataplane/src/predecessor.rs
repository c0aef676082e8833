//! What Calico's agent (Felix) has left in the kernel of a node that we take over: seeing it, and removing it.
//!
//! Its marks are in `tortie_model::names::felix`; what carries none of them is not touched. When something is removed is
//! the caller's to decide: before our own policy is in force, what is found here is what protects the pods. The design
//! is in `docs/design/takeover.md`.

mod remove;
mod see;

pub use remove::{Removed, remove};
pub use see::see;

use std::fmt;
use std::sync::Arc;
use tortie_kernel_net::{DumpError, OpenError as NetlinkError, Program};
use tortie_kernel_nft::legacy::{LegacyError, LegacyTable};
use tortie_kernel_nft::{ChannelError, OpenError as FiltersError, SharedRule, TableRef};

/// The kernel does not show what is there.
#[derive(Debug, thiserror::Error)]
pub enum SeeError {
    /// No netlink socket for filters.
    #[error("cannot look at the packet filters")]
    OpenFilters(#[from] FiltersError),
    /// nftables or IP sets cannot be read.
    #[error("cannot look at the packet filters")]
    Filters(#[from] ChannelError),
    /// The older iptables cannot be read.
    #[error(transparent)]
    Legacy(#[from] LegacyError),
    /// No netlink socket for interfaces.
    #[error("cannot look at the interfaces")]
    OpenLinks(#[from] NetlinkError),
    /// Interfaces and their programs cannot be read.
    #[error("cannot look at the interfaces")]
    Links(#[from] DumpError),
}

/// All that Felix has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Its own tables.
    pub(crate) tables: Vec<TableRef>,
    /// Its chains in shared tables.
    pub(crate) chains: Vec<(TableRef, Arc<str>)>,
    /// Its rules in chains of others.
    pub(crate) rules: Vec<SharedRule>,
    /// Tables of the older iptables that have chains of its own.
    pub(crate) legacy: Vec<LegacyTable>,
    /// IP sets.
    pub(crate) sets: Vec<String>,
    /// BPF programs, by the name of their interface.
    pub(crate) programs: Vec<(String, Program)>,
    /// Interfaces of its eBPF mode.
    pub(crate) bpf_interfaces: Vec<String>,
    /// It is, or was, what lets forwarded packets pass where the end of the chain drops them: these tables.
    pub(crate) closed: Vec<String>,
    /// Rules of kube-proxy are there.
    pub(crate) kube_proxy: bool,
    /// Forwarded packets pass through something of it.
    pub(crate) enforcing: bool,
}

/// Why leftovers are not removed although our policy is in force: it would take something away that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The chain `FORWARD` of these tables ends in a drop, and a rule of Felix's is what spares the pods' packets.
    Closed(Vec<String>),
    /// Services were the work of its eBPF programs, and nobody else does it.
    NoKubeProxy,
}

impl Leftovers {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.filters_are_empty() && self.sets.is_empty() && self.bpf_interfaces.is_empty()
    }

    /// Whether there is nothing that has an effect on packets: what else is left is rubbish.
    pub fn filters_are_empty(&self) -> bool {
        self.tables.is_empty()
            && self.chains.is_empty()
            && self.rules.is_empty()
            && self.legacy.is_empty()
            && self.programs.is_empty()
    }

    /// Whether forwarded packets are still filtered by it.
    pub fn is_enforcing(&self) -> bool {
        self.enforcing
    }

    /// Why it has to stay, if it has to.
    pub fn withheld(&self) -> Option<Withheld> {
        if !self.closed.is_empty() {
            return Some(Withheld::Closed(self.closed.clone()));
        }
        let services = !self.programs.is_empty() || !self.bpf_interfaces.is_empty();
        (services && !self.kube_proxy).then_some(Withheld::NoKubeProxy)
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.tables.iter().map(|table| format!("table {table}")).collect();
        let mut count = |number: usize, what: &str| {
            if number > 0 {
                parts.push(format!("{number} {what}"));
            }
        };
        count(self.chains.len(), "chains in shared tables");
        count(self.rules.len(), "rules in chains of others");
        count(self.legacy.iter().map(|t| t.chains.len()).sum(), "chains of iptables-legacy");
        count(self.sets.len(), "IP sets");
        count(self.programs.len(), "BPF programs");
        count(self.bpf_interfaces.len(), "interfaces of the eBPF dataplane");
        f.write_str(&if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tortie_kernel_nft::TableFamily;

    #[test]
    fn what_would_take_something_away_is_withheld() {
        let table = TableRef { family: TableFamily::Ip, name: "calico".into() };
        let mut left =
            Leftovers { tables: vec![table], sets: vec!["cali40a".into()], ..Leftovers::default() };
        assert_eq!(left.withheld(), None);
        assert_eq!(left.to_string(), "table ip calico, 1 IP sets");
        left.bpf_interfaces = vec!["bpfin.cali".to_owned()];
        assert_eq!(left.withheld(), Some(Withheld::NoKubeProxy));
        left.kube_proxy = true;
        assert_eq!(left.withheld(), None);
        left.closed = vec!["ip filter".to_owned()];
        assert_eq!(left.withheld(), Some(Withheld::Closed(vec!["ip filter".to_owned()])));
        assert!(!left.is_empty() && !left.filters_are_empty());
        assert!(Leftovers::default().is_empty());
        assert_eq!(Leftovers::default().to_string(), "nothing");
    }
}
