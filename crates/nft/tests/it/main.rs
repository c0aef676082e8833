//! Bytes out and bytes in.

use proptest::prelude::*;
use std::sync::Arc;
use tortie_net::{Cidr, Family, PortRange, Protocol};
use tortie_nft::consts::*;
use tortie_nft::decode::{self, Decoded};
use tortie_nft::{Batch, Data, Expr, Item, Reg, RuleBody, lower, request};
use tortie_rules::{Base, Element, End, Hook, Match, Rule, SetName, SetShape, Source, Statement, Verdict};

fn reg() -> impl Strategy<Value = Reg> {
    (0u8..16).prop_map(Reg)
}

fn data() -> impl Strategy<Value = Data> {
    prop::collection::vec(any::<u8>(), 1..20).prop_map(Data::from_vec)
}

fn name() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z0-9-]{0,30}".prop_map(Arc::from)
}

fn expr() -> impl Strategy<Value = Expr> {
    prop_oneof![
        (any::<u32>(), reg()).prop_map(|(key, dreg)| Expr::Meta { key, dreg }),
        (any::<u32>(), reg()).prop_map(|(key, sreg)| Expr::MetaSet { key, sreg }),
        (0u32..3, any::<u32>(), any::<u32>(), reg()).prop_map(|(base, offset, len, dreg)| Expr::Payload {
            base,
            offset,
            len,
            dreg
        }),
        (0u32..6, reg(), data()).prop_map(|(op, sreg, data)| Expr::Cmp { op, sreg, data }),
        (0u32..2, reg(), data(), data()).prop_map(|(op, sreg, from, to)| Expr::Range { op, sreg, from, to }),
        (reg(), reg(), data(), data()).prop_map(|(sreg, dreg, mask, xor)| Expr::Bitwise {
            sreg,
            dreg,
            mask,
            xor
        }),
        (any::<u32>(), reg()).prop_map(|(key, dreg)| Expr::Ct { key, dreg }),
        (name(), reg(), any::<bool>()).prop_map(|(set, sreg, inverted)| Expr::Lookup { set, sreg, inverted }),
        (name(), reg()).prop_map(|(map, sreg)| Expr::VerdictMap { map, sreg }),
        (any::<i32>(), prop::option::of(name())).prop_map(|(code, chain)| Expr::Verdict { code, chain }),
        Just(Expr::Counter),
        (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>())
            .prop_map(|(rate, unit, burst, kind, flags)| Expr::Limit { rate, unit, burst, kind, flags }),
        (name(), any::<u32>()).prop_map(|(prefix, level)| Expr::Log { prefix, level }),
        any::<u32>().prop_map(|flags| Expr::Masquerade { flags }),
    ]
}

/// The one part of a batch.
fn bytes(batch: &Batch) -> Vec<u8> {
    let parts = batch.parts(usize::MAX, None);
    assert_eq!(parts.len(), 1);
    parts[0].bytes.clone()
}

proptest! {
    /// A rule that is written and read is the same rule. (A handle makes it look like one from the kernel.)
    #[test]
    fn rules_round_trip(exprs in prop::collection::vec(expr(), 0..12), userdata in prop::collection::vec(any::<u8>(), 0..64)) {
        let body = RuleBody { exprs, userdata };
        let mut batch = Batch::new("calico");
        batch.insert_rule(&"c".into(), &body, 7);
        // The kernel tells a rule's handle where the request tells its position: the attribute's type is 3, not 6.
        let mut bytes = bytes(&batch);
        let position = bytes.windows(4).position(|w| w == [12, 0, NFTA_RULE_POSITION as u8, 0]).unwrap();
        bytes[position + 2] = NFTA_RULE_HANDLE as u8;
        let rules: Vec<_> = decode::messages(&bytes).into_iter().filter_map(|m| match m {
            Decoded::Rule(rule) => Some(rule),
            _ => None,
        }).collect();
        prop_assert_eq!(rules.len(), 1);
        prop_assert_eq!(&rules[0].body, &body);
        prop_assert_eq!((rules[0].handle, &*rules[0].chain), (7, "c"));
    }

    /// Whatever the kernel sends, reading it does not fail; and a message cut short is no other message.
    #[test]
    fn nothing_breaks_the_decoder(noise in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..2000) {
        decode::messages(&noise);
        let mut batch = Batch::new("calico");
        batch.add_elements(&"s".into(), SetShape::Ports { ranges: true }, &[Element::Ports(PortRange { first: 1, last: 9 })]);
        batch.append_rule(&"c".into(), &RuleBody { exprs: vec![Expr::Counter], userdata: vec![1] });
        let mut bytes = bytes(&batch);
        bytes.truncate(cut);
        decode::messages(&bytes);
        for (at, byte) in noise.iter().enumerate() {
            if let Some(place) = bytes.get_mut(at * 7) {
                *place = *byte;
            }
        }
        decode::messages(&bytes);
    }
}

#[test]
fn registers_have_two_numberings() {
    // NFT_REG_2 is the register that begins with NFT_REG32_04.
    let mut batch = Batch::new("t");
    batch.append_rule(
        &"c".into(),
        &RuleBody { exprs: vec![Expr::Meta { key: NFT_META_MARK, dreg: Reg(4) }], userdata: Vec::new() },
    );
    let mut bytes = bytes(&batch);
    let dreg = bytes.windows(8).position(|w| w == [8, 0, 1, 0, 0, 0, 0, 12]).unwrap();
    bytes[dreg + 7] = 2;
    // Without a handle the rule is none of the kernel's.
    assert!(!decode::messages(&bytes).iter().any(|m| matches!(m, Decoded::Rule(_))));
}

#[test]
fn prefixes_become_masks() {
    let of = |net: &str| {
        let net: Cidr = net.parse().unwrap();
        let m = Match::Net { end: End::Source, net, negated: false };
        lower::rule(&Rule { matches: vec![m], statements: vec![], source: Source::Plain }).exprs
    };
    let mask = |exprs: &[Expr]| match &exprs[1] {
        Expr::Bitwise { mask, .. } => mask.to_vec(),
        other => unreachable!("{other:?}"),
    };
    assert_eq!(mask(&of("10.0.0.0/9")), [0xff, 0x80, 0, 0]);
    assert_eq!(mask(&of("0.0.0.0/0")), [0; 4]);
    assert_eq!(mask(&of("fe80::/10"))[..3], [0xff, 0xc0, 0]);
    assert_eq!(of("10.0.0.1").len(), 2, "a host needs no mask");
}

#[test]
fn comments_are_cut_at_characters() {
    let source = Source::Profile("ä".repeat(200).into(), tortie_rules::Direction::Ingress, 0);
    let rule = Rule { matches: vec![], statements: vec![Statement::Verdict(Verdict::Accept)], source };
    let userdata = lower::rule(&rule).userdata;
    assert_eq!((userdata[0], usize::from(userdata[1])), (0, userdata.len() - 2));
    let text = std::str::from_utf8(&userdata[2..userdata.len() - 1]).unwrap();
    assert!(text.len() <= 120 && text.ends_with('ä'));
}

#[test]
fn a_batch_knows_its_items() {
    let set = SetName::from("s");
    let shape = SetShape::Addresses { family: Family::V4, prefixes: false };
    let elements: Vec<Element> =
        (0..1200u32).map(|n| Element::Net(Cidr::host(std::net::Ipv4Addr::from(n).into()))).collect();
    let mut batch = Batch::new("calico");
    batch.add_table();
    batch.add_set(&set, shape);
    batch.cut();
    batch.add_elements(&set, shape, &elements);
    batch.cut();
    batch.add_chain(&"c".into(), Some(Base { hook: Hook::Forward, priority: 1 }), "");
    let messages = batch.messages();
    assert_eq!(messages.len(), 2 + 3 + 1);
    assert_eq!(messages[0].item_at(None), Item::Table);
    assert_eq!(messages[1].item_at(Some(20)), Item::Set(set.clone()));
    assert_eq!(messages[5].item_at(Some(44)), Item::Chain("c".into()));
    // Before the first element the set is to blame, then one after the other.
    assert_eq!(messages[3].item_at(Some(20)), Item::Set(set.clone()));
    let found: Vec<Item> = (0..20_000).map(|at| messages[3].item_at(Some(at))).collect();
    let mut distinct = found.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), 501);
    assert_eq!(distinct[1], Item::Element(set.clone(), elements[500].clone()));
    // Cut only where it may be cut; every part asks for one acknowledgement.
    let parts = batch.parts(1000, Some(9));
    let ranges: Vec<_> = parts.iter().map(|p| p.messages.clone()).collect();
    assert_eq!(ranges, [0..2, 2..5, 5..6]);
    assert_eq!(parts.iter().map(|p| p.last).collect::<Vec<_>>(), [2, 5, 6]);
    assert_eq!(batch.parts(usize::MAX, None).len(), 1);
}

/// An error as the kernel sends it, with and without the offending message.
#[test]
fn answers() {
    let original = request::generation(42);
    let attributes = [&[8, 0, 2, 0][..], &77u32.to_ne_bytes(), &[8, 0, 1, 0], b"bad\0"].concat();
    let header = |flags: u16, len: usize| {
        let len = (16 + len) as u32;
        [&len.to_ne_bytes()[..], &NLMSG_ERROR.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat()
    };
    for (flags, kept) in [(NLM_F_ACK_TLVS | NLM_F_CAPPED, &original[..16]), (NLM_F_ACK_TLVS, &original[..])] {
        let payload = [&(-17i32).to_ne_bytes()[..], kept, &attributes].concat();
        let bytes = [header(flags, payload.len()), payload].concat();
        let [Decoded::Answer(answer)] = &decode::messages(&bytes)[..] else { unreachable!("{bytes:?}") };
        assert_eq!(
            (answer.seq, answer.errno, answer.offset, answer.text.as_deref()),
            (42, 17, Some(77), Some("bad"))
        );
    }
    let payload = [&0i32.to_ne_bytes()[..], &original[..16]].concat();
    let bytes = [header(NLM_F_CAPPED, payload.len()), payload].concat();
    let [Decoded::Answer(answer)] = &decode::messages(&bytes)[..] else { unreachable!("{bytes:?}") };
    assert_eq!((answer.seq, answer.errno, answer.offset), (42, 0, None));
}

#[test]
fn every_protocol_with_ports_is_a_key() {
    let (raw, end) = tortie_nft::set::keys(SetShape::Protocols, &Element::Protocol(Protocol::SCTP));
    assert_eq!((raw.key.as_slice(), end), (&[132][..], None));
}
