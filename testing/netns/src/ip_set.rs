//! IP sets, as rules of `iptables` use them, made without the `ipset` program.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use tortie_net::{Cidr, Family};

const CREATE: u16 = 2;
const ADD: u16 = 9;
const NESTED: u16 = 0x8000;
const BIG_ENDIAN: u16 = 0x4000;

/// Makes a set of the type `hash:net` with these members in the network namespace of the caller.
pub fn ip_set(name: &str, family: Family, members: &[&str]) {
    let number: u8 = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    let named =
        |attributes: &[u8]| [attribute(1, &[6]), attribute(2, &text(name)), attributes.to_vec()].concat();
    let kind = [
        attribute(3, &text("hash:net")),
        attribute(4, &[0]),
        attribute(5, &[number]),
        attribute(7 | NESTED, &[]),
    ];
    request(CREATE, number, &named(&kind.concat()));
    for member in members {
        let member: Cidr = member.parse().unwrap_or_else(|e| panic!("{e}"));
        let address = match member.addr() {
            IpAddr::V4(addr) => attribute(1 | BIG_ENDIAN, &addr.octets()),
            IpAddr::V6(addr) => attribute(2 | BIG_ENDIAN, &addr.octets()),
        };
        let data = [attribute(1 | NESTED, &address), attribute(3, &[member.len()])].concat();
        request(ADD, number, &named(&attribute(7 | NESTED, &data)));
    }
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn request(command: u16, family: u8, body: &[u8]) {
    let mut bytes = u32::try_from(20 + body.len()).unwrap().to_ne_bytes().to_vec();
    // The subsystem of IP sets; a request that is to be acknowledged.
    bytes.extend((6_u16 << 8 | command).to_ne_bytes());
    bytes.extend(5_u16.to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, family, 0, 0, 0]);
    bytes.extend(body);
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)
            .unwrap();
    sendto(socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty()).unwrap();
    let mut answer = [0; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
    let code = answer[..length].get(16..20).map(|c| i32::from_ne_bytes([c[0], c[1], c[2], c[3]]));
    assert_eq!(code, Some(0), "the kernel refuses an IP set");
}
