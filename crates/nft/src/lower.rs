//! Rules as lists of expressions. One match, one short run of expressions; no decisions.

use crate::consts::*;
use crate::expr::{Data, Expr, Reg, RuleBody};
use std::net::IpAddr;
use tortie_net::{Cidr, Family};
use tortie_rules::{End, Key, Match, Rule, Source, Statement, Towards, Verdict};

/// Longest comment; `nft` takes no more than 128 bytes.
const MAX_COMMENT: usize = 120;

/// All values start here. An IPv6 address fills the first four.
const R0: Reg = Reg(0);

/// The kernel's form of a rule.
pub fn rule(rule: &Rule) -> RuleBody {
    let mut exprs = Vec::with_capacity(rule.matches.len() * 2 + rule.statements.len());
    for m in &rule.matches {
        lower_match(m, &mut exprs);
    }
    for s in &rule.statements {
        lower_statement(s, &mut exprs);
    }
    let userdata = match &rule.source {
        Source::Plain => Vec::new(),
        source => comment(&source.to_string()),
    };
    RuleBody { exprs, userdata }
}

/// A comment as libnftnl keeps it in user data: type, length, text with its terminating zero. Cut if it is too long.
pub(crate) fn comment(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut end = text.len().min(MAX_COMMENT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.as_bytes().get(..end).unwrap_or_default();
    let mut out = vec![NFTNL_UDATA_COMMENT, text.len() as u8 + 1];
    out.extend_from_slice(text);
    out.push(0);
    out
}

fn equal(negated: bool) -> u32 {
    if negated { NFT_CMP_NEQ } else { NFT_CMP_EQ }
}

fn cmp(op: u32, data: &[u8]) -> Expr {
    Expr::Cmp { op, sreg: R0, data: Data::from_slice(data) }
}

fn meta(key: u32, dreg: Reg) -> Expr {
    Expr::Meta { key, dreg }
}

/// The bytes of an address, in network order.
pub(crate) fn address_bytes(addr: IpAddr) -> Data {
    match addr {
        IpAddr::V4(a) => Data::from_slice(&a.octets()),
        IpAddr::V6(a) => Data::from_slice(&a.octets()),
    }
}

/// The bytes of a prefix length as a mask.
fn mask_bytes(net: Cidr) -> Data {
    let bits = usize::from(net.len());
    (0..usize::from(net.family().bits()) / 8)
        .map(|byte| match bits.saturating_sub(byte * 8) {
            0 => 0,
            n if n >= 8 => 0xff,
            n => 0xff_u8 << (8 - n),
        })
        .collect()
}

fn address(end: End, family: Family, dreg: Reg) -> Expr {
    let (offset, len) = match (family, end) {
        (Family::V4, End::Source) => (12, 4),
        (Family::V4, End::Destination) => (16, 4),
        (Family::V6, End::Source) => (8, 16),
        (Family::V6, End::Destination) => (24, 16),
    };
    Expr::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset, len, dreg }
}

fn port(end: End, dreg: Reg) -> Expr {
    let offset = match end {
        End::Source => 0,
        End::Destination => 2,
    };
    Expr::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset, len: 2, dreg }
}

/// Type is the first byte of an ICMP header of either family, code the second.
fn icmp(offset: u32) -> Expr {
    Expr::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset, len: 1, dreg: R0 }
}

fn interface(towards: Towards) -> Expr {
    let key = match towards {
        Towards::In => NFT_META_IIFNAME,
        Towards::Out => NFT_META_OIFNAME,
    };
    meta(key, R0)
}

fn bitwise(mask: &[u8], xor: &[u8]) -> Expr {
    Expr::Bitwise { sreg: R0, dreg: R0, mask: Data::from_slice(mask), xor: Data::from_slice(xor) }
}

/// Loads what is looked up, each field in registers of its own, from the first on.
fn load(key: Key, out: &mut Vec<Expr>) {
    match key {
        Key::Address(end, family) => out.push(address(end, family, R0)),
        Key::AddressProtocolPort(end, family) => {
            let next = match family {
                Family::V4 => 1,
                Family::V6 => 4,
            };
            out.push(address(end, family, R0));
            out.push(meta(NFT_META_L4PROTO, Reg(next)));
            out.push(port(end, Reg(next + 1)));
        }
        Key::Port(end) => out.push(port(end, R0)),
        Key::Protocol => out.push(meta(NFT_META_L4PROTO, R0)),
    }
}

fn lower_match(m: &Match, out: &mut Vec<Expr>) {
    match m {
        Match::Family(family) => {
            let number = match family {
                Family::V4 => NFPROTO_IPV4,
                Family::V6 => NFPROTO_IPV6,
            };
            out.extend([meta(NFT_META_NFPROTO, R0), cmp(NFT_CMP_EQ, &[number])]);
        }
        Match::InterfacePrefix(towards, prefix) => {
            out.extend([interface(*towards), cmp(NFT_CMP_EQ, prefix.as_bytes())]);
        }
        Match::Protocol { protocol, negated } => {
            out.extend([meta(NFT_META_L4PROTO, R0), cmp(equal(*negated), &[protocol.0])]);
        }
        Match::Net { end, net, negated } => {
            out.push(address(*end, net.family(), R0));
            let bytes = address_bytes(net.addr());
            if !net.is_host() {
                out.push(bitwise(&mask_bytes(*net), &vec![0; bytes.len()]));
            }
            out.push(cmp(equal(*negated), &bytes));
        }
        Match::Port { end, range, negated } => {
            out.push(port(*end, R0));
            let (first, last) = (range.first.to_be_bytes(), range.last.to_be_bytes());
            if first == last {
                out.push(cmp(equal(*negated), &first));
            } else if *negated {
                let (from, to) = (Data::from_slice(&first), Data::from_slice(&last));
                out.push(Expr::Range { op: NFT_RANGE_NEQ, sreg: R0, from, to });
            } else {
                out.extend([cmp(NFT_CMP_GTE, &first), cmp(NFT_CMP_LTE, &last)]);
            }
        }
        Match::Lookup { key, set, negated } => {
            load(*key, out);
            out.push(Expr::Lookup { set: set.0.clone(), sreg: R0, inverted: *negated });
        }
        Match::IcmpType { value, negated, .. } => out.extend([icmp(0), cmp(equal(*negated), &[*value])]),
        Match::IcmpCode { value, negated, .. } => out.extend([icmp(1), cmp(equal(*negated), &[*value])]),
        Match::Conntrack(states) => {
            out.push(Expr::Ct { key: NFT_CT_STATE, dreg: R0 });
            out.push(bitwise(&states.0.to_ne_bytes(), &[0; 4]));
            out.push(cmp(NFT_CMP_NEQ, &[0; 4]));
        }
        Match::MarkClear(bits) => {
            out.push(meta(NFT_META_MARK, R0));
            out.push(bitwise(&bits.to_ne_bytes(), &[0; 4]));
            out.push(cmp(NFT_CMP_EQ, &[0; 4]));
        }
    }
}

fn lower_statement(s: &Statement, out: &mut Vec<Expr>) {
    let mut set_mark = |keep: u32, set: u32| {
        out.push(meta(NFT_META_MARK, R0));
        out.push(bitwise(&keep.to_ne_bytes(), &set.to_ne_bytes()));
        out.push(Expr::MetaSet { key: NFT_META_MARK, sreg: R0 });
    };
    match s {
        Statement::SetMark(bits) => set_mark(!bits, *bits),
        Statement::ClearMark(bits) => set_mark(!bits, 0),
        Statement::Count => out.push(Expr::Counter),
        Statement::Limit { per_second, burst } => {
            out.push(Expr::Limit { rate: (*per_second).into(), unit: 1, burst: *burst, kind: 0, flags: 0 });
        }
        Statement::Log { prefix } => out.push(Expr::Log { prefix: prefix.clone(), level: LOG_INFO }),
        Statement::Dispatch(towards, map) => {
            out.extend([interface(*towards), Expr::VerdictMap { map: map.0.clone(), sreg: R0 }]);
        }
        Statement::Masquerade => out.push(Expr::Masquerade { flags: NF_NAT_RANGE_PROTO_RANDOM_FULLY }),
        Statement::Verdict(verdict) => out.push(lower_verdict(verdict)),
    }
}

fn lower_verdict(verdict: &Verdict) -> Expr {
    let (code, chain) = match verdict {
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Drop => (NF_DROP, None),
        Verdict::Return => (NFT_RETURN, None),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain.0.clone())),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain.0.clone())),
    };
    Expr::Verdict { code, chain }
}
