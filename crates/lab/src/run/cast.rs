//! The hosts that a scenario's names stand for.

use crate::lab::Lab;
use crate::spec::Encapsulation;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_net::Protocol;
use tortie_policy::Packet;
use tortie_probe::{Flow, Host, Probe as Packets, Proto};
use tortie_scenario::{Peer, Probe, ProbePort, Step};

/// Everybody who is there now.
#[derive(Debug)]
pub(crate) struct Cast {
    hosts: BTreeMap<Peer, Host>,
    /// The numbers of pods' nodes, if packets to pods of other nodes are in tunnels.
    tunnelled: BTreeMap<Peer, usize>,
}

impl Cast {
    pub(crate) fn of(lab: &Lab) -> Self {
        let pods = lab.pods.all().into_iter().map(|p| (Peer::Pod(p.name.to_string()), p.host.clone()));
        let nodes = lab.nodes.iter().map(|n| {
            let host = Host::new(format!("node:{}", n.net.number), n.netns.clone(), n.addresses().to_vec());
            (Peer::Node(n.net.number), host)
        });
        let outside = lab.hosts().into_iter().map(|o| (Peer::Outside(o.name), o.host));
        let tunnelled = match lab.spec.encapsulation {
            Encapsulation::None => BTreeMap::new(),
            Encapsulation::Vxlan => {
                let pods = lab.pods.all().into_iter();
                pods.map(|p| (Peer::Pod(p.name.to_string()), p.node + 1)).collect()
            }
        };
        Self { hosts: pods.chain(nodes).chain(outside).collect(), tunnelled }
    }

    /// True if the source has another address than a scenario knows: what a node sends into a tunnel comes from the tunnel's.
    pub(crate) fn is_disguised(&self, probe: &Probe) -> bool {
        match (&probe.from, self.tunnelled.get(&probe.to)) {
            (Peer::Node(from), Some(to)) => from != to,
            _ => false,
        }
    }

    pub(crate) fn host(&self, peer: &Peer) -> Option<&Host> {
        self.hosts.get(peer)
    }

    fn ends(&self, probe: &Probe) -> Option<(&Host, &Host, IpAddr)> {
        let (from, to) = (self.host(&probe.from)?, self.host(&probe.to)?);
        from.address(probe.family)?;
        Some((from, to, to.address(probe.family)?))
    }

    /// The packets of a probe, if both ends are there and have the family.
    pub(crate) fn probe(&self, probe: &Probe) -> Option<Packets> {
        let (from, to, addr) = self.ends(probe)?;
        let (port, proto) = target(probe.port)?;
        Some(Packets::new(from, to, addr, port, proto))
    }

    /// The same as a flow.
    pub(crate) fn flow(&self, probe: &Probe) -> Option<Flow> {
        let (from, to, addr) = self.ends(probe)?;
        let (port, proto) = target(probe.port)?;
        Some(Flow { from: from.clone(), to: to.clone(), addr, port, proto })
    }

    /// The same for the evaluator.
    pub(crate) fn packet(&self, probe: &Probe) -> Option<Packet> {
        if self.is_disguised(probe) {
            return None;
        }
        let (from, _, dst) = self.ends(probe)?;
        let (port, proto) = target(probe.port)?;
        Some(crate::matrix::packet(from.address(probe.family)?, dst, port, proto))
    }

    /// Listens on the ports of nodes that a step asks for, until the answer is dropped.
    pub(crate) fn listen_on_nodes(&self, lab: &Arc<Lab>, step: &Step) -> anyhow::Result<Listening> {
        let wanted: BTreeSet<(Peer, u16, Proto)> = step
            .probes
            .iter()
            .filter(|p| matches!(p.to, Peer::Node(_)))
            .filter_map(|p| target(p.port).map(|(port, proto)| (p.to.clone(), port, proto)))
            .filter(|(_, _, proto)| *proto != Proto::Icmp)
            .collect();
        let mut listening = Listening { lab: Arc::clone(lab), ports: Vec::new() };
        for (peer, port, proto) in wanted {
            let Some(host) = self.host(&peer) else { continue };
            lab.listeners.add(host, port, proto)?;
            listening.ports.push((host.clone(), port, proto));
        }
        Ok(listening)
    }
}

/// Ports of nodes that are open for the time being.
pub(crate) struct Listening {
    lab: Arc<Lab>,
    ports: Vec<(Host, u16, Proto)>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        for (host, port, proto) in &self.ports {
            self.lab.listeners.remove_port(host, *port, *proto);
        }
    }
}

/// Port and protocol of a probe; `None` for protocols that nobody can speak here.
pub(crate) fn target(port: ProbePort) -> Option<(u16, Proto)> {
    match port {
        ProbePort::Icmp => Some((0, Proto::Icmp)),
        ProbePort::Port(port, Protocol::TCP) => Some((port, Proto::Tcp)),
        ProbePort::Port(port, Protocol::UDP) => Some((port, Proto::Udp)),
        ProbePort::Port(port, Protocol::SCTP) => Some((port, Proto::Sctp)),
        ProbePort::Port(..) => None,
    }
}
