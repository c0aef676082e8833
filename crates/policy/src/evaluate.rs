//! The way of a packet through the cluster, and the policy at each point of it.

use crate::decision::{Decision, Direction, NearMiss, Point, Reason, Step, Verdict};
use crate::packet::Packet;
use crate::rule::{Action, Rule};
use crate::state::{HostAction, ReadPolicy, RuleLists, State};
use std::cmp::Ordering;
use tortie_model::value::{StringMap, WorkloadEndpoint};
use tortie_model::{PolicyId, WorkloadId};
use tortie_net::{Family, Protocol};

/// IP-in-IP.
const IPIP: Protocol = Protocol(4);

/// Multicast listener and neighbour discovery: without them a pod has no link to its node.
const NEIGHBOUR_DISCOVERY: [u8; 6] = [130, 131, 132, 133, 135, 136];

/// What a walk through tiers came to.
pub(crate) enum Outcome {
    /// A rule, or the end of a tier, decided.
    Decided(Verdict, Reason),
    /// No tier decided.
    Undecided,
}

/// An end of the packet's way.
enum End<'a> {
    Workload(&'a WorkloadId, &'a WorkloadEndpoint),
    Node(&'a str),
    Outside,
}

impl End<'_> {
    fn node(&self) -> Option<&str> {
        match self {
            Self::Workload(id, _) => Some(&id.host),
            Self::Node(name) => Some(name),
            Self::Outside => None,
        }
    }
}

impl State {
    /// What becomes of the first packet of a connection. Replies need no policy.
    pub fn evaluate(&self, packet: &Packet) -> Decision {
        let (from, to) = (self.end(packet.src), self.end(packet.dst));
        let same_node = from.node().is_some() && from.node() == to.node();
        let unpoliced = |why| {
            let reason = Reason::Unpoliced(why);
            Decision::of(vec![Step { point: Point::Nowhere, verdict: Verdict::Allow, reason }])
        };
        match (&from, &to) {
            (End::Workload(a, _), End::Workload(b, _)) if a == b => {
                return unpoliced("a pod's packets to itself never leave it");
            }
            (End::Node(_), End::Node(_)) if same_node => {
                return unpoliced("a node's packets to itself never leave it");
            }
            (End::Node(_), End::Workload(..)) if same_node => {
                return unpoliced("a node may always reach its own pods");
            }
            (End::Outside, End::Outside) => return unpoliced("neither end is in the cluster"),
            _ => {}
        }
        // Each part adds what it judges; after a denial there is no packet left to judge.
        let mut steps = Vec::new();
        let denied = |steps: &[Step]| steps.iter().any(|s: &Step| s.verdict == Verdict::Deny);
        self.leave(packet, &from, &to, same_node, &mut steps);
        if !denied(&steps) {
            self.arrive(packet, &to, same_node, &mut steps);
        }
        if steps.is_empty() {
            return unpoliced("no policy is on the way");
        }
        Decision::of(steps)
    }

    /// Which end of the cluster an address is.
    fn end(&self, addr: std::net::IpAddr) -> End<'_> {
        if let Some((id, workload)) = self.workload_at(addr) {
            End::Workload(id, workload)
        } else if let Some((name, _)) = self.node_at(addr) {
            End::Node(name)
        } else {
            End::Outside
        }
    }

    /// On the source's node.
    fn leave(&self, packet: &Packet, from: &End<'_>, to: &End<'_>, same_node: bool, steps: &mut Vec<Step>) {
        match from {
            End::Workload(id, endpoint) => {
                let to_own_node = same_node && matches!(to, End::Node(_));
                if to_own_node && is_neighbour_discovery(packet) {
                    let reason = Reason::Unpoliced("neighbour discovery");
                    steps.push(Step { point: Point::Node(id.host.clone()), verdict: Verdict::Allow, reason });
                    return;
                }
                let step = self.workload_step(packet, id, endpoint, Direction::Egress);
                let allowed = step.verdict == Verdict::Allow;
                steps.push(step);
                if !allowed {
                    return;
                }
                if to_own_node {
                    let verdict = match self.settings.endpoint_to_host {
                        HostAction::Accept => Verdict::Allow,
                        HostAction::Drop => Verdict::Deny,
                    };
                    steps.push(Step {
                        point: Point::Node(id.host.clone()),
                        verdict,
                        reason: Reason::EndpointToHost,
                    });
                } else if !same_node {
                    self.host_forward(packet, &id.host, Direction::Egress, steps);
                }
            }
            End::Node(name) => self.host_local(packet, name, Direction::Egress, steps),
            End::Outside => {}
        }
    }

    /// On the destination's node.
    fn arrive(&self, packet: &Packet, to: &End<'_>, same_node: bool, steps: &mut Vec<Step>) {
        match to {
            End::Workload(id, endpoint) => {
                if !same_node {
                    self.host_forward(packet, &id.host, Direction::Ingress, steps);
                }
                if !steps.iter().any(|s| s.verdict == Verdict::Deny) {
                    steps.push(self.workload_step(packet, id, endpoint, Direction::Ingress));
                }
            }
            End::Node(name) if !same_node => self.host_local(packet, name, Direction::Ingress, steps),
            End::Node(_) | End::Outside => {}
        }
    }

    /// A workload's policy in one direction.
    fn workload_step(
        &self,
        packet: &Packet,
        id: &WorkloadId,
        ep: &WorkloadEndpoint,
        direction: Direction,
    ) -> Step {
        let (verdict, reason) = self.workload_verdict(packet, ep, direction);
        Step { point: Point::Workload(id.clone(), direction), verdict, reason }
    }

    fn workload_verdict(
        &self,
        packet: &Packet,
        ep: &WorkloadEndpoint,
        direction: Direction,
    ) -> (Verdict, Reason) {
        if ep.state != "active" {
            return (Verdict::Deny, Reason::AdminDown);
        }
        if direction == Direction::Egress && self.is_forbidden_encapsulation(packet) {
            return (Verdict::Deny, Reason::Encapsulation);
        }
        let normal = |p: &ReadPolicy| !p.value.do_not_track && !p.value.pre_dnat;
        match self.tiers_verdict(packet, &ep.labels, &ep.profile_ids, direction, true, &normal) {
            Outcome::Decided(verdict, reason) => (verdict, reason),
            Outcome::Undecided => self.profiles_verdict(packet, &ep.profile_ids, direction),
        }
    }

    fn is_forbidden_encapsulation(&self, packet: &Packet) -> bool {
        let vxlan = packet.protocol == Protocol::UDP && packet.dst_port == self.settings.vxlan_port;
        (vxlan && !self.settings.allow_vxlan_from_workloads)
            || (packet.protocol == IPIP && !self.settings.allow_ipip_from_workloads)
    }

    /// Tiers in order; in each the policies in order that select the endpoint in this direction and that `kind`
    /// accepts. `default_deny` is false where the end of a tier does not deny (untracked and pre-DNAT policy).
    pub(crate) fn tiers_verdict(
        &self,
        packet: &Packet,
        labels: &StringMap,
        profiles: &[String],
        direction: Direction,
        default_deny: bool,
        kind: &dyn Fn(&ReadPolicy) -> bool,
    ) -> Outcome {
        for tier in self.tier_names() {
            let policies: Vec<(&PolicyId, &ReadPolicy)> = self
                .policies_of(tier)
                .into_iter()
                .filter(|(id, p)| !id.kind.is_staged() && applies(p, direction) && kind(p))
                .filter(|(_, p)| self.selects(&p.selector, labels, profiles))
                .collect();
            if policies.is_empty() {
                continue;
            }
            match self.first_match(packet, &policies, direction) {
                Some((Action::Allow, policy, index)) => {
                    return decided(Verdict::Allow, tier, policy, index);
                }
                Some((Action::Deny, policy, index)) => {
                    return decided(Verdict::Deny, tier, policy, index);
                }
                Some((Action::Pass | Action::Log, ..)) => {}
                None if default_deny && !self.passes_by_default(tier) => {
                    let reason = Reason::EndOfTier {
                        tier: tier.to_owned(),
                        policies: policies.iter().map(|(id, _)| (*id).clone()).collect(),
                        nearest: self.nearest(packet, &policies, direction),
                    };
                    return Outcome::Decided(Verdict::Deny, reason);
                }
                None => {}
            }
        }
        Outcome::Undecided
    }

    /// The first rule that matches and does more than log.
    fn first_match<'a>(
        &self,
        packet: &Packet,
        policies: &[(&'a PolicyId, &ReadPolicy)],
        direction: Direction,
    ) -> Option<(Action, &'a PolicyId, usize)> {
        for (id, policy) in policies {
            let rules = list(&policy.rules, direction).iter().enumerate();
            for (index, rule) in rules {
                if rule.action != Action::Log && rule.matches(self, packet) {
                    return Some((rule.action, id, index));
                }
            }
        }
        None
    }

    /// The rule that would have let the packet go on and has the least against it.
    fn nearest(
        &self,
        packet: &Packet,
        policies: &[(&PolicyId, &ReadPolicy)],
        direction: Direction,
    ) -> Option<NearMiss> {
        let mut best: Option<NearMiss> = None;
        for (id, policy) in policies {
            for (index, rule) in list(&policy.rules, direction).iter().enumerate() {
                if !matches!(rule.action, Action::Allow | Action::Pass) {
                    continue;
                }
                let misses = rule.misses(self, packet);
                if best.as_ref().is_none_or(|b| misses.len() < b.misses.len()) {
                    best = Some(NearMiss { policy: (*id).clone(), index, misses });
                }
            }
        }
        best
    }

    /// After the tiers: the first rule of the profiles that matches; without one, deny.
    pub(crate) fn profiles_verdict(
        &self,
        packet: &Packet,
        profiles: &[String],
        direction: Direction,
    ) -> (Verdict, Reason) {
        for profile in profiles {
            let Some(rules) = self.profile_rules.get(profile) else {
                return (Verdict::Deny, Reason::MissingProfile(profile.clone()));
            };
            for (index, rule) in list(rules, direction).iter().enumerate() {
                let verdict = match rule.action {
                    Action::Log => continue,
                    Action::Allow => Verdict::Allow,
                    // There is no next tier after the profiles.
                    Action::Deny | Action::Pass => Verdict::Deny,
                };
                if rule.matches(self, packet) {
                    return (verdict, Reason::ProfileRule { profile: profile.clone(), index });
                }
            }
        }
        (Verdict::Deny, Reason::EndOfProfiles(profiles.to_vec()))
    }

    /// Tiers in order of evaluation: those that exist by order (none is last) and name, then those that policies name
    /// although they do not exist.
    fn tier_names(&self) -> Vec<&str> {
        let mut existing: Vec<(&str, Option<f64>)> =
            self.tiers.iter().map(|(n, t)| (&**n, t.order)).collect();
        existing.sort_by(|a, b| by_order(a.1, b.1).then_with(|| a.0.cmp(b.0)));
        let mut names: Vec<&str> = existing.into_iter().map(|(name, _)| name).collect();
        let mut missing: Vec<&str> = self
            .policies
            .values()
            .map(|p| p.value.tier_name())
            .filter(|t| !self.tiers.contains_key(*t))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        names.extend(missing);
        names
    }

    /// Policies of a tier in order of evaluation: by order (none is last), then by `name/namespace/kind`.
    fn policies_of(&self, tier: &str) -> Vec<(&PolicyId, &ReadPolicy)> {
        let tie = |id: &PolicyId| format!("{}/{}/{}", id.name, id.namespace, id.kind.as_str());
        let mut policies: Vec<_> =
            self.policies.iter().filter(|(_, p)| p.value.tier_name() == tier).collect();
        policies.sort_by(|(a, p), (b, q)| {
            by_order(p.value.order, q.value.order).then_with(|| tie(a).cmp(&tie(b)))
        });
        policies
    }

    fn passes_by_default(&self, tier: &str) -> bool {
        self.tiers.get(tier).is_some_and(|t| t.default_action == "Pass")
    }
}

fn decided(verdict: Verdict, tier: &str, policy: &PolicyId, index: usize) -> Outcome {
    Outcome::Decided(verdict, Reason::Rule { tier: tier.to_owned(), policy: policy.clone(), index })
}

fn applies(policy: &ReadPolicy, direction: Direction) -> bool {
    match direction {
        Direction::Ingress => policy.value.applies_ingress(),
        Direction::Egress => policy.value.applies_egress(),
    }
}

fn list(rules: &RuleLists, direction: Direction) -> &[Rule] {
    match direction {
        Direction::Ingress => &rules.inbound,
        Direction::Egress => &rules.outbound,
    }
}

fn by_order(a: Option<f64>, b: Option<f64>) -> Ordering {
    a.unwrap_or(f64::INFINITY).partial_cmp(&b.unwrap_or(f64::INFINITY)).unwrap_or(Ordering::Equal)
}

fn is_neighbour_discovery(packet: &Packet) -> bool {
    packet.family() == Family::V6
        && packet.protocol == Protocol::ICMPV6
        && packet.icmp.is_some_and(|(kind, _)| NEIGHBOUR_DISCOVERY.contains(&kind))
}
