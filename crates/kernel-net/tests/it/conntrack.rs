//! Connections of an address are forgotten, those of others are not.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use tortie_kernel_net::conntrack::flush_addresses;
use tortie_test_netns::{Node, isolated, wire};

/// Lets new connections through, and established ones.
const OPEN: &str = "
    table inet t {
        chain nat { type nat hook prerouting priority -100;
            ip daddr 10.96.0.1 dnat ip to 10.2.0.2
            ip6 daddr fd00:96::1 dnat ip6 to fd00:2::2
        }
        chain forward { type filter hook forward priority 0; policy accept; ct state established accept; }
    }";

/// From now on a new connection is answered by a refusal.
const DENY: &str = "add rule inet t forward meta l4proto udp reject";

/// A client's connection with its server's socket.
struct Talk {
    client: UdpSocket,
    server: UdpSocket,
}

impl Talk {
    /// `seen` is the address that the client knows, `real` the one that the server has.
    fn new((from, client): (&Node, &str), to: &Node, seen: &str, real: &str) -> Self {
        let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
        let server = to.run(|| UdpSocket::bind(at(real, 0)).unwrap());
        let port = server.local_addr().unwrap().port();
        let client = from.run(|| UdpSocket::bind(at(client, 0)).unwrap());
        client.connect(at(seen, port)).unwrap();
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        Self { client, server }
    }

    /// There and back.
    fn flows(&self) {
        let mut buffer = [0; 16];
        self.client.send(b"there").unwrap();
        let (_, peer) = self.server.recv_from(&mut buffer).unwrap();
        self.server.send_to(b"back", peer).unwrap();
        assert_eq!(self.client.recv(&mut buffer).unwrap(), 4);
    }

    /// The router answers that it does not let this through.
    fn is_refused(&self) {
        self.client.send(b"there").unwrap();
        let error = self.client.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_forgotten_connection_has_to_pass_the_policy_again() {
    isolated(|| {
        let (router, client, server) = (Node::router("router"), Node::new("client"), Node::new("server"));
        wire((&router, "left"), (&client, "eth0"));
        wire((&router, "right"), (&server, "eth0"));
        router.address("left", &["10.1.0.1/24", "fd00:1::1/64"]);
        router.address("right", &["10.2.0.1/24", "fd00:2::1/64"]);
        client.address("eth0", &["10.1.0.2/24", "fd00:1::2/64"]);
        server.address("eth0", &["10.2.0.2/24", "fd00:2::2/64", "10.2.0.3/24", "fd00:2::3/64"]);
        client.route("0.0.0.0/0", "10.1.0.1").route("::/0", "fd00:1::1");
        server.route("0.0.0.0/0", "10.2.0.1").route("::/0", "fd00:2::1");
        router.nft(OPEN);

        let talk = |from: &str, seen: &str, real: &str| Talk::new((&client, from), &server, seen, real);
        let gone = [
            talk("10.1.0.2", "10.2.0.2", "10.2.0.2"),
            talk("fd00:1::2", "fd00:2::2", "fd00:2::2"),
            // The address appears in the direction of the answers only.
            talk("10.1.0.2", "10.96.0.1", "10.2.0.2"),
            talk("fd00:1::2", "fd00:96::1", "fd00:2::2"),
        ];
        let stay = [talk("10.1.0.2", "10.2.0.3", "10.2.0.3"), talk("fd00:1::2", "fd00:2::3", "fd00:2::3")];
        gone.iter().chain(&stay).for_each(Talk::flows);
        router.nft(DENY);
        gone.iter().chain(&stay).for_each(Talk::flows);

        let flush = |texts: &[&str]| router.run(|| flush_addresses(&ips(texts))).unwrap();
        assert_eq!(flush(&["10.2.0.4", "fd00:2::4"]), 0);
        assert_eq!(flush(&["10.2.0.2", "fd00:2::2"]), gone.len());
        gone.iter().for_each(Talk::is_refused);
        stay.iter().for_each(Talk::flows);

        // As a source.
        assert_eq!(flush(&["10.1.0.2", "fd00:1::2"]), stay.len());
        stay.iter().for_each(Talk::is_refused);
    });
}

#[test]
fn where_nothing_is_tracked_nothing_is_forgotten() {
    isolated(|| {
        assert_eq!(flush_addresses(&[]).unwrap(), 0);
        assert_eq!(flush_addresses(&ips(&["10.2.0.2", "fd00:2::2"])).unwrap(), 0);
    });
}
