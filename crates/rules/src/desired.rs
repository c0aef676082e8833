//! The state that the calculation described, and the table that follows from it.
//!
//! An update only notes what it touches; [`Desired::render_dirty`] renders each touched chain once. Membership goes straight into the sets.

use crate::config::Config;
use crate::constants::{Constants, widest, without};
use crate::endpoint::{self, Rendered};
use crate::fixed;
use crate::ir::{
    Chain, ChainName, Direction, Element, Rule, SetName, SetShape, Source, Statement, Towards, Verdict,
};
use crate::policy::{self, Owner};
use crate::table::{Dirty, Table};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_calc::update::{self, ActivePolicy, LocalWorkload, Member, SetId, SetKind, Update};
use tortie_model::names::nftables as names;
use tortie_model::value::IpPool;
use tortie_model::{PolicyId, WorkloadId};
use tortie_net::{Cidr, Family};

/// What should be in the kernel, as a function of the updates' outcome.
#[derive(Debug)]
pub struct Desired {
    config: Config,
    in_sync: bool,
    policies: HashMap<PolicyId, Arc<ActivePolicy>>,
    profiles: HashMap<Arc<str>, Arc<ActivePolicy>>,
    workloads: BTreeMap<WorkloadId, Arc<LocalWorkload>>,
    /// Who claims an interface. The first in order has it.
    interfaces: BTreeMap<String, BTreeSet<WorkloadId>>,
    sets: HashMap<SetId, IpSet>,
    pools: BTreeMap<Cidr, Arc<IpPool>>,
    /// Networks of others that pools hold by mistake.
    foreign: Vec<Cidr>,
    tunnels: bool,
    /// Whose rules a chain holds, for chains that an endpoint jumps to.
    owners: HashMap<ChainName, (Owner, Direction)>,
    stale: Stale,
    table: Table,
}

/// What has to be rendered again.
#[derive(Debug, Default)]
struct Stale {
    interfaces: BTreeSet<String>,
    owners: BTreeSet<Owner>,
    pools: bool,
}

/// A set of the calculation: one set per family in the table.
#[derive(Debug)]
struct IpSet {
    kind: SetKind,
    families: [FamilySet; 2],
}

#[derive(Debug)]
struct FamilySet {
    name: SetName,
    /// Members that are more than one address.
    prefixes: usize,
}

fn shape(kind: SetKind, family: Family, prefixes: bool) -> SetShape {
    match kind {
        SetKind::Net => SetShape::Addresses { family, prefixes },
        SetKind::AddrPort => SetShape::AddressProtocolPorts { family },
    }
}

fn element(member: &Member) -> (Family, Element) {
    match *member {
        Member::Net(net) => (net.family(), Element::Net(net)),
        Member::AddrPort(addr, protocol, port) => {
            (Family::of(addr), Element::AddressProtocolPort(addr, protocol, port))
        }
    }
}

fn is_prefix(element: &Element) -> bool {
    matches!(element, Element::Net(net) if !net.is_host())
}

fn slot(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

fn default_name(id: &SetId, family: Family) -> SetName {
    names::ip_set(family, &id.0, false).into()
}

impl Desired {
    /// The state of a node of which nothing is known yet: closed to workloads.
    pub fn new(config: Config) -> Self {
        let mut table = Table::default();
        for towards in [Towards::In, Towards::Out] {
            table.pin_set(&fixed::dispatch(towards), SetShape::Interfaces, HashSet::new());
        }
        for chain in fixed::chains(&config) {
            table.put_chain(chain, BTreeMap::new());
        }
        let mut desired = Self {
            config,
            in_sync: false,
            policies: HashMap::new(),
            profiles: HashMap::new(),
            workloads: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            sets: HashMap::new(),
            pools: BTreeMap::new(),
            foreign: Vec::new(),
            tunnels: false,
            owners: HashMap::new(),
            stale: Stale::default(),
            table,
        };
        desired.render_pools();
        desired
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// True after `Update::InSync`: what is not wanted now does not exist.
    pub fn in_sync(&self) -> bool {
        self.in_sync
    }

    /// The table, complete as of the last [`Desired::render_dirty`].
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Answers what changed in the table since the last call, and forgets it.
    pub fn take_dirty(&mut self) -> Dirty {
        self.table.take_dirty()
    }

    /// The interface and the workload that has it, for every interface with chains.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, &WorkloadId)> {
        self.interfaces.iter().filter_map(|(name, claims)| Some((name.as_str(), claims.first()?)))
    }

    /// Networks of others, which count as outside of the pools that hold them by mistake: packets to them are masqueraded
    /// as if there were no such pool.
    pub fn set_foreign(&mut self, foreign: Vec<Cidr>) {
        if self.foreign != foreign {
            self.foreign = foreign;
            self.stale.pools = true;
        }
    }

    /// The pools.
    pub fn pools(&self) -> impl Iterator<Item = &IpPool> {
        self.pools.values().map(|pool| &**pool)
    }

    /// Takes an update in.
    pub fn on_update(&mut self, update: &Update) {
        match update {
            Update::InSync => self.in_sync = true,
            Update::Set { id, kind, members } => self.set(id, *kind, members),
            Update::SetDelta { id, added, removed } => self.set_delta(id, added, removed),
            Update::SetRemove(id) => self.set_remove(id),
            Update::Policy(id, policy) => {
                let before = self.policies.insert(id.clone(), policy.clone());
                self.policy_changed(id, before.as_ref());
            }
            Update::PolicyRemove(id) => {
                let before = self.policies.remove(id);
                self.policy_changed(id, before.as_ref());
            }
            Update::Profile(name, profile) => {
                self.profiles.insert(name.clone(), profile.clone());
                self.stale.owners.insert(Owner::Profile(name.clone()));
            }
            Update::ProfileRemove(name) => {
                self.profiles.remove(name);
                self.stale.owners.insert(Owner::Profile(name.clone()));
            }
            Update::Workload(id, workload) => self.workload(id, Some(workload.clone())),
            Update::WorkloadRemove(id) => self.workload(id, None),
            Update::Pool(pool) => {
                self.pools.insert(pool.cidr, pool.clone());
                self.stale.pools = true;
            }
            Update::PoolRemove(cidr) => {
                self.pools.remove(cidr);
                self.stale.pools = true;
            }
            // Host endpoints have no chains yet.
            Update::Host(..) | Update::HostRemove(_) => {}
        }
    }

    /// Takes the addresses of nodes from which VXLAN may come; `None` if nobody tunnels, and VXLAN is none of our
    /// business.
    pub fn tunnel_ends(&mut self, ends: Option<&BTreeSet<IpAddr>>) {
        let tunnels = ends.is_some();
        if !std::mem::replace(&mut self.tunnels, tunnels) && !tunnels {
            return;
        }
        for family in Family::ALL {
            let name = names::ip_set(family, names::TUNNEL_ENDS, true).into();
            let of_family = ends.into_iter().flatten().filter(|end| Family::of(**end) == family);
            let elements = of_family.map(|end| Element::Net(Cidr::host(*end))).collect();
            self.table.pin_set(&name, SetShape::Addresses { family, prefixes: true }, elements);
        }
        self.table.put_chain(fixed::input(&self.config, tunnels), BTreeMap::new());
    }

    /// Gives up policy for good: what is left of the table is pods' way out, which hides their addresses from the world
    /// outside. False if no pool asks for that; then the table is of no use.
    pub fn give_up_policy(&mut self) -> bool {
        self.render_dirty();
        let rest = [names::POSTROUTING, names::NAT_OUTGOING].map(ChainName::from);
        let chains: Vec<ChainName> =
            self.table.chains().keys().filter(|c| !rest.contains(c)).cloned().collect();
        for chain in chains {
            self.table.remove_chain(&chain);
        }
        let pools = Family::ALL.into_iter().flat_map(|family| {
            [names::MASQUERADE_POOLS, names::ALL_POOLS]
                .map(|id| SetName::from(names::ip_set(family, id, true)))
        });
        let pools: BTreeSet<SetName> = pools.collect();
        let sets: Vec<SetName> = self.table.sets().keys().filter(|s| !pools.contains(*s)).cloned().collect();
        for set in sets {
            self.table.unpin_set(&set);
        }
        self.policies.clear();
        self.profiles.clear();
        self.workloads.clear();
        self.interfaces.clear();
        self.sets.clear();
        self.owners.clear();
        self.stale = Stale::default();
        self.pools.values().any(|pool| pool.masquerade)
    }

    /// Brings the table up to date.
    pub fn render_dirty(&mut self) {
        let stale = std::mem::take(&mut self.stale);
        if stale.pools {
            self.render_pools();
        }
        for interface in stale.interfaces {
            self.render_endpoint(&interface);
        }
        for owner in stale.owners {
            for direction in Direction::ALL {
                self.render_rules(&owner, direction);
            }
        }
        for chain in self.table.take_use_changed() {
            if let Some((owner, direction)) = self.owners.get(&chain).cloned() {
                self.render_rules(&owner, direction);
                if !self.table.is_used(&chain) {
                    self.owners.remove(&chain);
                }
            }
        }
    }
}

// === impl Desired: sets ===

impl Desired {
    fn set(&mut self, id: &SetId, kind: SetKind, members: &[Member]) {
        if self.sets.get(id).is_some_and(|s| s.kind != kind) {
            self.set_remove(id);
        }
        let mut elements = [HashSet::new(), HashSet::new()];
        for member in members {
            let (family, element) = element(member);
            if let Some(elements) = elements.get_mut(slot(family)) {
                elements.insert(element);
            }
        }
        let new = !self.sets.contains_key(id);
        let families = Family::ALL.map(|f| FamilySet { name: default_name(id, f), prefixes: 0 });
        let set = self.sets.entry(id.clone()).or_insert(IpSet { kind, families });
        let mut renamed = false;
        for ((family, elements), slot) in Family::ALL.into_iter().zip(elements).zip(&mut set.families) {
            slot.prefixes = elements.iter().filter(|e| is_prefix(e)).count();
            let prefixes = slot.prefixes > 0;
            let name = SetName::from(names::ip_set(family, &id.0, prefixes));
            if name != slot.name {
                renamed = true;
                if !new {
                    self.table.unpin_set(&slot.name);
                }
                slot.name = name;
            }
            self.table.pin_set(&slot.name, shape(kind, family, prefixes), elements);
        }
        if renamed {
            self.set_renamed(id);
        }
    }

    fn set_delta(&mut self, id: &SetId, added: &[Member], removed: &[Member]) {
        let Some(set) = self.sets.get_mut(id) else { return };
        for member in removed {
            let (family, element) = element(member);
            let Some(slot) = set.families.get_mut(slot(family)) else { continue };
            if self.table.remove_element(&slot.name, &element) && is_prefix(&element) {
                slot.prefixes -= 1;
            }
        }
        let mut renamed = false;
        for member in added {
            let (family, element) = element(member);
            let Some(slot) = set.families.get_mut(slot(family)) else { continue };
            let prefix = is_prefix(&element);
            if self.table.add_element(&slot.name, element) && prefix {
                slot.prefixes += 1;
            }
        }
        // The kind follows from what the set holds now. If it changed, all members move to a set of the other name.
        for (family, slot) in Family::ALL.into_iter().zip(&mut set.families) {
            let prefixes = slot.prefixes > 0;
            let name = SetName::from(names::ip_set(family, &id.0, prefixes));
            if name != slot.name {
                let elements = self.table.unpin_set(&slot.name);
                self.table.pin_set(&name, shape(set.kind, family, prefixes), elements);
                slot.name = name;
                renamed = true;
            }
        }
        if renamed {
            self.set_renamed(id);
        }
    }

    fn set_remove(&mut self, id: &SetId) {
        let Some(set) = self.sets.remove(id) else { return };
        let mut renamed = false;
        for (family, slot) in Family::ALL.into_iter().zip(set.families) {
            self.table.unpin_set(&slot.name);
            renamed |= slot.name != default_name(id, family);
        }
        if renamed {
            self.set_renamed(id);
        }
    }

    /// Rules that refer to the set must be rendered again.
    fn set_renamed(&mut self, id: &SetId) {
        let uses = |p: &ActivePolicy| {
            p.ingress.iter().chain(&p.egress).any(|r| mentions(&r.source, id) || mentions(&r.destination, id))
        };
        let policies =
            self.policies.iter().filter(|(_, p)| uses(p)).map(|(id, _)| Owner::Policy(Arc::new(id.clone())));
        let profiles =
            self.profiles.iter().filter(|(_, p)| uses(p)).map(|(name, _)| Owner::Profile(name.clone()));
        self.stale.owners.extend(policies.chain(profiles));
    }

    fn set_name(&self, id: &SetId, family: Family) -> SetName {
        let slot = self.sets.get(id).and_then(|s| s.families.get(slot(family)));
        slot.map_or_else(|| default_name(id, family), |s| s.name.clone())
    }
}

fn mentions(side: &update::Side, id: &SetId) -> bool {
    let update::Side { sets, not_sets, named_ports, not_named_ports, addr_port_sets, .. } = side;
    [sets, not_sets, named_ports, not_named_ports, addr_port_sets].into_iter().any(|ids| ids.contains(id))
}

// === impl Desired: policies and profiles ===

fn rules_of(policy: &ActivePolicy, direction: Direction) -> &[update::Rule] {
    match direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    }
}

impl Desired {
    fn policy_changed(&mut self, id: &PolicyId, before: Option<&Arc<ActivePolicy>>) {
        self.stale.owners.insert(Owner::Policy(Arc::new(id.clone())));
        let passes = |p: Option<&Arc<ActivePolicy>>, d| p.is_some_and(|p| policy::may_pass(rules_of(p, d)));
        let after = self.policies.get(id);
        let changed = |d: &Direction| passes(before, *d) != passes(after, *d);
        for direction in Direction::ALL.into_iter().filter(changed) {
            // Endpoints guard against a pass only where one is possible.
            for workload in self.workloads.values() {
                let mut applied = workload.tiers.iter().flat_map(|t| endpoint::policies(t, direction));
                if applied.any(|p| p == id) {
                    self.stale.interfaces.insert(workload.endpoint.name.clone());
                }
            }
        }
    }

    /// Renders the chain of a policy or profile if somebody jumps to it, else takes it away.
    fn render_rules(&mut self, owner: &Owner, direction: Direction) {
        let name = endpoint::rules_chain_name(owner, direction);
        if !self.table.is_used(&name) {
            self.table.remove_chain(&name);
            return;
        }
        let (known, comment) = match owner {
            Owner::Policy(id) => (self.policies.get(&**id), id.to_string()),
            Owner::Profile(profile) => (self.profiles.get(profile), format!("Profile {profile}")),
        };
        let (rules, constants) = match known {
            Some(known) => {
                let name_of = |id: &SetId, family| self.set_name(id, family);
                policy::rules(owner, direction, rules_of(known, direction), &self.config, &name_of)
            }
            None => (vec![closed("not known")], Constants::default()),
        };
        let chain = Chain { name, base: None, comment: comment.into(), rules };
        self.table.put_chain(chain, constants.0);
    }
}

fn closed(why: &'static str) -> Rule {
    Rule {
        matches: Vec::new(),
        statements: vec![Statement::Count, Statement::Verdict(Verdict::Drop)],
        source: Source::Fixed(why),
    }
}

// === impl Desired: endpoints ===

impl Desired {
    fn workload(&mut self, id: &WorkloadId, workload: Option<Arc<LocalWorkload>>) {
        let after = workload.as_ref().map(|w| w.endpoint.name.clone());
        let before = match workload {
            Some(w) => self.workloads.insert(id.clone(), w),
            None => self.workloads.remove(id),
        };
        let before = before.map(|w| w.endpoint.name.clone());
        if before != after
            && let Some(before) = before
        {
            if let Some(claims) = self.interfaces.get_mut(&before) {
                claims.remove(id);
                if claims.is_empty() {
                    self.interfaces.remove(&before);
                }
            }
            self.stale.interfaces.insert(before);
        }
        if let Some(after) = after {
            self.interfaces.entry(after.clone()).or_default().insert(id.clone());
            self.stale.interfaces.insert(after);
        }
    }

    fn render_endpoint(&mut self, interface: &str) {
        let holder = self.interfaces.get(interface).and_then(BTreeSet::first);
        let holder = holder.and_then(|id| Some((id.clone(), self.workloads.get(id)?.clone())));
        for direction in Direction::ALL {
            let towards = match direction {
                Direction::Ingress => Towards::Out,
                Direction::Egress => Towards::In,
            };
            let map = fixed::dispatch(towards);
            let name = endpoint::chain_name(direction, interface);
            let entry = Element::Interface(interface.into(), name.clone());
            match &holder {
                // An interface's name is what packets are told apart by: without one there is nothing to dispatch.
                Some((id, workload)) if !interface.is_empty() => {
                    let may_pass = |id: &PolicyId| {
                        self.policies.get(id).is_some_and(|p| policy::may_pass(rules_of(p, direction)))
                    };
                    let Rendered { chain, constants, owners } =
                        endpoint::chain(id, workload, direction, &self.config, &may_pass);
                    self.owners.extend(owners.into_iter().map(|(name, owner)| (name, (owner, direction))));
                    self.table.put_chain(chain, constants.0);
                    self.table.add_element(&map, entry);
                }
                _ => {
                    self.table.remove_element(&map, &entry);
                    self.table.remove_chain(&name);
                }
            }
        }
    }
}

// === impl Desired: pools ===

impl Desired {
    fn render_pools(&mut self) {
        for family in Family::ALL {
            // Who disables a pool says by it what is not masqueraded.
            let own = |pool: &IpPool| {
                if pool.disabled { vec![pool.cidr] } else { without(pool.cidr, &self.foreign) }
            };
            let masquerade = self.pools.values().filter(|p| p.masquerade).flat_map(|p| own(p));
            let sets = [
                (names::MASQUERADE_POOLS, widest(masquerade, family)),
                (names::ALL_POOLS, widest(self.pools.values().flat_map(|p| own(p)), family)),
            ];
            for (id, nets) in sets {
                let name = names::ip_set(family, id, true).into();
                let elements = nets.into_iter().map(Element::Net).collect();
                self.table.pin_set(&name, SetShape::Addresses { family, prefixes: true }, elements);
            }
        }
    }
}
