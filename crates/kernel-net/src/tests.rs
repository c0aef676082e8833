//! Messages: what is encoded decodes to the same, and no bytes make a decoder panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::Emitable;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tortie_net::{Cidr, Family, Mac};

use crate::channel::{Messages, Received};
use crate::{
    Address, Link, LinkIndex, Neighbour, NeighbourEntry, NextHop, Route, RouteKind, RouteProtocol, Rule,
    RuleAction, Scope, TableId,
};

fn bytes(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn addr(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits))).boxed(),
        Family::V6 => any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits))).boxed(),
    }
}

fn cidr(family: Family) -> impl Strategy<Value = Cidr> {
    (addr(family), 0..=family.bits())
        .prop_map(|(addr, len)| Cidr::new(addr, len).expect("within the family's bits"))
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn link() -> impl Strategy<Value = LinkIndex> {
    (1_u32..).prop_map(LinkIndex)
}

fn next_hop() -> impl Strategy<Value = NextHop> {
    let gateway = option::of(family().prop_flat_map(addr));
    (gateway, link(), any::<bool>(), 1_u16..=256).prop_map(|(gateway, link, onlink, weight)| NextHop {
        gateway,
        link: Some(link),
        onlink,
        weight,
    })
}

/// A route with several next hops, or one of weight 1, or none where packets end.
fn route() -> impl Strategy<Value = Route> {
    let hops = prop_oneof![
        next_hop().prop_map(|hop| vec![NextHop { weight: 1, ..hop }]),
        vec(next_hop(), 2..5),
        Just(Vec::new()),
    ];
    family()
        .prop_flat_map(|family| (cidr(family), option::of(addr(family))))
        .prop_flat_map(move |(dst, source)| {
            let numbers =
                (1_u32.., any::<u8>(), any::<u8>(), option::of(any::<u32>()), option::of(any::<u32>()));
            (
                Just(dst),
                Just(source),
                hops.clone(),
                numbers,
                prop_oneof![Just(RouteKind::Blackhole), Just(RouteKind::Throw)],
            )
        })
        .prop_map(|(dst, source, next_hops, (table, protocol, scope, priority, mtu), special)| Route {
            dst,
            table: TableId(table),
            kind: if next_hops.is_empty() { special } else { RouteKind::Unicast },
            protocol: RouteProtocol(protocol),
            scope: Scope(scope),
            priority,
            source,
            mtu,
            next_hops,
        })
}

fn neighbour() -> impl Strategy<Value = Neighbour> {
    let mac = any::<[u8; 6]>().prop_map(Mac);
    let ip = || family().prop_flat_map(addr);
    let entry = prop_oneof![
        (ip(), option::of(mac.clone())).prop_map(|(ip, mac)| NeighbourEntry::Resolved { ip, mac }),
        ip().prop_map(|ip| NeighbourEntry::Proxy { ip }),
        (mac, option::of(ip())).prop_map(|(mac, to)| NeighbourEntry::Forward { mac, to }),
    ];
    (link(), entry, any::<bool>()).prop_map(|(link, entry, permanent)| {
        let permanent = permanent || matches!(entry, NeighbourEntry::Proxy { .. });
        Neighbour { link, entry, permanent }
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let name = option::of("[a-z]{1,15}");
    family().prop_flat_map(move |family| {
        let action = prop_oneof![
            any::<u32>().prop_map(|table| RuleAction::Table(TableId(table))),
            Just(RuleAction::Blackhole),
            Just(RuleAction::Prohibit),
        ];
        let mark = option::of((any::<u32>(), 1_u32..));
        let nets = (option::of(cidr(family)), option::of(cidr(family)));
        (any::<u32>(), action, any::<bool>(), mark, nets, (name.clone(), name.clone()), any::<u8>()).prop_map(
            move |(priority, action, invert, mark, (src, dst), (input, output), protocol)| Rule {
                action,
                invert,
                mark,
                src,
                dst,
                input,
                output,
                protocol: RouteProtocol(protocol),
                ..Rule::new(family, priority, TableId(0))
            },
        )
    })
}

proptest! {
    #[test]
    fn routes_survive_the_wire(route in route()) {
        prop_assert_eq!(Route::decode(&bytes(&route.to_message())), Some(route));
    }

    #[test]
    fn addresses_survive_the_wire(
        (link, ip, len, nodad) in (link(), family().prop_flat_map(addr), 0_u8..=32, any::<bool>())
    ) {
        let address = Address { nodad, ..Address::new(link, ip, len) };
        prop_assert_eq!(Address::decode(&bytes(&address.to_message())), Some(address));
    }

    #[test]
    fn neighbours_survive_the_wire(neighbour in neighbour()) {
        prop_assert_eq!(Neighbour::decode(&bytes(&neighbour.to_message())), Some(neighbour));
    }

    #[test]
    fn rules_survive_the_wire(rule in rule()) {
        prop_assert_eq!(Rule::decode(&bytes(&rule.to_message())), Some(rule));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(noise in vec(any::<u8>(), 0..200)) {
        let _ = (Link::decode(&noise), Route::decode(&noise), Address::decode(&noise));
        let _ = (Neighbour::decode(&noise), Rule::decode(&noise));
        let total: usize = Messages(&noise).map(|message: Received<'_>| message.payload.len() + 16).sum();
        prop_assert!(total <= noise.len());
    }

    /// A message with some bytes changed, which gets deeper into the decoders than noise.
    #[test]
    fn no_damage_makes_a_decoder_panic(
        (route, rule) in (route(), rule()),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        for mut message in [bytes(&route.to_message()), bytes(&rule.to_message())] {
            for (at, value) in &damage {
                let at = at.index(message.len());
                message[at] = *value;
            }
            let _ = (Route::decode(&message), Rule::decode(&message), Link::decode(&message));
        }
    }
}
