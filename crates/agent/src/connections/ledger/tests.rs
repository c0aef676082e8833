//! Whatever happens in whatever order: nobody gets an address with a connection of somebody else.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;
use tortie_model::WorkloadId;
use tortie_model::value::{AllocationAttribute, WorkloadEndpoint};

const NODE: &str = "here";
const SIZE: usize = 4;
/// How long a walk takes.
const TOOK: Duration = Duration::from_millis(12);

/// Which container, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Holder {
    id: usize,
    remote: bool,
}

/// An address of the block, as it is.
#[derive(Clone, Debug, Default)]
struct Place {
    /// In the datastore.
    holder: Option<Holder>,
    /// Assigned, and the ledger not yet asked.
    untaken: bool,
    /// Asked for, and not yet allowed to have an interface.
    waits: Option<Option<Ticket>>,
    /// The interface is there.
    attached: bool,
    /// Released in the datastore, and the ledger not yet told.
    released: Vec<usize>,
    /// Who has entries in the connection table of this node, by when they were made.
    entries: Vec<Holder>,
    /// How many of them the walk under way has passed by: those made since it began.
    fresh: Vec<Holder>,
}

struct World {
    block: Cidr,
    ledger: Ledger,
    places: Vec<Place>,
    events: VecDeque<(usize, bool, Change)>,
    walk: Option<Vec<IpAddr>>,
    now: Duration,
    next: usize,
}

#[derive(Clone, Debug)]
enum Op {
    Assign(usize, bool),
    Take(usize),
    Attach(usize),
    Send(usize),
    Unlink(usize),
    Release(usize),
    Told(usize),
    Deliver,
    Begin,
    End(bool),
    Gap,
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..SIZE;
    prop_oneof![
        3 => (at.clone(), any::<bool>()).prop_map(|(at, remote)| Op::Assign(at, remote)),
        4 => at.clone().prop_map(Op::Take),
        4 => at.clone().prop_map(Op::Attach),
        4 => at.clone().prop_map(Op::Send),
        3 => at.clone().prop_map(Op::Unlink),
        3 => at.clone().prop_map(Op::Release),
        3 => at.prop_map(Op::Told),
        4 => Just(Op::Deliver),
        3 => Just(Op::Begin),
        3 => prop::bool::weighted(0.8).prop_map(Op::End),
        1 => Just(Op::Gap),
    ]
}

fn attribute(holder: Option<Holder>) -> AllocationAttribute {
    let handle_id = holder.map(|holder| format!("k8s-pod-network.{}", holder.id));
    AllocationAttribute { handle_id, ..AllocationAttribute::default() }
}

impl World {
    fn new(block: &str, entries: &[usize]) -> Self {
        let mut world = Self {
            block: block.parse().unwrap(),
            ledger: Ledger::new(NODE),
            places: vec![Place::default(); SIZE],
            events: VecDeque::new(),
            walk: None,
            now: Duration::ZERO,
            next: 1,
        };
        // What an earlier run of the agent has left.
        for at in entries {
            world.places[*at].entries.push(Holder { id: 0, remote: false });
        }
        let change = world.stored();
        world.ledger.on_change(&change);
        world.ledger.in_sync();
        world
    }

    fn address(&self, at: usize) -> IpAddr {
        address(self.block, at).unwrap()
    }

    fn stored(&self) -> Change {
        let block = AllocationBlock {
            cidr: self.block,
            affinity: Some(format!("host:{NODE}")),
            affinity_claim_time: None,
            allocations: self.places.iter().enumerate().map(|(at, p)| p.holder.map(|_| at)).collect(),
            unallocated: Vec::new(),
            attributes: self.places.iter().map(|p| attribute(p.holder)).collect(),
            sequence_number: 0,
            sequence_number_for_allocation: BTreeMap::new(),
            deleted: false,
            host_affinity: None,
        };
        Change { key: Key::Block(self.block), value: Some(Value::Block(Arc::new(block))) }
    }

    fn endpoint(&self, holder: Holder, at: Option<usize>) -> Change {
        let id = WorkloadId {
            host: if holder.remote { "there" } else { NODE }.to_owned(),
            orchestrator: "k8s".to_owned(),
            workload: format!("app/{}", holder.id),
            endpoint: "eth0".to_owned(),
        };
        let endpoint = |at| WorkloadEndpoint {
            ipv4_nets: vec![Cidr::host(self.address(at))],
            ..WorkloadEndpoint::default()
        };
        let value = at.map(|at| Value::WorkloadEndpoint(Arc::new(endpoint(at))));
        Change { key: Key::WorkloadEndpoint(id), value }
    }

    fn tell(&mut self, at: usize, remote: bool, change: Change) {
        self.events.push_back((at, remote, change));
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        self.now += Duration::from_millis(7);
        match *op {
            Op::Assign(at, remote) => self.assign(at, remote),
            Op::Take(at) => self.take(at),
            Op::Attach(at) => self.attach(at)?,
            Op::Send(at) => {
                let place = &mut self.places[at];
                if let Some(holder) = place.holder.filter(|_| place.attached) {
                    place.entries.push(holder);
                    place.fresh.push(holder);
                }
            }
            Op::Unlink(at) => {
                // The record is emptied first, then the interface goes.
                let place = &mut self.places[at];
                if std::mem::take(&mut place.attached)
                    && let Some(holder) = place.holder
                {
                    let change = self.endpoint(holder, None);
                    self.tell(at, holder.remote, change);
                }
            }
            Op::Release(at) => {
                let place = &mut self.places[at];
                if !place.attached
                    && place.waits.is_none()
                    && let Some(holder) = place.holder.take()
                {
                    // An ADD may have failed before it asked.
                    place.untaken = false;
                    if !holder.remote {
                        place.released.push(holder.id);
                    }
                    let change = self.stored();
                    self.tell(at, holder.remote, change);
                }
            }
            Op::Told(at) => {
                if let Some(id) = self.places[at].released.pop() {
                    let address = self.address(at);
                    self.ledger.release(&id.to_string(), &[address]);
                }
            }
            Op::Deliver => {
                if let Some((_, _, change)) = self.events.pop_front() {
                    self.ledger.on_change(&change);
                }
            }
            Op::Begin => {
                if self.walk.is_none()
                    && let Some(addresses) = self.ledger.begin(self.now)
                {
                    self.walk = Some(addresses);
                    self.places.iter_mut().for_each(|p| p.fresh.clear());
                }
            }
            Op::End(good) => self.end(good),
            Op::Gap => {
                self.events.clear();
                let holders: Vec<_> = self
                    .places
                    .iter()
                    .enumerate()
                    .filter_map(|(at, p)| Some((at, p.holder?, p.attached)))
                    .collect();
                for (at, holder, attached) in holders {
                    let change = self.endpoint(holder, attached.then_some(at));
                    self.ledger.on_change(&change);
                }
                let change = self.stored();
                self.ledger.on_change(&change);
                self.ledger.gap();
            }
        }
        Ok(())
    }

    fn assign(&mut self, at: usize, remote: bool) {
        // The ledger trusts that it has heard of what a remote holder did when the address comes back to this node.
        let unheard = self.events.iter().any(|(other, remote, _)| *other == at && *remote);
        if self.places[at].holder.is_some() || unheard && !remote {
            return;
        }
        let holder = Holder { id: self.next, remote };
        self.next += 1;
        self.places[at].holder = Some(holder);
        let change = self.stored();
        self.tell(at, remote, change);
        if remote {
            self.places[at].waits = Some(None);
        } else {
            self.places[at].untaken = true;
        }
    }

    fn take(&mut self, at: usize) {
        let address = self.address(at);
        let place = &mut self.places[at];
        if let Some(holder) = place.holder.filter(|_| std::mem::take(&mut place.untaken)) {
            place.waits = Some(self.ledger.take(&holder.id.to_string().into(), &[address]));
        }
    }

    fn attach(&mut self, at: usize) -> Result<(), TestCaseError> {
        let place = &mut self.places[at];
        let (Some(waits), Some(holder)) = (place.waits, place.holder) else { return Ok(()) };
        if !holder.remote {
            match waits.and_then(|ticket| self.ledger.outcome(ticket)) {
                Some(Ok(())) => {}
                None if waits.is_none() => {}
                // The pod is refused; its address goes back.
                Some(Err(_)) => {
                    place.waits = None;
                    return Ok(());
                }
                None => return Ok(()),
            }
            prop_assert_eq!(&place.entries, &Vec::new(), "address {} of {:?}", at, holder);
        }
        place.waits = None;
        place.attached = true;
        let change = self.endpoint(holder, Some(at));
        self.tell(at, holder.remote, change);
        Ok(())
    }

    fn end(&mut self, good: bool) {
        let Some(addresses) = self.walk.take() else { return };
        for at in 0..SIZE {
            if good && addresses.contains(&self.address(at)) {
                let place = &mut self.places[at];
                place.entries = std::mem::take(&mut place.fresh);
            }
        }
        let outcome = if good { Ok(()) } else { Err("no memory".to_owned()) };
        self.ledger.end(self.now, TOOK, outcome);
    }

    /// Everything is told, and walks succeed.
    fn settle(&mut self) {
        for at in 0..SIZE {
            while let Some(id) = self.places[at].released.pop() {
                let address = self.address(at);
                self.ledger.release(&id.to_string(), &[address]);
            }
        }
        while let Some((_, _, change)) = self.events.pop_front() {
            self.ledger.on_change(&change);
        }
        self.end(true);
        while let Due::At(time) = self.ledger.due() {
            self.now = self.now.max(time);
            self.walk = self.ledger.begin(self.now);
            self.places.iter_mut().for_each(|p| p.fresh.clear());
            self.end(true);
        }
    }
}

proptest! {
    #[test]
    fn no_address_changes_hands_with_its_connections(
        block in prop_oneof![Just("10.65.0.0/30"), Just("fd65::/126")],
        left in vec(0..SIZE, 0..3),
        ops in vec(op(), 0..200),
    ) {
        let mut world = World::new(block, &left);
        for op in &ops {
            world.apply(op)?;
        }
        world.settle();
        for at in 0..SIZE {
            let address = world.address(at);
            let place = &world.places[at];
            if place.holder.is_none() {
                prop_assert_eq!(&place.entries, &Vec::new(), "address {} is free", at);
                let ticket = world.ledger.take(&"next".into(), &[address]);
                prop_assert_eq!(ticket, None, "address {} is free and everything has been told", at);
            }
        }
    }
}

fn world() -> World {
    let mut world = World::new("10.65.0.0/30", &[]);
    world.settle();
    world
}

#[test]
fn a_free_address_costs_no_walk() {
    let mut world = world();
    let address = world.address(1);
    assert_eq!(world.ledger.take(&"a".into(), &[address]), None);
    assert_eq!(world.ledger.due(), Due::Never);
    world.ledger.release("a", &[address]);
    assert!(world.ledger.take(&"b".into(), &[address]).is_some(), "it has just been somebody's");
    assert_eq!(world.ledger.due(), Due::At(Duration::ZERO), "a pod waits");
}

#[test]
fn the_news_of_an_assignment_may_be_quicker_than_the_pod() {
    let mut world = world();
    world.apply(&Op::Assign(1, false)).unwrap();
    world.apply(&Op::Deliver).unwrap();
    world.apply(&Op::Take(1)).unwrap();
    assert_eq!(world.places[1].waits, Some(None), "it was clean when it was assigned");
    // Promised to one is not promised to all.
    world.apply(&Op::Assign(2, false)).unwrap();
    world.apply(&Op::Deliver).unwrap();
    assert!(world.ledger.take(&"another".into(), &[world.address(2)]).is_some());
}

#[test]
fn whoever_is_late_does_not_take_the_address_of_the_next() {
    let mut world = world();
    let address = world.address(1);
    world.ledger.take(&"a".into(), &[address]);
    let ticket = world.ledger.take(&"b".into(), &[address]).unwrap();
    world.walk = world.ledger.begin(world.now);
    world.end(true);
    assert_eq!(world.ledger.outcome(ticket), Some(Ok(())));
    world.ledger.release("a", &[address]);
    assert_eq!(world.ledger.due(), Due::Never, "the connections are the next one's");
}

#[test]
fn addresses_that_vanish_elsewhere_share_walks_and_leave_time_to_others() {
    let mut world = world();
    let holders: Vec<Holder> = (0..2).map(|id| Holder { id, remote: true }).collect();
    let (mut walks, mut waited) = (0, false);
    let end = world.now + Duration::from_mins(1);
    while world.now < end {
        for holder in &holders {
            world.ledger.on_change(&world.endpoint(*holder, Some(holder.id)));
            world.ledger.on_change(&world.endpoint(*holder, None));
        }
        match world.ledger.begin(world.now) {
            Some(addresses) => {
                assert_eq!(addresses.len(), 2);
                assert!(walks > 10 || !waited, "a few follow each other at once");
                walks += 1;
                world.now += TOOK;
                world.ledger.end(world.now, TOOK, Ok(()));
            }
            None => waited = true,
        }
        world.now += Duration::from_millis(1);
    }
    let share = (AHEAD + Duration::from_mins(1)) / REST;
    assert!(TOOK * walks <= share + TOOK * 2, "{walks} walks");
}
