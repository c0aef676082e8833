//! Machines of a test network and the cables between them.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tortie_kernel_net::{
    Address, AddressFilter, LinkChange, LinkIndex, NetNs, Netlink, NewLink, Route, Scope, VethPeer, sysctl,
};
use tortie_net::{Cidr, Family};

/// How long the kernel may take for what it does in the background.
const PATIENCE: Duration = Duration::from_secs(20);

/// A machine of a test network: a network namespace with a name. Clones are the same machine.
/// It disappears with its interfaces when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Node {
    name: Arc<str>,
    namespace: NetNs,
    netlink: Arc<Netlink>,
}

impl Node {
    /// A machine with nothing but loopback, which is up. Its IPv6 addresses, link-local ones included, are usable
    /// at once: nobody detects duplicates.
    pub fn new(name: &str) -> Self {
        let namespace = NetNs::create_unnamed().unwrap_or_else(|e| panic!("node {name}: {e}"));
        let netlink = Netlink::open_in(&namespace).unwrap_or_else(|e| panic!("node {name}: {e}"));
        netlink.set_link("lo", &LinkChange::up()).unwrap();
        let node = Self { name: name.into(), namespace, netlink: Arc::new(netlink) };
        for interfaces in ["all", "default"] {
            node.sysctl(&format!("net/ipv6/conf/{interfaces}/accept_dad"), "0");
        }
        node
    }

    /// A machine that forwards packets of both families.
    pub fn router(name: &str) -> Self {
        let node = Self::new(name);
        node.sysctl("net/ipv4/ip_forward", "1").sysctl("net/ipv6/conf/all/forwarding", "1");
        node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// A netlink socket in it.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Runs a closure in it.
    pub fn run<R: Send>(&self, job: impl FnOnce() -> R + Send) -> R {
        self.namespace.run(job).unwrap_or_else(|e| panic!("node {}: {e}", self.name))
    }

    /// Sets a sysctl.
    pub fn sysctl(&self, name: &str, value: &str) -> &Self {
        self.run(|| sysctl::set(name, value)).unwrap_or_else(|e| panic!("node {}: {e}", self.name));
        self
    }

    /// The number of an interface.
    pub fn index(&self, link: &str) -> LinkIndex {
        let found = self.netlink.link(link).unwrap();
        found.unwrap_or_else(|| panic!("node {} has no interface {link}", self.name)).index
    }

    /// Adds addresses (`10.0.0.1/24`; a bare address is a /32 or /128) to an interface; usable at once.
    pub fn address(&self, link: &str, addresses: &[&str]) -> &Self {
        let index = self.index(link);
        for text in addresses {
            let (addr, len) = text.split_once('/').map_or((*text, None), |(addr, len)| (addr, Some(len)));
            let addr: IpAddr = addr.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let address = match len {
                Some(len) => Address::new(index, addr, len.parse().unwrap_or_else(|e| panic!("{text}: {e}"))),
                None => Address::host(index, addr),
            };
            self.netlink.replace_address(&address).unwrap_or_else(|e| panic!("node {}: {e}", self.name));
            if let IpAddr::V6(addr) = addr
                && self.is_running(link)
            {
                self.wait_for_solicitations(link, addr);
            }
        }
        self
    }

    /// The kernel joins the multicast group in which others ask for an IPv6 address a moment after it has the address.
    /// Who asks in this moment asks again after a second only.
    fn wait_for_solicitations(&self, link: &str, addr: Ipv6Addr) {
        let [.., a, b, c] = addr.octets();
        let group = format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}");
        let joined = |line: &str| {
            let mut columns = line.split_whitespace().skip(1);
            columns.next() == Some(link) && columns.next() == Some(&group)
        };
        self.wait(&format!("{link} to listen for {addr}"), || {
            let groups =
                self.run(|| std::fs::read_to_string("/proc/thread-self/net/igmp6")).unwrap_or_default();
            groups.lines().any(joined)
        });
    }

    /// Whether packets are sent and received: the kernel prepares this a moment after both ends are up.
    fn is_running(&self, link: &str) -> bool {
        const IFF_RUNNING: u32 = 0x40;
        let found = self.netlink.link(link).unwrap();
        found.is_some_and(|link| link.flags & IFF_RUNNING != 0 && !link.is_loopback())
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "node {}: waited for {what} in vain", self.name);
            std::thread::yield_now();
        }
    }

    /// Adds a route; `dst` may be `default`, which takes the gateway's family.
    pub fn route(&self, dst: &str, gateway: &str) -> &Self {
        let gateway: IpAddr = gateway.parse().unwrap_or_else(|e| panic!("{gateway}: {e}"));
        let dst = match dst {
            "default" => Cidr::any(Family::of(gateway)),
            dst => dst.parse().unwrap_or_else(|e| panic!("{e}")),
        };
        let route = Route::via(dst, gateway, None);
        self.netlink.add_route(&route).unwrap_or_else(|e| panic!("node {}: {e}", self.name));
        self
    }

    /// Executes a program in it and returns what it prints; panics if it fails.
    pub fn exec(&self, program: &str, arguments: &[&str]) -> String {
        self.exec_with_input(program, arguments, "")
    }

    /// Loads a ruleset in the syntax of `nft`.
    pub fn nft(&self, ruleset: &str) -> &Self {
        self.exec_with_input("nft", &["-f", "-"], ruleset);
        self
    }

    fn exec_with_input(&self, program: &str, arguments: &[&str], input: &str) -> String {
        // A child belongs to the namespace of the thread that starts it.
        let child = self.run(|| {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        });
        let mut child = child.unwrap_or_else(|e| panic!("cannot execute {program}: {e}"));
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input closes it.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "node {}: {program} {} failed: {}",
            self.name,
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Connects two machines by a cable: interface `a.1` of machine `a.0` with interface `b.1` of machine `b.0`, both up.
pub fn wire(a: (&Node, &str), b: (&Node, &str)) {
    let peer = VethPeer::new(b.1).inside(b.0.namespace());
    a.0.netlink().add_link(&NewLink::veth(a.1, peer)).unwrap_or_else(|e| panic!("node {}: {e}", a.0.name()));
    b.0.netlink().set_link(b.1, &LinkChange::up()).unwrap_or_else(|e| panic!("node {}: {e}", b.0.name()));
    for (node, link) in [a, b] {
        node.wait(&format!("{link} to run"), || node.is_running(link));
        // Neighbours are asked for from the link-local address.
        let filter = AddressFilter { family: Some(Family::V6), link: Some(node.index(link)) };
        let usable = |address: &Address| address.scope == Scope::LINK && !address.tentative;
        node.wait(&format!("a link-local address of {link}"), || {
            node.netlink().addresses(filter).unwrap().iter().any(usable)
        });
    }
}
