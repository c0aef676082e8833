//! A node as Calico leaves it: its pods with their interfaces and routes, and the datastore with what Calico's plugin and
//! agent have written there.

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, Write as _};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tortie_agent_api::{CniArgs, NodeStatus, Request, Response, encode_frame, read_frame};
use tortie_dataplane::predecessor::{self, Leftovers};
use tortie_kernel_net::pod::{self, PodSpec};
use tortie_kernel_net::{Link, NewLink, Route, RouteProtocol, VethPeer};
use tortie_model::names;
use tortie_net::{Cidr, Family};
use tortie_probe::{Expect, Host, Options, Probe, Proto};
use tortie_store::{EmbeddedClient, Op, Precondition, ServeConfig, Store as _};
use tortie_test_netns::Node as Machine;

/// On which the pod `web` answers.
pub(crate) const PORT: u16 = 8080;
/// Of the pod that is detached.
pub(crate) const OLD_ADDRESSES: [&str; 2] = ["10.65.0.4", "fd65::4"];

const NODE: &str = "n1";
const V3: &str = "/calico/resources/v3/projectcalico.org";
const K8S: &str = "/tortie/kubernetes";
const BLOCKS: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];
const PODS: [(&str, u8); 4] = [("web", 1), ("friend", 2), ("foe", 3), ("old", 4)];
/// Number of the pod that another plugin attached.
const STRANGER: u8 = 5;
const PATIENCE: Duration = Duration::from_mins(1);

/// The node, its pods, its datastore and its agent.
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) web: Host,
    pub(crate) friend: Host,
    pub(crate) foe: Host,
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    store: EmbeddedClient,
    agent: Option<Child>,
    /// Keeps the namespaces of pods.
    pods: BTreeMap<String, Machine>,
}

fn addresses(number: u8) -> Vec<IpAddr> {
    vec![format!("10.65.0.{number}").parse().unwrap(), format!("fd65::{number:x}").parse().unwrap()]
}

fn block_path(cidr: &str) -> String {
    let family = if cidr.contains(':') { "ipv6" } else { "ipv4" };
    format!("{family}/block/{}", cidr.replace('/', "-"))
}

/// A block with the addresses of pods, and that of the tunnel, as Calico writes it.
fn block(cidr: &str) -> Value {
    let tunnel = if cidr.contains(':') {
        ("vxlan-v6-tunnel-addr-n1", "vxlanV6TunnelAddress")
    } else {
        ("vxlan-tunnel-addr-n1", "vxlanTunnelAddress")
    };
    let mut attributes = vec![json!({"handle_id": tunnel.0, "secondary": {"node": NODE, "type": tunnel.1}})];
    for (name, _) in PODS {
        attributes.push(json!({
            "handle_id": format!("k8s-pod-network.{}", container(name)),
            "secondary": {"namespace": "default", "node": NODE, "pod": name, "timestamp": "2024-05-01 10:00:00.5 +0000 UTC"},
        }));
    }
    let allocations: Vec<Option<usize>> = (0..64).map(|n| (n < attributes.len()).then_some(n)).collect();
    json!({
        "cidr": cidr, "affinity": format!("host:{NODE}"), "strictAffinity": false, "deleted": false,
        "allocations": allocations, "unallocated": (attributes.len()..64).collect::<Vec<_>>(), "attributes": attributes,
        "sequenceNumber": 1_714_557_600_000_u64, "sequenceNumberForAllocation": {},
    })
}

fn container(pod: &str) -> String {
    format!("{pod}{:0>60}", "c0ffee")
}

fn objects() -> Vec<(String, Value)> {
    let mut all = vec![
        (
            format!("{K8S}/namespaces/default"),
            json!({"metadata": {"name": "default", "labels": {"kubernetes.io/metadata.name": "default"}}}),
        ),
        (
            format!("{K8S}/nodes/{NODE}"),
            json!({"metadata": {"name": NODE}, "status": {"addresses": [{"type": "InternalIP", "address": "192.168.7.1"}]}}),
        ),
        (
            format!("{K8S}/networkpolicies/default/web"),
            json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {
                "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"protocol": "TCP", "port": PORT}]}],
            }}),
        ),
    ];
    for (name, cidr, size) in
        [("default-ipv4-ippool", "10.65.0.0/16", 26), ("default-ipv6-ippool", "fd65::/48", 122)]
    {
        all.push((
            format!("{V3}/ippools/{name}"),
            json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name},
                "spec": {"cidr": cidr, "blockSize": size, "vxlanMode": "Always", "ipipMode": "Never", "natOutgoing": true, "nodeSelector": "all()"}}),
        ));
    }
    for cidr in BLOCKS {
        all.push((format!("/calico/ipam/v2/assignment/{}", block_path(cidr)), block(cidr)));
        all.push((
            format!("/calico/ipam/v2/host/{NODE}/{}", block_path(cidr)),
            json!({"state": "confirmed"}),
        ));
    }
    for (handle, cidr) in [("vxlan-tunnel-addr-n1", BLOCKS[0]), ("vxlan-v6-tunnel-addr-n1", BLOCKS[1])] {
        all.push((
            format!("/calico/ipam/v2/handle/{handle}"),
            json!({"handleID": handle, "block": {cidr: 1}, "deleted": false}),
        ));
    }
    for (name, number) in PODS {
        let handle = format!("k8s-pod-network.{}", container(name));
        let both: BTreeMap<&str, u32> = BLOCKS.iter().map(|cidr| (*cidr, 1)).collect();
        all.push((
            format!("/calico/ipam/v2/handle/{handle}"),
            json!({"handleID": handle, "block": both, "deleted": false}),
        ));
        let ips = addresses(number);
        let mut pod = pod_object(name);
        // An older Calico did not write down the container.
        pod["metadata"]["annotations"] = match name {
            "friend" => json!({"cni.projectcalico.org/podIP": format!("{}/32", ips[0])}),
            _ => {
                json!({"cni.projectcalico.org/containerID": container(name), "cni.projectcalico.org/podIP": format!("{}/32", ips[0]),
                "cni.projectcalico.org/podIPs": format!("{}/32,{}/128", ips[0], ips[1])})
            }
        };
        pod["status"] =
            json!({"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ips[0]}, {"ip": ips[1]}]});
        all.push((format!("{K8S}/pods/default/{name}"), pod));
    }
    // Another plugin gave it its addresses: no block knows of them, and they would be the next to be given away.
    let mut stranger = pod_object("stranger");
    let ips = addresses(STRANGER);
    stranger["status"] =
        json!({"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ips[0]}, {"ip": ips[1]}]});
    all.push((format!("{K8S}/pods/default/stranger"), stranger));
    all
}

fn pod_object(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": {"nodeName": NODE}})
}

impl Node {
    pub(crate) fn new() -> Self {
        let machine = Machine::router("node");
        machine.netlink().add_link(&NewLink::veth("eth0", VethPeer::new("fabric0"))).unwrap();
        for name in ["eth0", "fabric0"] {
            machine.run(|| run("ip", &["link", "set", name, "up"]));
        }
        machine.address("eth0", &["192.168.7.1/24", "fd07::1/64"]);
        let mut pods = BTreeMap::new();
        for (name, number) in PODS {
            pods.insert(name.to_owned(), attach(&machine, name, number));
        }
        let host = |name: &str, number| Host::new(name, pods[name].namespace().clone(), addresses(number));
        let (web, friend, foe) = (host("web", 1), host("friend", 2), host("foe", 3));
        let directory = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = directory.path().join("store.sock");
        let config = ServeConfig::new(directory.path().join("store"), &socket);
        runtime.spawn(tortie_store::serve(config, std::future::pending()));
        let store = runtime.block_on(async {
            loop {
                match EmbeddedClient::connect(&socket).await {
                    Ok(store) => return store,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let node = Self { machine, web, friend, foe, directory, runtime, store, agent: None, pods };
        for (path, value) in objects() {
            node.put(&path, &value);
        }
        node
    }

    fn put(&self, path: &str, value: &Value) {
        let op = Op::Put {
            key: path.to_owned(),
            value: value.to_string().into(),
            when: Precondition::Any,
            ttl: None,
        };
        self.runtime.block_on(self.store.commit(vec![op])).unwrap();
    }

    fn get(&self, path: &str) -> Value {
        let entry = self.runtime.block_on(self.store.get(path)).unwrap();
        entry.map_or(Value::Null, |e| serde_json::from_slice(&e.value).unwrap())
    }

    pub(crate) fn start_agent(&mut self) {
        // Cargo builds examples with the tests and puts them beside.
        let mut program = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        program.push("examples/agent");
        let path = |name: &str| self.directory.path().join(name);
        let log = std::fs::File::options().create(true).append(true).open(path("agent.log")).unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs([
                ("NODENAME", NODE),
                ("DATASTORE_TYPE", "embedded"),
                ("CALICO_NETWORKING_BACKEND", "vxlan"),
            ])
            .envs([("NO_DEFAULT_POOLS", "true"), ("IP", "192.168.7.1/24"), ("IP6", "fd07::1/64")])
            .envs([("FELIX_HEALTHENABLED", "false"), ("DISABLE_NODE_IP_CHECK", "true")])
            .env("TORTIE_STORE_SOCKET", path("store.sock"))
            .env("TORTIE_RUN_DIR", path("run"))
            .env("TORTIE_LIB_DIR", path("lib"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        std::fs::create_dir_all(path("run")).unwrap();
        // A child belongs to the namespace of the thread that starts it.
        self.agent = Some(self.machine.run(move || command.spawn()).unwrap());
    }

    pub(crate) fn restart_agent(&mut self) {
        self.stop_agent();
        let _ = std::fs::remove_file(self.socket());
        self.start_agent();
    }

    fn stop_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/agent.sock")
    }

    fn ask(&self, request: &Request, netns: Option<&Machine>) -> Option<Response> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        let bytes = encode_frame(request).unwrap();
        let file = netns.map(|m| m.run(|| std::fs::File::open("/proc/thread-self/ns/net")).unwrap());
        let raw: Vec<i32> = file.iter().map(|f| f.as_raw_fd()).collect();
        let control = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &control[..0] } else { &control[..] };
        let bytes = [IoSlice::new(&bytes)];
        let sent = sendmsg::<()>(stream.as_raw_fd(), &bytes, control, MsgFlags::MSG_NOSIGNAL, None).unwrap();
        stream.write_all(&bytes[0][sent..]).unwrap();
        read_frame(&mut stream).unwrap()
    }

    pub(crate) fn status(&self) -> Option<NodeStatus> {
        match self.ask(&Request::NodeStatus, None)? {
            Response::NodeStatus(status) => Some(*status),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn can_attach(&self) -> bool {
        self.ask(&Request::CniStatus, None) == Some(Response::Ok)
    }

    fn args(pod: &str) -> CniArgs {
        CniArgs {
            container_id: container(pod),
            ifname: "eth0".to_owned(),
            namespace: "default".to_owned(),
            pod: pod.to_owned(),
            network: "k8s-pod-network".to_owned(),
            ..CniArgs::default()
        }
    }

    pub(crate) fn del(&self, pod: &str) {
        assert_eq!(self.ask(&Request::Del(Self::args(pod)), None), Some(Response::Ok));
    }

    pub(crate) fn add(&mut self, pod: &str) -> Vec<IpAddr> {
        self.put(&format!("{K8S}/pods/default/{pod}"), &pod_object(pod));
        let inside = Machine::new(pod);
        let answer = self.ask(&Request::Add(Self::args(pod)), Some(&inside));
        self.pods.insert(pod.to_owned(), inside);
        match answer {
            Some(Response::Added(made)) => made.ips,
            other => panic!("{other:?}"),
        }
    }

    /// What of Felix is in the kernel.
    pub(crate) fn leftovers(&self) -> Leftovers {
        self.machine.run(|| predecessor::see().unwrap())
    }

    pub(crate) fn link(&self, pod: &str) -> Option<Link> {
        self.machine.netlink().link(&names::veth("cali", "default", pod)).unwrap()
    }

    /// Handles of a pod's container in the datastore: in its own record, and in blocks.
    pub(crate) fn holder_of(&self, pod: &str) -> Vec<String> {
        let handle = format!("k8s-pod-network.{}", container(pod));
        let mut found = Vec::new();
        if !self.get(&format!("/calico/ipam/v2/handle/{handle}")).is_null() {
            found.push(handle.clone());
        }
        let held = self.held();
        found.extend(held.into_iter().filter(|(_, by)| *by == handle).map(|(address, _)| address));
        found
    }

    /// Addresses in blocks, and who holds them.
    fn held(&self) -> BTreeMap<String, String> {
        let mut held = BTreeMap::new();
        for cidr in BLOCKS {
            let block = self.get(&format!("/calico/ipam/v2/assignment/{}", block_path(cidr)));
            let base: Cidr = cidr.parse().unwrap();
            for (ordinal, index) in block["allocations"].as_array().unwrap().iter().enumerate() {
                let Some(index) = index.as_u64() else { continue };
                let handle = block["attributes"][usize::try_from(index).unwrap()]["handle_id"].clone();
                let address = match base.addr() {
                    IpAddr::V4(a) => IpAddr::V4((u32::from(a) + u32::try_from(ordinal).unwrap()).into()),
                    IpAddr::V6(a) => IpAddr::V6((u128::from(a) + ordinal as u128).into()),
                };
                held.insert(address.to_string(), handle.as_str().unwrap_or_default().to_owned());
            }
        }
        held
    }

    /// Addresses that pods that live, or the tunnels, do not have any more.
    pub(crate) fn missing(&self) -> Vec<String> {
        let held = self.held();
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for (name, number) in PODS.iter().filter(|(name, _)| *name != "old") {
            for address in addresses(*number) {
                wanted.insert(address.to_string(), format!("k8s-pod-network.{}", container(name)));
            }
        }
        wanted.insert("10.65.0.0".to_owned(), "vxlan-tunnel-addr-n1".to_owned());
        wanted.insert("fd65::".to_owned(), "vxlan-v6-tunnel-addr-n1".to_owned());
        wanted.into_iter().filter(|(a, by)| held.get(a) != Some(by)).map(|(a, _)| a).collect()
    }

    /// Addresses of pods that live, whoever attached them.
    pub(crate) fn in_use() -> BTreeSet<IpAddr> {
        let pods = PODS.iter().filter(|(name, _)| *name != "old").map(|(_, number)| *number);
        pods.chain([STRANGER]).flat_map(addresses).collect()
    }

    /// Whether a pod reaches `web`, in both families alike.
    pub(crate) fn reaches(&self, from: &Host) -> bool {
        let probe = |family: Family| {
            let addr = self.web.address(family).unwrap();
            Probe::new(from, &self.web, addr, PORT, Proto::Tcp).expecting(Expect::Allow)
        };
        let probes: Vec<Probe> = Family::ALL.into_iter().map(probe).collect();
        let outcomes = tortie_probe::run(&probes, &Options::default()).unwrap();
        let answers: Vec<bool> = outcomes.iter().map(|o| o.verdict.meets(Expect::Allow)).collect();
        assert_eq!(answers[0], answers[1], "families differ");
        answers[0]
    }

    /// How often the TCP of the two pods that talk has sent something again.
    pub(crate) fn retransmissions(&self) -> u64 {
        let of = |host: &Host| -> u64 {
            let read = || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
            let text = host.namespace().run(read).unwrap();
            let mut lines = text.lines().filter(|l| l.starts_with("Tcp:"));
            let names = lines.next().unwrap().split_whitespace();
            let values = lines.next().unwrap().split_whitespace();
            let (_, count) = names.zip(values).find(|(name, _)| *name == "RetransSegs").unwrap();
            count.parse().unwrap()
        };
        of(&self.web) + of(&self.friend)
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.machine.exec(program, arguments)
    }

    /// Gives a program a text to read.
    pub(crate) fn feed(&self, program: &str, text: &str) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.run(program, &[file.path().to_str().unwrap()]);
    }

    pub(crate) fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() > deadline {
                let log =
                    std::fs::read_to_string(self.directory.path().join("agent.log")).unwrap_or_default();
                panic!(
                    "waited in vain: {what}\nleftovers: {}\n{:#?}\n{log}",
                    self.leftovers(),
                    self.status()
                );
            }
            // Between two looks the agent may have the processor.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_agent();
    }
}

/// A pod as Calico's plugin makes it; its routes carry the number that Felix gives some of them.
fn attach(machine: &Machine, name: &str, number: u8) -> Machine {
    let inside = Machine::new(name);
    let interface = names::veth("cali", "default", name);
    let spec = PodSpec::new(interface.clone(), "eth0", 1450, addresses(number));
    machine.run(|| pod::attach(machine.netlink(), inside.namespace(), &spec)).unwrap();
    if number.is_multiple_of(2) {
        for address in addresses(number) {
            let route = Route::on(Cidr::host(address), machine.index(&interface)).by(RouteProtocol::CALICO);
            machine.netlink().replace_route(&route).unwrap();
        }
    }
    inside
}

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}
