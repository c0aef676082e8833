//! A router with hosts around it, each with an address of both families.

use std::net::IpAddr;

use tortie_net::Family;
use tortie_probe::{Flow, Host, Listeners, Probe, Proto};
use tortie_test_netns::{Node, wire};

pub(crate) const PROTOCOLS: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Icmp];

pub(crate) struct Network {
    pub(crate) router: Node,
    pub(crate) hosts: Vec<Host>,
    pub(crate) listeners: Listeners,
    nodes: Vec<Node>,
}

impl Network {
    /// Hosts h0, h1, ... that listen on port 80, TCP and UDP.
    pub(crate) fn new(hosts: usize) -> Self {
        let router = Node::router("router");
        // A kernel sends few ICMP errors per second to one destination, which would make refusals look like silence.
        router.sysctl("net/ipv4/icmp_ratemask", "0").sysctl("net/ipv6/icmp/ratelimit", "0");
        let (mut nodes, mut all) = (Vec::new(), Vec::new());
        for number in 0..hosts {
            let node = Node::new(&format!("h{number}"));
            let port = format!("r{number}");
            wire((&node, "eth0"), (&router, &port));
            let (v4, v6) = (format!("10.0.{number}.2"), format!("fd00:{number:x}::2"));
            node.address("eth0", &[&format!("{v4}/24"), &format!("{v6}/64")]);
            router.address(&port, &[&format!("10.0.{number}.1/24"), &format!("fd00:{number:x}::1/64")]);
            node.route("default", &format!("10.0.{number}.1"))
                .route("default", &format!("fd00:{number:x}::1"));
            let addresses: Vec<IpAddr> = [v4, v6].iter().map(|text| text.parse().unwrap()).collect();
            all.push(Host::new(node.name(), node.namespace().clone(), addresses));
            nodes.push(node);
        }
        let listeners = Listeners::new().unwrap();
        let wanted: Vec<_> = all
            .iter()
            .flat_map(|host| [(host.clone(), 80, Proto::Tcp), (host.clone(), 80, Proto::Udp)])
            .collect();
        listeners.add_all(&wanted).unwrap();
        Self { router, hosts: all, listeners, nodes }
    }

    pub(crate) fn node(&self, host: usize) -> &Node {
        &self.nodes[host]
    }

    pub(crate) fn probe(&self, from: usize, to: usize, family: Family, proto: Proto) -> Probe {
        let to = &self.hosts[to];
        Probe::new(&self.hosts[from], to, to.address(family).unwrap(), 80, proto)
    }

    pub(crate) fn flow(&self, from: usize, to: usize, family: Family, proto: Proto) -> Flow {
        let (from, to) = (self.hosts[from].clone(), self.hosts[to].clone());
        Flow { addr: to.address(family).unwrap(), from, to, port: 80, proto }
    }

    /// What the router does with forwarded packets, as rules of a chain of the inet family.
    pub(crate) fn forward(&self, rules: &str) {
        self.router.nft(&format!(
            "table inet t\ndelete table inet t\n\
             table inet t {{ chain forward {{ type filter hook forward priority 0\n {rules}\n}}\n}}\n"
        ));
    }
}

/// Each combination of family and protocol.
pub(crate) fn combinations() -> impl Iterator<Item = (Family, Proto)> {
    Family::ALL.into_iter().flat_map(|family| PROTOCOLS.map(move |proto| (family, proto)))
}
