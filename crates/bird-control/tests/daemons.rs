//! Real BIRD daemons in network namespaces, with rendered configurations: what ends up in the kernels.
//!
//! Nodes 1 and 2 share a subnet, node 3 is behind a router:
//!
//! ```text
//! n1 --\
//!       br0 r -- n3
//! n2 --/
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tortie_bird::{Input, Node as BgpNode, Peer, PeerTarget, Pool, ProtocolState, SecretRef, render};
use tortie_bird_control::{BirdError, Birdc};
use tortie_net::Cidr;
use tortie_test_netns::{Node, isolated, wire};

/// How long anything may take. BGP's own timers are seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// A machine with a BIRD.
struct Router {
    machine: Node,
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Router {
    fn config(&self) -> PathBuf {
        self.dir.path().join("bird.conf")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("bird.ctl")
    }

    /// Starts BIRD; `-R` lets it take over what a dead one left in the kernel.
    fn start(&mut self, input: &Input) {
        self.write(input);
        let (config, socket) = (self.config(), self.socket());
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let spawn = || {
            Command::new("bird")
                .arg("-f")
                .arg("-R")
                .arg("-c")
                .arg(&config)
                .arg("-s")
                .arg(&socket)
                .stderr(log)
                .spawn()
        };
        self.daemon = Some(self.machine.run(spawn).expect("BIRD 2 is installed (package bird2)"));
    }

    fn write(&self, input: &Input) {
        let (text, problems) = render(input);
        assert_eq!(problems, []);
        std::fs::write(self.config(), text).unwrap();
    }

    /// Kills BIRD without a chance to say goodbye.
    fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Routes of both families in the kernel's words, one a line.
    fn routes(&self) -> String {
        let v4 = self.machine.exec("ip", &["-4", "route", "show"]);
        v4 + &self.machine.exec("ip", &["-6", "route", "show"])
    }

    /// The kernel's route to a prefix.
    fn route(&self, prefix: &str) -> Option<String> {
        let is_it = |l: &&str| {
            let words: Vec<&str> = l.split_whitespace().collect();
            words.first() == Some(&prefix)
                || (words.first() == Some(&"blackhole") && words.get(1) == Some(&prefix))
        };
        self.routes().lines().find(is_it).map(str::to_owned)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The routers of the picture, with interfaces and addresses.
struct Fabric {
    routers: Vec<Router>,
    _switch: Node,
}

impl Fabric {
    fn new() -> Self {
        let switch = Node::router("r");
        switch.exec("ip", &["link", "add", "br0", "type", "bridge"]);
        switch.exec("ip", &["link", "set", "br0", "up"]);
        let routers: Vec<Router> = (1..=3)
            .map(|n| {
                let machine = Node::router(&format!("n{n}"));
                let port = format!("to{n}");
                wire((&machine, "eth0"), (&switch, &port));
                let net = if n < 3 { 1 } else { 3 };
                if n < 3 {
                    switch.exec("ip", &["link", "set", &port, "master", "br0"]);
                }
                machine
                    .address("eth0", &[&format!("172.31.{net}.{n}/24"), &format!("fd00:31:{net}::{n}/64")]);
                Router { machine, dir: tempfile::tempdir().unwrap(), daemon: None }
            })
            .collect();
        switch.address("br0", &["172.31.1.254/24", "fd00:31:1::254/64"]);
        switch.address("to3", &["172.31.3.254/24", "fd00:31:3::254/64"]);
        for (router, net) in routers.iter().zip([1, 1, 3]) {
            router.machine.route("default", &format!("172.31.{net}.254"));
            router.machine.route("default", &format!("fd00:31:{net}::254"));
        }
        Self { routers, _switch: switch }
    }
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// What node `n` should run: the mesh, two pools, one block of each family.
fn input(n: usize) -> Input {
    let node = |net: u8, n: u8| BgpNode {
        ipv4: Some([172, 31, net, n].into()),
        ipv6: Some(format!("fd00:31:{net}::{n}").parse().unwrap()),
        ..BgpNode::default()
    };
    let nodes: BTreeMap<String, BgpNode> =
        [("n1", node(1, 1)), ("n2", node(1, 2)), ("n3", node(3, 3))].map(|(k, v)| (k.to_owned(), v)).into();
    Input {
        node: format!("n{n}"),
        nodes,
        pools: ["10.65.0.0/16", "fd65::/64"].map(|c| Pool::new(cidr(c))).into(),
        blocks: vec![cidr(&format!("10.65.{n}.0/26")), cidr(&format!("fd65::{n}00/122"))],
        ..Input::default()
    }
}

/// Waits until something is so, and says what there was instead if it never is.
async fn eventually<T, F: Future<Output = Result<T, String>>>(mut attempt: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(state) => assert!(Instant::now() < deadline, "in vain: {state}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn sessions(router: &Router) -> Result<Vec<ProtocolState>, BirdError> {
    let protocols = Birdc::connect(&router.socket()).await?.protocols().await?;
    Ok(protocols.into_iter().filter(|p| p.kind == "BGP").collect())
}

/// Waits until all sessions stand, and there are so many.
async fn established(router: &Router, count: usize) -> Vec<ProtocolState> {
    eventually(|| async {
        let sessions = sessions(router).await.map_err(|e| e.to_string())?;
        let up = sessions.iter().filter(|s| s.state == "up" && s.info.starts_with("Established")).count();
        if up == count && sessions.len() == count {
            Ok(sessions)
        } else {
            Err(format!("{sessions:?}\n{}", router.log()))
        }
    })
    .await
}

async fn has_route(router: &Router, prefix: &str, words: &[&str]) {
    eventually(|| async {
        let route = router.route(prefix);
        let fits = route.as_ref().is_some_and(|r| words.iter().all(|w| r.contains(w)));
        if fits { Ok(()) } else { Err(format!("{route:?} to {prefix}; all routes:\n{}", router.routes())) }
    })
    .await;
}

async fn has_no_route(router: &Router, prefix: &str) {
    eventually(|| async { router.route(prefix).map_or(Ok(()), Err) }).await;
}

/// Runs a test on a runtime inside a namespace of its own.
fn test(body: impl Future<Output = ()> + Send) {
    isolated(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body));
}

#[test]
fn blocks_of_all_nodes_reach_all_kernels_in_both_families() {
    test(async {
        let mut fabric = Fabric::new();
        for (n, router) in fabric.routers.iter_mut().enumerate() {
            router.start(&input(n + 1));
        }
        let [one, two, three] = fabric.routers.as_slice() else { unreachable!("three were made") };
        for router in [one, two, three] {
            established(router, 4).await;
        }
        // Same subnet: direct. Other subnet: by the router, to which only the default route points.
        has_route(one, "10.65.2.0/26", &["via 172.31.1.2 dev eth0", "proto bird", "metric 1024"]).await;
        has_route(one, "fd65::200/122", &["via fd00:31:1::2 dev eth0", "proto bird", "metric 1024"]).await;
        has_route(one, "10.65.3.0/26", &["via 172.31.1.254 dev eth0", "proto bird"]).await;
        has_route(three, "fd65::100/122", &["via fd00:31:3::254 dev eth0", "proto bird"]).await;
        has_route(three, "10.65.2.0/26", &["via 172.31.3.254 dev eth0"]).await;
        // Own blocks are holes apart from their pods.
        has_route(one, "10.65.1.0/26", &["blackhole"]).await;
        has_route(one, "fd65::100/122", &["blackhole"]).await;

        // A pod in the node's own block is nobody else's business; one with a borrowed address is everybody's.
        for (link, v4, v6) in [("calia", "10.65.2.7", "fd65::207"), ("calib", "10.65.1.9", "fd65::109")] {
            let ip = |arguments: &str| two.machine.exec("ip", &arguments.split(' ').collect::<Vec<_>>());
            ip(&format!("link add {link} type veth peer name {link}p"));
            ip(&format!("link set {link} up"));
            ip(&format!("link set {link}p up"));
            ip(&format!("route add {v4} dev {link} scope link proto 80"));
            ip(&format!("route add {v6} dev {link} metric 1024 proto 80"));
        }
        has_route(one, "10.65.1.9", &["via 172.31.1.2", "metric 1024"]).await;
        has_route(three, "10.65.1.9", &["via 172.31.3.254"]).await;
        has_route(three, "fd65::109", &["via fd00:31:3::254"]).await;
        assert_eq!((one.route("10.65.2.7"), three.route("fd65::207")), (None, None));
        assert!(two.route("10.65.1.9").unwrap().contains("dev calib"), "the pod's own route stays");
        assert!(!two.routes().contains("10.65.2.7 via"));

        let mut birdc = Birdc::connect(&one.socket()).await.unwrap();
        assert!(birdc.version().starts_with("2."));
        let counts = birdc.route_counts().await.unwrap();
        assert!(counts.iter().any(|c| c.table == "master6" && c.networks >= 4), "{counts:?}");
    });
}

#[test]
fn a_new_configuration_disturbs_nothing_else() {
    test(async {
        let mut fabric = Fabric::new();
        for (n, router) in fabric.routers.iter_mut().enumerate() {
            router.start(&input(n + 1));
        }
        let [one, two, three] = fabric.routers.as_slice() else { unreachable!("three were made") };
        for router in [one, two, three] {
            established(router, 4).await;
        }
        has_route(two, "10.65.1.0/26", &["via 172.31.1.1"]).await;
        let before = established(one, 4).await;

        let mut changed = input(1);
        changed.blocks = vec![cidr("10.65.100.0/26"), cidr("fd65::100/122")];
        one.write(&changed);
        Birdc::connect(&one.socket()).await.unwrap().configure(&one.config()).await.unwrap();
        has_route(two, "10.65.100.0/26", &["via 172.31.1.1"]).await;
        has_no_route(two, "10.65.1.0/26").await;
        assert_eq!(established(one, 4).await, before, "no session was restarted");

        // What is wrong is refused by line, and what runs goes on.
        std::fs::write(one.config(), "router id 1.2.3.4;\nprotocol bgp nonsense;\n").unwrap();
        let error = Birdc::connect(&one.socket()).await.unwrap().configure(&one.config()).await.unwrap_err();
        assert!(
            matches!(&error, BirdError::Refused { reason, .. } if reason.contains("bird.conf:2:")),
            "{error}"
        );
        assert_eq!(established(one, 4).await, before);
        let odd = one.dir.path().join("odd\"name");
        let error = Birdc::connect(&one.socket()).await.unwrap().configure_check(&odd).await.unwrap_err();
        assert!(matches!(error, BirdError::FileName { .. }));
    });
}

#[test]
fn a_killed_daemon_leaves_the_routes_and_comes_back() {
    test(async {
        let mut fabric = Fabric::new();
        for (n, router) in fabric.routers.iter_mut().enumerate() {
            router.start(&input(n + 1));
        }
        for router in &fabric.routers {
            established(router, 4).await;
        }
        for (router, prefix) in [(0, "10.65.2.0/26"), (1, "fd65::300/122"), (2, "fd65::200/122")] {
            has_route(&fabric.routers[router], prefix, &["proto bird"]).await;
        }
        fabric.routers[1].kill();
        eventually(|| async {
            // The others have noticed.
            let down = sessions(&fabric.routers[0]).await.map_err(|e| e.to_string())?;
            if down.iter().filter(|s| s.state != "up").count() == 2 {
                Ok(())
            } else {
                Err(format!("{down:?}"))
            }
        })
        .await;
        let kept = |fabric: &Fabric| {
            assert!(fabric.routers[0].route("10.65.2.0/26").is_some(), "kept by the peer");
            assert!(fabric.routers[1].route("fd65::300/122").is_some(), "kept by the kernel");
            assert!(fabric.routers[1].route("10.65.2.0/26").is_some(), "kept by the kernel");
        };
        kept(&fabric);
        fabric.routers[1].start(&input(2));
        eventually(|| async {
            kept(&fabric);
            let sessions = sessions(&fabric.routers[1]).await.map_err(|e| e.to_string())?;
            let up = sessions.iter().filter(|s| s.info.starts_with("Established")).count();
            if up == 4 { Ok(()) } else { Err(format!("{sessions:?}")) }
        })
        .await;
        kept(&fabric);
    });
}

#[test]
fn passwords_other_ports_and_other_systems() {
    test(async {
        let mut fabric = Fabric::new();
        let secret = |name: &str| SecretRef { name: name.to_owned(), key: "k".to_owned() };
        for (n, router) in fabric.routers.iter_mut().enumerate() {
            let mut input = input(n + 1);
            input.configuration.mesh_password = Some(secret("mesh"));
            input.configuration.listen_port = Some(1790);
            input.secrets.insert(secret("mesh"), "it's a {secret} #1".to_owned());
            // The third is a router of another system, to which the first two peer by address.
            input.nodes.remove("n3").filter(|_| n == 2).map(|n3| {
                input.nodes.clear();
                input.configuration.as_number = 65003;
                input.nodes.insert("n3".to_owned(), n3)
            });
            let target = |address: &str, as_number| {
                let port = Some(1790);
                Peer::new(PeerTarget::Address { address: address.parse().unwrap(), port, as_number })
            };
            let peers = if n < 2 {
                vec![target("172.31.3.3", 65003), target("fd00:31:3::3", 65003)]
            } else {
                vec![
                    target("172.31.1.1", 64512),
                    target("fd00:31:1::1", 64512),
                    target("172.31.1.2", 64512),
                    target("fd00:31:1::2", 64512),
                ]
            };
            input.peers = peers.into_iter().enumerate().map(|(n, p)| (format!("p{n}"), p)).collect();
            router.start(&input);
        }
        let [one, two, three] = fabric.routers.as_slice() else { unreachable!("three were made") };
        for router in [one, two, three] {
            established(router, 4).await;
        }
        has_route(one, "10.65.2.0/26", &["via 172.31.1.2"]).await;
        has_route(one, "fd65::300/122", &["via fd00:31:1::254"]).await;
        has_route(three, "10.65.1.0/26", &["via 172.31.3.254"]).await;
    });
}
