//! Blocks against examples in Calico's form and against a plain model of what a block should do.

use super::*;
use proptest::prelude::*;

/// As Calico 3.3x writes it: one released address that cools down, two of one pod, one of another.
const STORED: &str = concat!(
    r#"{"cidr":"10.0.0.0/29","affinity":"host:n1","affinity_claim_time":"2026-01-01T00:00:00Z","#,
    r#""allocations":[0,null,1,0,null,2,null,null],"unallocated":[6,7,1,4],"#,
    r#""attributes":[{"handle_id":"k8s-pod-network.c1","secondary":{"namespace":"shop","node":"n1","pod":"web-0"}},"#,
    r#"{"handle_id":"k8s-pod-network.c2","secondary":{"namespace":"shop","node":"n2","pod":"web-1"}},"#,
    r#"{"releasedAt":"2026-01-01T00:10:00Z"}],"#,
    r#""sequenceNumber":1767225600000000007,"sequenceNumberForAllocation":{"0":1767225600000000001,"2":1767225600000000002,"3":1767225600000000001,"5":1767225600000000006},"#,
    r#""deleted":false}"#
);

fn stored() -> Block {
    Block::from_stored(serde_json::from_str(STORED).unwrap()).unwrap()
}

fn text(block: &Block) -> String {
    serde_json::to_string(block.as_stored()).unwrap()
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn holder(name: &str) -> Holder {
    let attrs = [("node", "n1"), ("namespace", "shop"), ("pod", name)];
    Holder {
        handle: Some(HandleId::of_container("k8s-pod-network", name)),
        attrs: attrs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    }
}

fn release(last: u8, handle: Option<&str>, sequence: Option<u64>) -> Release {
    Release { addr: ip(last), handle: handle.map(HandleId::new), sequence }
}

const T0: Timestamp = Timestamp(1_767_226_200); // 2026-01-01T00:10:00Z

#[test]
fn json_is_calicos() {
    assert_eq!(text(&stored()), STORED);
    let new = Block::new("fd00::40/126".parse().unwrap(), &Owner::Host("n1".into()), 5, T0).unwrap();
    assert_eq!(
        text(&new),
        concat!(
            r#"{"cidr":"fd00::40/126","affinity":"host:n1","affinity_claim_time":"2026-01-01T00:10:00Z","#,
            r#""allocations":[null,null,null,null],"unallocated":[0,1,2,3],"attributes":[],"#,
            r#""sequenceNumber":5,"sequenceNumberForAllocation":{},"deleted":false}"#
        )
    );
    // A block that Go wrote before its first allocation.
    let null = text(&new).replace("\"attributes\":[]", "\"attributes\":null");
    assert_eq!(Block::from_stored(serde_json::from_str(&null).unwrap()).unwrap(), new);
}

#[test]
fn takes_from_the_head_and_gives_back_to_the_tail() {
    let mut block = stored();
    let none = Reservations::default();
    assert_eq!(block.assign_next(2, &holder("a"), &none), [ip(6), ip(7)]);
    assert_eq!(block.release_handle(&HandleId::new("k8s-pod-network.a"), T0, 0), 2);
    // The one that was cooling down came back first: its ordinal is lower and all three are due.
    assert_eq!(block.as_stored().unallocated, [1, 4, 5, 6, 7]);
    assert_eq!(block.assign_next(9, &holder("b"), &none), [ip(1), ip(4), ip(5), ip(6), ip(7)]);
    assert!(block.assign_next(1, &holder("c"), &none).is_empty());
    assert_eq!(block.free(&none), 0);
}

#[test]
fn equal_attributes_are_stored_once() {
    let mut block = stored();
    let before = block.as_stored().attributes.len();
    block.assign_next(1, &holder("a"), &Reservations::default());
    block.assign_next(1, &holder("a"), &Reservations::default());
    assert_eq!(block.as_stored().attributes.len(), before + 1);
    assert_eq!(block.held_by(&HandleId::new("k8s-pod-network.a")), [ip(6), ip(7)]);
}

#[test]
fn reserved_addresses_are_passed_over_and_keep_their_place() {
    let mut block = stored();
    let reserved: Reservations = ["10.0.0.6/31".parse().unwrap()].into_iter().collect();
    assert_eq!(block.free(&reserved), 2);
    assert_eq!(block.assign_next(1, &holder("a"), &reserved), [ip(1)]);
    assert_eq!(block.as_stored().unallocated, [6, 7, 4]);
    block.assign(ip(6), &holder("b")).unwrap();
    assert_eq!(block.as_stored().unallocated, [7, 4]);
}

#[test]
fn a_wanted_address_may_be_taken() {
    let mut block = stored();
    let by = |b: &mut Block, last| match b.assign(ip(last), &holder("x")) {
        Err(error) => error.to_string(),
        Ok(()) => "assigned".to_owned(),
    };
    assert_eq!(
        by(&mut block, 2),
        "address 10.0.0.2 is taken by pod shop/web-1 on node n2 (handle k8s-pod-network.c2)"
    );
    assert_eq!(
        by(&mut block, 5),
        "address 10.0.0.5 is taken by nobody since 2026-01-01T00:10:00Z, but still cooling down"
    );
    assert_eq!(by(&mut block, 8), "address 10.0.0.8 is not in block 10.0.0.0/29");
    assert_eq!(by(&mut block, 4), "assigned");
    assert!(
        matches!(block.assign(ip(4), &holder("y")), Err(AssignError::Taken { handle: Some(h), .. }) if h.as_str() == "k8s-pod-network.x")
    );
}

#[test]
fn stale_releases_are_refused_as_a_whole() {
    let mut block = stored();
    let before = block.clone();
    let stale = [release(0, None, None), release(3, None, Some(99))];
    let error = block.release(&stale, T0, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "address 10.0.0.3 was assigned again (sequence number 1767225600000000001, not 99); look again before releasing it"
    );
    let other = [release(0, None, None), release(2, Some("k8s-pod-network.c1"), None)];
    assert!(matches!(block.release(&other, T0, 0), Err(ReleaseError::OtherHandle { .. })));
    assert!(matches!(block.release(&[release(9, None, None)], T0, 0), Err(ReleaseError::Outside { .. })));
    assert_eq!(block, before);
}

#[test]
fn release_counts_each_address_once() {
    let mut block = stored();
    let sequence = 1_767_225_600_000_000_001;
    let wanted = [
        release(0, Some("k8s-pod-network.c1"), Some(sequence)),
        release(0, None, None),
        release(1, None, None),
        release(5, None, None),
        release(2, None, None),
    ];
    let released = block.release(&wanted, T0, 0).unwrap();
    assert_eq!(released.not_allocated, [ip(1), ip(5)]);
    assert_eq!(released.count, 2);
    let counts: Vec<(String, usize)> =
        released.by_handle.into_iter().map(|(h, n)| (h.to_string(), n)).collect();
    assert_eq!(counts, [("k8s-pod-network.c1".to_owned(), 1), ("k8s-pod-network.c2".to_owned(), 1)]);
    assert_eq!(block.used(), 1);
}

#[test]
fn cooldown_keeps_an_address_to_itself() {
    let mut block = stored();
    let handle = HandleId::new("k8s-pod-network.c1");
    assert_eq!(block.release_handle(&handle, T0, 60), 2);
    assert_eq!((block.used(), block.held_by(&handle).len()), (4, 0));
    assert!(!block.is_empty());
    assert!(block.allocation(ip(0)).unwrap().is_cooling());
    assert_eq!(block.release_handle(&handle, T0, 60), 0);
    assert!(!block.collect(Timestamp(T0.0 + 60), 60));
    assert!(block.collect(Timestamp(T0.0 + 61), 60));
    assert_eq!(block.as_stored().unallocated, [6, 7, 1, 4, 0, 3, 5]);
    assert_eq!(block.as_stored().attributes.len(), 1);
    assert_eq!(block.allocation(ip(2)).unwrap().handle(), Some(HandleId::new("k8s-pod-network.c2")));
}

#[test]
fn allocations_of_other_nodes() {
    let mut block = stored();
    let foreign =
        |b: &Block| b.non_affine().map(|a| (a.addr, a.attr("node").map(str::to_owned))).collect::<Vec<_>>();
    assert_eq!(foreign(&block), [(ip(2), Some("n2".to_owned())), (ip(5), None)]);
    block.disown();
    assert_eq!(block.owner(), None);
    assert_eq!(foreign(&block).len(), 4);
}

#[test]
fn what_makes_a_block_empty() {
    let mut block = stored();
    assert!(!block.is_empty());
    for handle in ["k8s-pod-network.c1", "k8s-pod-network.c2"] {
        block.release_handle(&HandleId::new(handle), T0, 0);
    }
    assert!(block.is_empty());
    let windows = Holder { handle: Some(HandleId::new("Windows-Reserved-IPAM-Handle")), ..Holder::default() };
    block.assign(ip(0), &windows).unwrap();
    assert!(block.is_empty());
}

#[test]
fn broken_blocks_are_named_or_repaired() {
    let parse = |from: &str, to: &str| {
        assert!(STORED.contains(from), "{from}");
        Block::from_stored(serde_json::from_str(&STORED.replacen(from, to, 1)).unwrap())
    };
    assert_eq!(
        parse("[0,null,1,", "[0,null,").unwrap_err().to_string(),
        "block 10.0.0.0/29: `allocations` has 7 entries where the prefix has 8 addresses"
    );
    assert_eq!(
        parse("[0,null,1,", "[0,null,3,").unwrap_err().to_string(),
        "block 10.0.0.0/29: `allocations[2]` refers to `attributes[3]`, which does not exist"
    );
    assert_eq!(
        parse("10.0.0.0/29", "10.0.0.0/8").unwrap_err().to_string(),
        "block 10.0.0.0/8 is larger than 65536 addresses"
    );
    let repaired = parse("[6,7,1,4]", "[7,7,0,99,1]").unwrap();
    assert_eq!(repaired.as_stored().unallocated, [7, 1, 4, 6]);
}

// === against a model ===

/// What can be done to a block.
#[derive(Clone, Debug)]
enum Step {
    Assign { who: u8, count: usize },
    Want { who: u8, last: u8 },
    ReleaseHandle { who: u8 },
    Release { last: u8 },
    Wait { seconds: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..5u8, 1..4usize).prop_map(|(who, count)| Step::Assign { who, count }),
        (0..5u8, 0..16u8).prop_map(|(who, last)| Step::Want { who, last }),
        (0..5u8).prop_map(|who| Step::ReleaseHandle { who }),
        (0..16u8).prop_map(|last| Step::Release { last }),
        (0..40i64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    proptest::collection::vec(step, 0..60)
}

/// The plain model: who has each address, since when it cools down, and the queue of free ones.
struct Model {
    owner: BTreeMap<IpAddr, Option<u8>>,
    cooling: BTreeMap<IpAddr, Timestamp>,
    free: Vec<IpAddr>,
}

impl Model {
    fn give(&mut self, addr: IpAddr, who: u8) {
        self.free.retain(|f| *f != addr);
        self.owner.insert(addr, Some(who));
    }

    fn release(&mut self, addr: IpAddr, now: Timestamp) {
        self.owner.insert(addr, None);
        self.cooling.insert(addr, now);
    }

    fn collect(&mut self, now: Timestamp, cooldown: u32) {
        for (addr, at) in self.cooling.clone() {
            if cooldown == 0 || now.0 - at.0 > i64::from(cooldown) {
                self.cooling.remove(&addr);
                self.owner.remove(&addr);
                self.free.push(addr);
            }
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_the_model(steps in steps(), cooldown in prop_oneof![Just(0u32), Just(30)]) {
        let none = Reservations::default();
        let mut block = Block::new("10.0.0.0/28".parse().unwrap(), &Owner::Host("n1".into()), 100, T0).unwrap();
        let mut now = T0;
        let mut model = Model {
            owner: BTreeMap::new(),
            cooling: BTreeMap::new(),
            free: (0..16).map(ip).collect(),
        };
        for step in steps {
            match step {
                Step::Assign { who, count } => {
                    let got = block.assign_next(count, &holder(&who.to_string()), &none);
                    let want: Vec<IpAddr> = model.free.iter().copied().take(count).collect();
                    prop_assert_eq!(&got, &want);
                    for addr in want {
                        model.give(addr, who);
                    }
                }
                Step::Want { who, last } => {
                    let free = !model.owner.contains_key(&ip(last));
                    prop_assert_eq!(block.assign(ip(last), &holder(&who.to_string())).is_ok(), free);
                    if free {
                        model.give(ip(last), who);
                    }
                }
                Step::ReleaseHandle { who } => {
                    let held: Vec<IpAddr> =
                        model.owner.iter().filter(|(_, o)| **o == Some(who)).map(|(a, _)| *a).collect();
                    let handle = HandleId::of_container("k8s-pod-network", &who.to_string());
                    prop_assert_eq!(&block.held_by(&handle), &held);
                    prop_assert_eq!(block.release_handle(&handle, now, cooldown), held.len());
                    for addr in held {
                        model.release(addr, now);
                    }
                    model.collect(now, cooldown);
                }
                Step::Release { last } => {
                    let held = model.owner.get(&ip(last)).is_some_and(Option::is_some);
                    let released = block.release(&[release(last, None, None)], now, cooldown).unwrap();
                    prop_assert_eq!(released.count, usize::from(held));
                    if held {
                        model.release(ip(last), now);
                    }
                    model.collect(now, cooldown);
                }
                Step::Wait { seconds } => now = Timestamp(now.0 + seconds),
            }
            block.count_write();
            // Allocated and free addresses are all addresses, each once.
            let allocated: BTreeSet<IpAddr> = block.allocations().map(|a| a.addr).collect();
            prop_assert_eq!(&allocated, &model.owner.keys().copied().collect());
            prop_assert_eq!(allocated.len() + block.free(&none), block.size());
            let queue: Vec<IpAddr> = block.free_addresses().map(|(_, a)| a).collect();
            prop_assert_eq!(&queue, &model.free);
            // No attribute is left over, nothing is lost in storage.
            let used: BTreeSet<usize> = block.as_stored().allocations.iter().flatten().copied().collect();
            prop_assert_eq!(used.len(), block.as_stored().attributes.len());
            let again = Block::from_stored(serde_json::from_str(&text(&block)).unwrap()).unwrap();
            prop_assert_eq!(&again, &block);
        }
    }

    /// A release that names the sequence number of an allocation never frees a later one.
    #[test]
    fn a_sequence_number_names_one_allocation(rounds in 1..10u8) {
        let mut block = Block::new("10.0.0.0/32".parse().unwrap(), &Owner::Host("n1".into()), 7, T0).unwrap();
        let mut old: Option<u64> = None;
        for round in 0..rounds {
            prop_assert_eq!(block.assign_next(1, &holder(&round.to_string()), &Reservations::default()).len(), 1);
            let sequence = block.allocation(ip(0)).unwrap().sequence;
            block.count_write();
            if let Some(old) = old {
                prop_assert!(block.release(&[release(0, None, Some(old))], T0, 0).is_err());
            }
            block.release(&[release(0, None, Some(sequence))], T0, 0).unwrap();
            block.count_write();
            old = Some(sequence);
        }
    }

    /// Whatever JSON says, a block either is refused or works.
    #[test]
    fn any_stored_block_is_safe(
        allocations in proptest::collection::vec(proptest::option::of(0..4usize), 0..6),
        unallocated in proptest::collection::vec(0..8usize, 0..8),
        attributes in 0..4usize,
    ) {
        let data = AllocationBlock {
            allocations, unallocated,
            attributes: vec![AllocationAttribute::default(); attributes],
            ..Block::new("10.0.0.0/30".parse().unwrap(), &Owner::Host("n".into()), 0, T0).unwrap().data
        };
        if let Ok(mut block) = Block::from_stored(data) {
            block.collect(T0, 0);
            let all = block.used() + block.assign_next(9, &Holder::default(), &Reservations::default()).len();
            prop_assert_eq!(all, 4);
            prop_assert_eq!(block.allocations().count(), 4);
        }
    }
}
