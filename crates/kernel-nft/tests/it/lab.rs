//! A node with workloads in namespaces of their own, and probes whose fate is read from the kernel.
//!
//! A probe is a packet with a tuple of its own. A table of the test notes every tuple before our chains (`seen`) and after them (`passed`),
//! so that nothing has to wait for a packet that does not come.

use crate::netns::{Node, exec, nft, run};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, connect, sendto, socket,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tortie_calc::Update;
use tortie_kernel_nft::ApplyReport;
use tortie_net::Protocol;
use tortie_rules::Config;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that lives in it.
pub(crate) struct Ns {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
    tid: i32,
}

impl Ns {
    pub(crate) fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (tell, tid) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace needs root");
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            for job in queue {
                job();
            }
        });
        let ns = Self { jobs: Some(jobs), thread: Some(thread), tid: tid.recv().unwrap() };
        ns.run(|| run("ip link set lo up"));
        ns
    }

    /// Runs `f` in the namespace.
    pub(crate) fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, result) = mpsc::channel();
        self.jobs.as_ref().unwrap().send(Box::new(move || drop(tell.send(f())))).unwrap();
        result.recv().expect("a job panicked")
    }

    /// How `ip link … netns` names it.
    pub(crate) fn tid(&self) -> i32 {
        self.tid
    }

    pub(crate) fn sh(&self, lines: &str) {
        let lines: Vec<String> =
            lines.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
        self.run(move || lines.iter().for_each(|l| drop(run(l))));
    }
}

impl Drop for Ns {
    fn drop(&mut self) {
        self.jobs.take();
        let _ = self.thread.take().unwrap().join();
    }
}

/// A packet that opens a connection, or tries to. For ICMP the ports are type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Packet {
    pub(crate) protocol: Protocol,
    pub(crate) from: IpAddr,
    pub(crate) sport: u16,
    pub(crate) to: IpAddr,
    pub(crate) dport: u16,
}

pub(crate) fn packet(protocol: Protocol, from: &str, sport: u16, to: &str, dport: u16) -> Packet {
    Packet { protocol, from: from.parse().unwrap(), sport, to: to.parse().unwrap(), dport }
}

/// The node's namespace is the calling thread's. Workloads have addresses `10.65.<n>.<i>` and `fd65:<n>::<i>`, i from 1 to 4, behind `cali<n>`.
pub(crate) struct Lab {
    pub(crate) node: Node,
    pub(crate) workloads: Vec<Ns>,
}

impl Lab {
    /// Call it in a namespace of its own (`in_netns`).
    pub(crate) fn new(config: Config, workloads: usize) -> Self {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        nft(NOTES);
        let workloads = (1..=workloads).map(attach).collect();
        Self { node: Node::with(config), workloads }
    }

    pub(crate) fn update(&mut self, updates: &[Update]) -> ApplyReport {
        let report = self.node.update(updates);
        assert!(report.refused.is_empty(), "{:#?}", report.refused);
        report
    }

    /// Sends the packets, which must all differ, from workload `from` (1 is the first), and answers which of them got through the node.
    pub(crate) fn probe(&self, from: usize, packets: &[Packet]) -> BTreeSet<Packet> {
        for set in ["seen4", "seen6", "passed4", "passed6"] {
            exec(&["nft", "flush", "set", "inet", "notes", set]);
        }
        let list = packets.to_vec();
        self.workloads[from - 1].run(move || list.iter().for_each(send));
        let deadline = Instant::now() + Duration::from_secs(10);
        while notes("seen").len() < packets.len() {
            assert!(
                Instant::now() < deadline,
                "not all of {packets:?} reached the node: {:?}",
                notes("seen")
            );
            std::thread::yield_now();
        }
        let passed = notes("passed");
        packets.iter().copied().filter(|p| passed.contains(&tuple(p))).collect()
    }

    /// True if one packet gets through.
    pub(crate) fn passes(&self, from: usize, packet: Packet) -> bool {
        !self.probe(from, &[packet]).is_empty()
    }
}

const NOTES: &str = "
table inet notes {
    set seen4 { typeof ip saddr . ip daddr . meta l4proto . th sport . th dport; flags dynamic; size 65535; }
    set seen6 { typeof ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport; flags dynamic; size 65535; }
    set passed4 { typeof ip saddr . ip daddr . meta l4proto . th sport . th dport; flags dynamic; size 65535; }
    set passed6 { typeof ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport; flags dynamic; size 65535; }
    chain before {
        update @seen4 { ip saddr . ip daddr . meta l4proto . th sport . th dport }
        update @seen6 { ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport }
    }
    chain after {
        update @passed4 { ip saddr . ip daddr . meta l4proto . th sport . th dport }
        update @passed6 { ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport }
    }
    chain forward-before {
        type filter hook forward priority -10; policy accept;
        jump before
    }
    chain forward-after {
        type filter hook forward priority 10; policy accept;
        jump after
    }
    chain host-before {
        type filter hook input priority -10; policy accept;
        jump before
    }
    chain host-after {
        type filter hook input priority 10; policy accept;
        jump after
    }
}
";

fn attach(n: usize) -> Ns {
    let ns = Ns::new();
    for line in [
        format!("ip link add cali{n} type veth peer name eth0 netns {}", ns.tid),
        format!("ip addr add 169.254.1.1/32 dev cali{n}"),
        format!("ip addr add fe80::1/64 dev cali{n} nodad"),
        format!("ip link set cali{n} up"),
        format!("ip route add 10.65.{n}.0/24 dev cali{n}"),
        format!("ip route add fd65:{n}::/64 dev cali{n}"),
    ] {
        run(&line);
    }
    ns.sh("ip link set eth0 up
           ip route add 169.254.1.1 dev eth0
           ip route add default via fe80::1 dev eth0");
    for i in 1..=4 {
        ns.sh(&format!(
            "ip addr add 10.65.{n}.{i}/32 dev eth0\nip addr add fd65:{n}::{i}/128 dev eth0 nodad"
        ));
    }
    ns.sh(&format!("ip route add default via 169.254.1.1 dev eth0 onlink src 10.65.{n}.1"));
    ns
}

/// What the test's table noted.
fn notes(stage: &str) -> BTreeSet<(IpAddr, IpAddr, u8, u16, u16)> {
    let mut all = BTreeSet::new();
    for family in ["4", "6"] {
        let text = exec(&["nft", "-j", "-n", "list", "set", "inet", "notes", &format!("{stage}{family}")]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let set = json["nftables"].as_array().unwrap().iter().find_map(|o| o.get("set")).unwrap();
        for element in set["elem"].as_array().into_iter().flatten() {
            let field = |n: usize| {
                let value = &element["concat"][n];
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            };
            let protocol = match field(2).as_str() {
                "icmp" => 1,
                "tcp" => 6,
                "udp" => 17,
                "ipv6-icmp" => 58,
                number => number.parse().unwrap(),
            };
            let [from, to] = [0, 1].map(|n| field(n).parse().unwrap());
            let [sport, dport] = [3, 4].map(|n| field(n).parse().unwrap());
            all.insert((from, to, protocol, sport, dport));
        }
    }
    all
}

/// How the test's table sees a packet: the first four bytes after the IP header as two ports.
fn tuple(p: &Packet) -> (IpAddr, IpAddr, u8, u16, u16) {
    match p.protocol {
        Protocol::ICMP | Protocol::ICMPV6 => {
            let bytes = icmp(p);
            let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            (p.from, p.to, p.protocol.0, number(0), number(2))
        }
        _ => (p.from, p.to, p.protocol.0, p.sport, p.dport),
    }
}

fn send(p: &Packet) {
    let to = SocketAddr::new(p.to, p.dport);
    match p.protocol {
        Protocol::UDP => {
            let socket = UdpSocket::bind((p.from, p.sport)).unwrap();
            socket.send_to(b"?", to).unwrap();
        }
        Protocol::TCP => {
            let fd = raw(p.to, SockType::Stream, None);
            bind_to(&fd, SocketAddr::new(p.from, p.sport));
            // In progress, or refused by a quick reset: the first packet is on its way.
            let _ = match to {
                SocketAddr::V4(to) => connect(fd.as_raw_fd(), &SockaddrIn::from(to)),
                SocketAddr::V6(to) => connect(fd.as_raw_fd(), &SockaddrIn6::from(to)),
            };
        }
        _ => {
            let protocol = if p.to.is_ipv4() { SockProtocol::Icmp } else { SockProtocol::IcmpV6 };
            let fd = raw(p.to, SockType::Raw, Some(protocol));
            bind_to(&fd, SocketAddr::new(p.from, 0));
            let bytes = icmp(p);
            let flags = nix::sys::socket::MsgFlags::empty();
            match SocketAddr::new(p.to, 0) {
                SocketAddr::V4(to) => sendto(fd.as_raw_fd(), &bytes, &SockaddrIn::from(to), flags).unwrap(),
                SocketAddr::V6(to) => sendto(fd.as_raw_fd(), &bytes, &SockaddrIn6::from(to), flags).unwrap(),
            };
        }
    }
}

fn raw(to: IpAddr, kind: SockType, protocol: Option<SockProtocol>) -> OwnedFd {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    socket(family, kind, SockFlag::SOCK_NONBLOCK, protocol).unwrap()
}

fn bind_to(fd: &OwnedFd, addr: SocketAddr) {
    match addr {
        SocketAddr::V4(addr) => bind(fd.as_raw_fd(), &SockaddrIn::from(addr)).unwrap(),
        SocketAddr::V6(addr) => bind(fd.as_raw_fd(), &SockaddrIn6::from(addr)).unwrap(),
    }
}

/// An ICMP message of the given type and code, with its checksum.
fn icmp(p: &Packet) -> [u8; 8] {
    let mut bytes = [p.sport as u8, p.dport as u8, 0, 0, 0x12, 0x34, 0, 1];
    let mut sum: u32 = bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (p.from, p.to) {
        sum += from.segments().iter().chain(&to.segments()).map(|s| u32::from(*s)).sum::<u32>();
        sum += bytes.len() as u32 + u32::from(Protocol::ICMPV6.0);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !(sum as u16);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}
