//! Host endpoints: policy of a node's own interfaces.

use crate::decision::{Direction, HostPolicy, Point, Reason, Step, Verdict};
use crate::evaluate::Outcome;
use crate::packet::Packet;
use crate::state::{Failsafe, ReadPolicy, State};
use std::net::IpAddr;
use tortie_model::value::HostEndpoint;

/// What is left to judge after a stage.
enum Stage {
    /// The next stage judges.
    Next,
    /// The packet was allowed or denied for good on this node.
    Done,
}

impl State {
    /// A process of the node itself and another machine.
    pub(crate) fn host_local(
        &self,
        packet: &Packet,
        node: &str,
        direction: Direction,
        steps: &mut Vec<Step>,
    ) {
        self.host_stages(packet, node, direction, HostPolicy::Normal, steps);
    }

    /// A packet between a pod of the node and another machine.
    pub(crate) fn host_forward(
        &self,
        packet: &Packet,
        node: &str,
        direction: Direction,
        steps: &mut Vec<Step>,
    ) {
        self.host_stages(packet, node, direction, HostPolicy::Forward, steps);
    }

    fn host_stages(
        &self,
        packet: &Packet,
        node: &str,
        direction: Direction,
        last: HostPolicy,
        steps: &mut Vec<Step>,
    ) {
        let Some((name, endpoint)) = self.host_endpoint(node) else { return };
        // Pre-DNAT policy is for packets that come in; untracked policy needs an interface of its own.
        let stages = [HostPolicy::Untracked, HostPolicy::PreDnat, last];
        for stage in stages {
            let skipped = match stage {
                HostPolicy::Untracked => endpoint.name == "*",
                HostPolicy::PreDnat => direction == Direction::Egress,
                HostPolicy::Normal | HostPolicy::Forward => false,
            };
            if skipped {
                continue;
            }
            let (verdict, reason, then) = self.host_stage(packet, endpoint, direction, stage);
            if !matches!(reason, Reason::NoPolicy) {
                let point = Point::Host {
                    node: node.to_owned(),
                    endpoint: name.to_owned(),
                    direction,
                    policy: stage,
                };
                steps.push(Step { point, verdict, reason });
            }
            if matches!(then, Stage::Done) {
                return;
            }
        }
    }

    fn host_stage(
        &self,
        packet: &Packet,
        endpoint: &HostEndpoint,
        direction: Direction,
        stage: HostPolicy,
    ) -> (Verdict, Reason, Stage) {
        // Forwarded packets are nobody's way of administering the host.
        if stage != HostPolicy::Forward && self.is_failsafe(packet, direction) {
            return (Verdict::Allow, Reason::Failsafe, Stage::Done);
        }
        let of_stage = |p: &ReadPolicy| match stage {
            HostPolicy::Untracked => p.value.do_not_track,
            HostPolicy::PreDnat => p.value.pre_dnat && !p.value.do_not_track,
            HostPolicy::Normal => !p.value.do_not_track && !p.value.pre_dnat,
            HostPolicy::Forward => !p.value.do_not_track && !p.value.pre_dnat && p.value.apply_on_forward,
        };
        let default_deny = matches!(stage, HostPolicy::Normal | HostPolicy::Forward);
        let profiles = &endpoint.profile_ids;
        let outcome =
            self.tiers_verdict(packet, &endpoint.labels, profiles, direction, default_deny, &of_stage);
        match (outcome, stage) {
            (Outcome::Decided(verdict, reason), _) => (verdict, reason, Stage::Done),
            (Outcome::Undecided, HostPolicy::Normal) => {
                let (verdict, reason) = self.profiles_verdict(packet, profiles, direction);
                (verdict, reason, Stage::Done)
            }
            (Outcome::Undecided, _) => (Verdict::Allow, Reason::NoPolicy, Stage::Next),
        }
    }

    /// The host endpoint of the node's uplink: one that names it, else one that expects its address, else `*`. Of
    /// several the first by name.
    fn host_endpoint(&self, node: &str) -> Option<(&str, &HostEndpoint)> {
        let uplink = self.nodes.get(node)?.interfaces.first()?;
        let expects = |h: &HostEndpoint| {
            let expected =
                |a: &IpAddr| h.expected_ipv4_addrs.contains(a) || h.expected_ipv6_addrs.contains(a);
            h.name.is_empty() && uplink.addresses.iter().any(expected)
        };
        let of_node = || self.hosts.iter().filter(|((host, _), _)| host == node);
        let found = of_node()
            .find(|(_, h)| h.name == uplink.name)
            .or_else(|| of_node().find(|(_, h)| expects(h)))
            .or_else(|| of_node().find(|(_, h)| h.name == "*"));
        found.map(|((_, name), endpoint)| (&**name, &**endpoint))
    }

    fn is_failsafe(&self, packet: &Packet, direction: Direction) -> bool {
        let (list, peer): (&[Failsafe], IpAddr) = match direction {
            Direction::Ingress => (&self.settings.failsafe_inbound, packet.src),
            Direction::Egress => (&self.settings.failsafe_outbound, packet.dst),
        };
        list.iter().any(|f| {
            f.protocol == packet.protocol
                && f.port == packet.dst_port
                && f.net.is_none_or(|net| net.contains(peer))
        })
    }
}
