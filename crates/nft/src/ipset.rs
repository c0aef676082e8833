//! IP sets, which rules of `iptables` look addresses up in: their names, and how one is removed.
//!
//! Source of the formats: `linux/netfilter/ipset/ip_set.h`.

use crate::consts::*;
use crate::wire::{Attrs, Messages, NFGENMSG, Writer, text};

const NFNL_SUBSYS_IPSET: u16 = 6;
const IPSET_CMD_DESTROY: u16 = 3;
const IPSET_CMD_LIST: u16 = 7;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_FLAGS: u16 = 6;
/// All kernels that are in use speak this version.
const PROTOCOL: u8 = 6;
/// Names only.
const IPSET_FLAG_LIST_SETNAME: u32 = 1 << 1;
const NLA_F_NET_BYTEORDER: u16 = 0x4000;

/// The errno of ip_set for a set that is referred to.
pub const IPSET_ERR_BUSY: i32 = 4100;

/// One decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpSet {
    /// The name of a set.
    Name(String),
    /// The end, with the error number.
    Done(i32),
}

/// Asks for the names of all sets.
pub fn names(seq: u32) -> Vec<u8> {
    request(IPSET_CMD_LIST, NLM_F_DUMP, seq, |w| {
        w.be32(IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, IPSET_FLAG_LIST_SETNAME);
    })
}

/// Removes a set, to which no rule may refer any more.
pub fn destroy(seq: u32, name: &str) -> Vec<u8> {
    request(IPSET_CMD_DESTROY, 0, seq, |w| w.text(IPSET_ATTR_SETNAME, name))
}

fn request(command: u16, flags: u16, seq: u32, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    let kind = NFNL_SUBSYS_IPSET << 8 | command;
    w.message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, seq, NFPROTO_IPV4, 0, |w| {
        w.bytes(IPSET_ATTR_PROTOCOL, &[PROTOCOL]);
        body(w);
    });
    w.0
}

/// Decodes a received datagram.
pub fn decode(datagram: &[u8]) -> Vec<IpSet> {
    let message = |m: crate::wire::Received<'_>| match m.kind {
        NLMSG_ERROR | NLMSG_DONE => {
            Some(IpSet::Done(m.payload.first_chunk().map_or(0, |c| -i32::from_ne_bytes(*c))))
        }
        kind if kind == NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST => {
            let mut attrs = Attrs(m.payload.get(NFGENMSG..)?);
            let (_, name) = attrs.find(|(k, _)| *k == IPSET_ATTR_SETNAME)?;
            Some(IpSet::Name(text(name)?.to_owned()))
        }
        _ => None,
    };
    Messages(datagram).filter_map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_of_an_answer() {
        let mut w = Writer::default();
        w.message(NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST, 2, 7, NFPROTO_IPV4, 0, |w| {
            w.bytes(IPSET_ATTR_PROTOCOL, &[PROTOCOL]);
            w.text(IPSET_ATTR_SETNAME, "cali40s:abc");
        });
        assert_eq!(decode(&w.0), [IpSet::Name("cali40s:abc".to_owned())]);
        assert_eq!(decode(&[0; 7]), []);
    }
}
