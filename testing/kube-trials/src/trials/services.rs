//! Services, ports of nodes and of hosts under policy, beside kube-proxy: who is let in, and under which address.

use crate::ask::{From, node, of_family, world};
use crate::pods::{PORT, Pod, start_all};
use crate::{Context, Shape, Trial, wait};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

pub(crate) const NFTABLES: Trial = Trial {
    name: "services-nftables",
    about: "ClusterIP, NodePort and hostPort under policy, source addresses kept where promised, kube-proxy in nftables mode",
    shape: Shape::FULL,
    run: |cx| run(cx, "nft list table ip kube-proxy && nft list table ip6 kube-proxy"),
};

pub(crate) const IPTABLES: Trial = Trial {
    name: "services-iptables",
    about: "the same beside kube-proxy in iptables mode",
    shape: Shape { flags: &["--kube-proxy", "iptables"], ..Shape::FULL },
    run: |cx| {
        let tables =
            ["iptables-save", "ip6tables-save"].map(|save| format!("{save} -t nat | grep -q KUBE-SERVICES"));
        run(cx, &tables.join(" && "))
    },
};

/// Of Services, of nodes, and of the host of one pod.
const SERVICE_PORT: u16 = 80;
const NODE_PORT: u16 = 30080;
const LOCAL_PORT: u16 = 30081;
const HOST_PORT: u16 = 9480;
/// Where the server on the host's network listens.
const ON_HOST: u16 = 9481;

/// Who is there, and what they are reached by.
struct Cast {
    /// On the second node, behind all Services.
    web: Pod,
    /// On the second node, with a port of its host.
    ported: Pod,
    /// Clients on the first node and on the second, and one that nobody knows.
    friend: Pod,
    near: Pod,
    stranger: Pod,
    /// On the first node's network.
    hosted: Pod,
    world: Vec<IpAddr>,
    nodes: [Vec<IpAddr>; 2],
    services: Vec<IpAddr>,
}

/// `mode` is a script that succeeds where kube-proxy works as it is to.
fn run(cx: &Context, mode: &str) -> Result<()> {
    for number in [1, 2] {
        wait::until(&format!("kube-proxy on node{number}"), wait::seconds(30), || {
            cx.cluster.sh(number, &format!("{{ {mode}; }} > /dev/null")).map(Some)
        })?;
    }
    let cast = Cast::gather(cx)?;
    for service in cast.services.clone() {
        let family = Family::new(&cast, service)?;
        cx.say(&format!("family of {service}: without policy"));
        family.open(cx, &cast).context("without policy")?;
    }
    for service in cast.services.clone() {
        let family = Family::new(&cast, service)?;
        cx.say(&format!("family of {service}: only friends"));
        cx.cluster.apply(&ingress(cx, &json!([{"podSelector": {"matchLabels": {"role": "friend"}}}])))?;
        family.friends(cx, &cast).context("with friends let in")?;
        cx.say(&format!("family of {service}: and the world"));
        cx.cluster.apply(&ingress(cx, &blocks(&family.world)))?;
        family.world(cx, &cast).context("with the world let in by address")?;
        cx.say(&format!("family of {service}: and nodes"));
        cx.cluster.apply(&ingress(cx, &blocks(&family.nodes.concat())))?;
        family.nodes(cx, &cast).context("with nodes let in by address")?;
    }
    cx.kubectl(&["delete", "networkpolicies", "--all"])?;
    for service in cast.services.clone() {
        let family = Family::new(&cast, service)?;
        cx.say(&format!("family of {service}: egress"));
        family.egress(cx, &cast).context("with egress to some")?;
        cx.kubectl(&["delete", "networkpolicies", "--all"])?;
    }
    cx.kubectl(&["delete", "services", "--all"])?;
    Ok(())
}

/// What there is in one family.
struct Family {
    service: SocketAddr,
    web: SocketAddr,
    ported: SocketAddr,
    /// Of the server on the first node's network.
    hosted: SocketAddr,
    world: Vec<IpAddr>,
    nodes: [Vec<IpAddr>; 2],
    friend: Vec<IpAddr>,
}

impl Cast {
    fn gather(cx: &Context) -> Result<Self> {
        let host = |name: &str, port: u16| {
            let args = json!(["netexec", format!("--http-port={port}"), "--udp-port=-1"]);
            cx.pod(name).on(1).with("/spec/hostNetwork", json!(true)).with("/spec/containers/0/args", args)
        };
        let ports = json!([{"containerPort": PORT, "hostPort": HOST_PORT}]);
        let pods = start_all(
            cx,
            &[
                cx.pod("web").server().on(2).label("app", "web"),
                cx.pod("ported").server().on(2).label("app", "web").with("/spec/containers/0/ports", ports),
                cx.pod("friend").label("role", "friend").on(1),
                cx.pod("near").label("role", "friend").on(2),
                cx.pod("stranger").on(1),
                host("hosted", ON_HOST),
            ],
        )?;
        let Ok([web, ported, friend, near, stranger, hosted]) = <[Pod; 6]>::try_from(pods) else {
            unreachable!("six pods were started")
        };
        let service = |name: &str, kind: &str, more: Value| {
            let mut spec = json!({
                "type": kind, "selector": {"name": "web"}, "ipFamilyPolicy": "RequireDualStack",
                "ports": [{"port": SERVICE_PORT, "targetPort": PORT}],
            });
            if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
                spec.extend(more);
            }
            json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "namespace": cx.namespace}, "spec": spec})
        };
        let node_port = |port: u16| json!([{"port": SERVICE_PORT, "targetPort": PORT, "nodePort": port}]);
        cx.cluster.apply(&json!([
            service("web", "ClusterIP", json!({})),
            service("web-node", "NodePort", json!({"ports": node_port(NODE_PORT)})),
            service(
                "web-local",
                "NodePort",
                json!({"ports": node_port(LOCAL_PORT), "externalTrafficPolicy": "Local"})
            ),
        ]))?;
        let object =
            cx.cluster.get(&["service", "web", "-n", &cx.namespace])?.context("there is no service")?;
        let services = object.pointer("/spec/clusterIPs").and_then(Value::as_array);
        let services: Vec<IpAddr> =
            services.into_iter().flatten().filter_map(|a| a.as_str()?.parse().ok()).collect();
        ensure!(services.len() == 2, "the Service has {services:?}, not an address of each family");
        let nodes = [node(cx, 1)?, node(cx, 2)?];
        Ok(Self { web, ported, friend, near, stranger, hosted, world: world(cx)?, nodes, services })
    }
}

fn one(all: &[IpAddr], like: IpAddr, port: u16) -> Result<SocketAddr> {
    let own = of_family(all, like);
    let first = own.first().with_context(|| format!("{all:?} has nothing of {like}'s family"))?;
    Ok(SocketAddr::new(*first, port))
}

impl Family {
    fn new(cast: &Cast, service: IpAddr) -> Result<Self> {
        Ok(Self {
            service: SocketAddr::new(service, SERVICE_PORT),
            web: one(&cast.web.ips, service, PORT)?,
            ported: one(&cast.ported.ips, service, PORT)?,
            hosted: one(&cast.nodes[0], service, ON_HOST)?,
            world: of_family(&cast.world, service),
            nodes: [0, 1].map(|i| of_family(&cast.nodes[i], service)),
            friend: of_family(&cast.friend.ips, service),
        })
    }

    /// A port of a node, from 1.
    fn at(&self, number: usize, port: u16) -> Result<SocketAddr> {
        let own = self.nodes.get(number - 1).and_then(|all| all.first());
        Ok(SocketAddr::new(*own.context("the node has no address of this family")?, port))
    }

    /// Everybody reaches everything; whose address is kept?
    fn open(&self, cx: &Context, cast: &Cast) -> Result<()> {
        From::Pod(&cast.friend).must_reach_as(cx, self.service, &self.friend)?;
        for from in [From::Pod(&cast.stranger), From::Pod(&cast.near), From::Node(1), From::Node(2)] {
            from.must_reach(cx, self.service)?;
        }
        From::Pod(&cast.hosted).must_reach(cx, self.service)?;
        From::Pod(&cast.friend).must_reach(cx, self.hosted)?;
        From::World.must_reach_as(cx, self.hosted, &self.world)?;
        for number in [1, 2] {
            From::World.must_reach(cx, self.at(number, NODE_PORT)?)?;
        }
        From::World.must_reach_as(cx, self.at(2, LOCAL_PORT)?, &self.world)?;
        // Where no backend is, `Local` leads nowhere.
        From::World.must_not_reach(cx, self.at(1, LOCAL_PORT)?)?;
        From::World.must_reach_as(cx, self.at(2, HOST_PORT)?, &self.world)?;
        From::Node(1).must_reach(cx, self.at(2, HOST_PORT)?)?;
        From::Pod(&cast.friend).must_reach_as(cx, self.at(2, HOST_PORT)?, &self.friend)
    }

    /// Pods with a label, and the servers' own node, which probes them.
    fn friends(&self, cx: &Context, cast: &Cast) -> Result<()> {
        From::Pod(&cast.stranger).must_not_reach(cx, self.web)?;
        From::Pod(&cast.stranger).must_not_reach(cx, self.ported)?;
        From::Pod(&cast.stranger).must_not_reach(cx, self.service)?;
        From::Pod(&cast.friend).must_reach_as(cx, self.service, &self.friend)?;
        From::Pod(&cast.near).must_reach(cx, self.service)?;
        From::Pod(&cast.friend).must_reach_as(cx, self.at(2, HOST_PORT)?, &self.friend)?;
        From::Node(1).must_not_reach(cx, self.service)?;
        From::Pod(&cast.hosted).must_not_reach(cx, self.service)?;
        From::Node(2).must_reach(cx, self.service)?;
        for (number, port) in [(1, NODE_PORT), (2, NODE_PORT), (2, LOCAL_PORT), (2, HOST_PORT)] {
            From::World.must_not_reach(cx, self.at(number, port)?)?;
        }
        // No NetworkPolicy is for a pod on the host's network.
        From::World.must_reach(cx, self.hosted)?;
        From::Pod(&cast.stranger).must_reach(cx, self.hosted).map(|_| ())
    }

    /// A policy sees the world's own address wherever nobody has changed it on the way.
    fn world(&self, cx: &Context, cast: &Cast) -> Result<()> {
        for port in [LOCAL_PORT, HOST_PORT] {
            From::World.must_reach_as(cx, self.at(2, port)?, &self.world)?;
        }
        From::World.must_reach(cx, self.at(2, NODE_PORT)?)?;
        // By way of another node it comes under that one's address, which is not let in.
        From::World.must_not_reach(cx, self.at(1, NODE_PORT)?)?;
        From::Node(1).must_not_reach(cx, self.at(2, HOST_PORT)?)?;
        From::Pod(&cast.friend).must_not_reach(cx, self.service)
    }

    fn nodes(&self, cx: &Context, cast: &Cast) -> Result<()> {
        From::World.must_reach(cx, self.at(1, NODE_PORT)?)?;
        From::World.must_not_reach(cx, self.at(2, LOCAL_PORT)?)?;
        From::Node(1).must_reach(cx, self.service)?;
        From::Pod(&cast.hosted).must_reach_as(cx, self.service, &self.nodes[0])?;
        From::Node(1).must_reach(cx, self.at(2, HOST_PORT)?).map(|_| ())
    }

    /// Policy sees a connection to a Service as one to its backend.
    fn egress(&self, cx: &Context, cast: &Cast) -> Result<()> {
        let rule = |peer: Value| {
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "egress", "namespace": cx.namespace},
                "spec": {"podSelector": {"matchLabels": {"role": "friend"}}, "policyTypes": ["Egress"],
                    "egress": [{"to": [peer], "ports": [{"protocol": "TCP", "port": PORT}]}]},
            })
        };
        cx.cluster.apply(&rule(json!({"podSelector": {"matchLabels": {"name": "web"}}})))?;
        From::Pod(&cast.friend).must_not_reach(cx, self.ported)?;
        From::Pod(&cast.friend).must_not_reach(cx, self.hosted)?;
        From::Pod(&cast.friend).must_reach_as(cx, self.service, &self.friend)?;
        cx.cluster.apply(&rule(json!({"podSelector": {"matchLabels": {"name": "ported"}}})))?;
        From::Pod(&cast.friend).must_not_reach(cx, self.service)?;
        From::Pod(&cast.friend).must_reach_as(cx, self.ported, &self.friend)?;
        // Which pod a port of another node leads to is that node's secret.
        From::Pod(&cast.friend).must_not_reach(cx, self.at(2, HOST_PORT)?)
    }
}

/// Lets some into the servers.
fn ingress(cx: &Context, from: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "ingress", "namespace": cx.namespace},
        // The server on the host's network has the name by which it would be meant.
        "spec": {"podSelector": {"matchExpressions": [
            {"key": "name", "operator": "In", "values": ["web", "ported", "hosted"]}]},
            "policyTypes": ["Ingress"], "ingress": [{"from": from}]},
    })
}

fn blocks(addresses: &[IpAddr]) -> Value {
    let block =
        |a: &IpAddr| json!({"ipBlock": {"cidr": format!("{a}/{}", if a.is_ipv4() { 32 } else { 128 })}});
    addresses.iter().map(block).collect()
}
