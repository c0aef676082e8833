//! Entries are recognised by each of their addresses, and what is deleted is the entry that was read.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tortie_net::Family;

use super::*;

fn tuple(src: IpAddr, dst: IpAddr, port: u16) -> Vec<u8> {
    let (mut addresses, mut ports, mut tuple) = (Vec::new(), Vec::new(), Vec::new());
    for (offset, address) in [(0, src), (1, dst)] {
        match address {
            IpAddr::V4(v4) => attribute(&mut addresses, CTA_IP_V4_SRC + offset, &v4.octets()),
            IpAddr::V6(v6) => attribute(&mut addresses, CTA_IP_V6_DST - 1 + offset, &v6.octets()),
        }
    }
    attribute(&mut ports, 2, &port.to_be_bytes());
    attribute(&mut tuple, CTA_TUPLE_IP | NLA_F_NESTED, &addresses);
    attribute(&mut tuple, 2 | NLA_F_NESTED, &ports);
    tuple
}

/// An entry as the kernel sends it, without the netlink header.
fn payload(entry: &Entry, reply: &[u8]) -> Vec<u8> {
    let mut message = vec![entry.family, 0, 0, 0];
    attribute(&mut message, CTA_TUPLE_ORIG | NLA_F_NESTED, &entry.tuple);
    attribute(&mut message, CTA_TUPLE_REPLY | NLA_F_NESTED, reply);
    attribute(&mut message, 3, &[0, 0, 0, 14]);
    if let Some(zone) = entry.zone {
        attribute(&mut message, CTA_ZONE, &zone);
    }
    if let Some(id) = entry.id {
        attribute(&mut message, CTA_ID, &id);
    }
    message
}

fn pair() -> impl Strategy<Value = [IpAddr; 4]> {
    prop_oneof![
        any::<[u32; 4]>().prop_map(|bits| bits.map(|b| Ipv4Addr::from(b).into())),
        any::<[u128; 4]>().prop_map(|bits| bits.map(|b| Ipv6Addr::from(b).into())),
    ]
}

fn entry() -> impl Strategy<Value = (Entry, [IpAddr; 4], Vec<u8>)> {
    (pair(), any::<u16>(), option::of(any::<[u8; 2]>()), option::of(any::<[u8; 4]>())).prop_map(
        |(addresses, port, zone, id)| {
            let [src, dst, reply_src, reply_dst] = addresses;
            let family = u8::from(wire::af(Some(Family::of(src))));
            let entry = Entry { family, tuple: tuple(src, dst, port), zone, id };
            (entry, addresses, tuple(reply_src, reply_dst, port))
        },
    )
}

proptest! {
    #[test]
    fn each_address_of_both_directions_names_the_entry((entry, addresses, reply) in entry()) {
        for address in addresses {
            let read = Entry::decode(&payload(&entry, &reply), &HashSet::from([address]));
            prop_assert_eq!(read.as_ref(), Some(&entry));
        }
    }

    #[test]
    fn other_addresses_do_not((entry, addresses, reply) in entry(), others in vec(pair(), 1..4)) {
        let mut others: HashSet<IpAddr> = others.into_iter().flatten().collect();
        others.retain(|other| !addresses.contains(other));
        prop_assert_eq!(Entry::decode(&payload(&entry, &reply), &others), None);
    }

    #[test]
    fn a_deletion_names_the_entry((entry, [src, ..], _) in entry(), sequence in any::<u32>()) {
        let bytes = entry.deletion(sequence);
        prop_assert_eq!(bytes.len() % 4, 0);
        let messages: Vec<Received<'_>> = Messages(&bytes).collect();
        prop_assert_eq!(messages.len(), 1);
        prop_assert_eq!(messages[0].payload.len() + 16, bytes.len());
        prop_assert_eq!((messages[0].kind, messages[0].sequence), (IPCTNL_MSG_CT_DELETE, sequence));
        prop_assert_eq!(Entry::decode(messages[0].payload, &HashSet::from([src])), Some(entry));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(noise in vec(any::<u8>(), 0..200), (entry, [src, ..], reply) in entry(),
        at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let wanted = HashSet::from([src]);
        let _ = Entry::decode(&noise, &wanted);
        let mut damaged = payload(&entry, &reply);
        let at = at.index(damaged.len());
        damaged[at] = value;
        // Without its tuple, a deletion would be one of everything.
        prop_assert!(Entry::decode(&damaged, &wanted).is_none_or(|read| !read.tuple.is_empty()));
    }
}
