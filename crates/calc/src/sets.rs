//! The sets that active rules refer to, and their members.

use crate::keyed::{HasKey, Keyed};
use crate::members::Members;
use crate::services::{Slice, Slices};
use crate::update::{Member, SetId, SetKind, Update};
use hashbrown::HashMap;
use slab::Slab;
use std::sync::Arc;
use tortie_labels::{Event, Index};
use tortie_model::value::{EndpointPort, StringMap};
use tortie_net::{Cidr, Protocol};
use tortie_selector::{Selector, unique_id};

/// What a set is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Definition {
    /// The addresses of what a selector selects.
    Selector(Selector),
    /// The same, under a name that does not depend on the selector.
    Fixed { name: &'static str, selector: Selector },
    /// The ports of this name of what a selector selects: of TCP, UDP or SCTP, or of any protocol.
    NamedPort { selector: Selector, protocol: Option<Protocol>, name: String },
    /// The endpoints of a Service (`namespace/name`), with their ports or only the addresses.
    Service { service: String, with_ports: bool },
}

impl Definition {
    /// The set's name; equal for equal definitions, on every node.
    pub(crate) fn id(&self) -> SetId {
        match self {
            Self::Selector(selector) => SetId(selector.unique_id_shared()),
            Self::Fixed { name, .. } => SetId((*name).into()),
            Self::NamedPort { selector, protocol, name } => {
                let protocol = match *protocol {
                    None => "any",
                    Some(Protocol::UDP) => "udp",
                    Some(Protocol::SCTP) => "sctp",
                    Some(_) => "tcp",
                };
                SetId(unique_id("n", &format!("{},{protocol},{name}", selector.unique_id_shared())).into())
            }
            Self::Service { service, with_ports: true } => SetId(unique_id("svc", service).into()),
            Self::Service { service, with_ports: false } => SetId(unique_id("svcnoport", service).into()),
        }
    }

    fn kind(&self) -> SetKind {
        match self {
            Self::Selector(_) | Self::Fixed { .. } | Self::Service { with_ports: false, .. } => SetKind::Net,
            Self::NamedPort { .. } | Self::Service { with_ports: true, .. } => SetKind::AddrPort,
        }
    }

    fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Selector(selector) | Self::Fixed { selector, .. } | Self::NamedPort { selector, .. } => {
                Some(selector)
            }
            Self::Service { .. } => None,
        }
    }
}

/// An endpoint or network set, as far as it makes members.
#[derive(Debug, PartialEq)]
pub(crate) struct Item {
    /// Any text that is unique among items.
    pub(crate) key: Box<str>,
    pub(crate) nets: Box<[Cidr]>,
    pub(crate) ports: Box<[EndpointPort]>,
}

impl Item {
    fn contribute(&self, definition: &Definition, mut visit: impl FnMut(Member)) {
        match definition {
            Definition::Selector(_) | Definition::Fixed { .. } => {
                self.nets.iter().for_each(|net| visit(Member::Net(*net)));
            }
            Definition::NamedPort { protocol, name, .. } => {
                for port in self.ports.iter().filter(|port| port.name == *name) {
                    let own = port.protocol.protocol().ok();
                    if let Some(own) = own.filter(|own| protocol.is_none_or(|wanted| wanted == *own)) {
                        let members = self.nets.iter().map(|n| Member::AddrPort(n.addr(), own, port.port));
                        members.for_each(&mut visit);
                    }
                }
            }
            Definition::Service { .. } => {}
        }
    }
}

impl HasKey for Item {
    type Key = str;

    fn key(&self) -> &str {
        &self.key
    }
}

/// A set in use.
#[derive(Debug)]
struct Set {
    id: SetId,
    definition: Definition,
    members: Members,
    users: u32,
    told: bool,
    dirty: bool,
}

/// Names one use of a set.
pub(crate) type SetSlot = u32;

/// All items, and the sets in use over them.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    items: Keyed<Item>,
    index: Index<u32, SetSlot>,
    slices: Slices,
    by_id: HashMap<SetId, SetSlot>,
    by_service: HashMap<Arc<str>, Vec<SetSlot>>,
    table: Table,
}

/// The part that index events change.
#[derive(Debug, Default)]
struct Table {
    sets: Slab<Set>,
    dirty: Vec<SetSlot>,
}

impl Table {
    fn touch(&mut self, slot: SetSlot) -> &mut Set {
        let set = &mut self.sets[slot as usize];
        if !set.dirty {
            set.dirty = true;
            self.dirty.push(slot);
        }
        set
    }

    fn add(&mut self, slot: SetSlot, item: &Item) {
        let Set { definition, members, .. } = self.touch(slot);
        item.contribute(definition, |member| members.insert(member));
    }

    fn remove(&mut self, slot: SetSlot, item: &Item) {
        let Set { definition, members, .. } = self.touch(slot);
        item.contribute(definition, |member| members.remove(member));
    }

    fn on_event(&mut self, items: &Keyed<Item>, event: Event<'_, u32, SetSlot>) {
        match event {
            Event::Started(&set, &item) => self.add(set, &items[item]),
            Event::Stopped(&set, &item) => self.remove(set, &items[item]),
        }
    }
}

impl Sets {
    // === inputs ===

    /// Adds or changes an item.
    pub(crate) fn set_item(&mut self, item: Item, labels: &StringMap, parents: &[String]) {
        let Self { items, index, table, .. } = self;
        let slot = match items.find(&item.key) {
            None => items.insert(item),
            Some(slot) => {
                if items[slot] != item {
                    let old = std::mem::replace(&mut items[slot], item);
                    for &set in index.matches(&slot) {
                        table.add(set, &items[slot]);
                        table.remove(set, &old);
                    }
                }
                slot
            }
        };
        let labels = labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let parents = parents.iter().map(String::as_str);
        index.set_item(&slot, labels, parents, &mut |event| table.on_event(items, event));
    }

    pub(crate) fn remove_item(&mut self, key: &str) {
        let Some(slot) = self.items.find(key) else {
            return;
        };
        let Self { items, index, table, .. } = self;
        index.remove_item(&slot, &mut |event| table.on_event(items, event));
        items.remove(slot);
    }

    /// Sets the labels that a profile gives to items; none is the same as no profile.
    pub(crate) fn set_parent(&mut self, name: &str, labels: &StringMap) {
        let Self { items, index, table, .. } = self;
        let labels = labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        index.set_parent(name, labels, &mut |event| table.on_event(items, event));
    }

    /// The labels of a profile.
    pub(crate) fn parent(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.index.parent(name)
    }

    /// Adds, changes or removes the EndpointSlice `namespace/name`.
    pub(crate) fn set_slice(&mut self, key: &str, slice: Option<Slice>) {
        let Self { slices, by_service, table, .. } = self;
        let mut apply = |slice: &Slice, change: fn(&mut Members, Member)| {
            for &slot in by_service.get(&slice.service).into_iter().flatten() {
                let Set { definition, members, .. } = table.touch(slot);
                let with_ports = definition.kind() == SetKind::AddrPort;
                slice.members(with_ports).for_each(|member| change(members, member));
            }
        };
        if let Some(slice) = &slice {
            apply(slice, Members::insert);
        }
        if let Some(old) = slices.set(key, slice) {
            apply(&old, Members::remove);
        }
    }

    // === use ===

    /// One more user of a set. Only a new set costs more than a look-up.
    pub(crate) fn acquire(&mut self, definition: Definition) -> SetSlot {
        let id = definition.id();
        if let Some(&slot) = self.by_id.get(&id) {
            self.table.touch(slot).users += 1;
            return slot;
        }
        let members = Members::new(definition.kind());
        let selector = definition.selector().cloned();
        let service = match &definition {
            Definition::Service { service, with_ports } => Some((service.clone(), *with_ports)),
            _ => None,
        };
        let set = Set { id: id.clone(), definition, members, users: 1, told: false, dirty: false };
        let slot = self.table.sets.insert(set) as SetSlot;
        self.by_id.insert(id, slot);
        let Self { items, index, slices, by_service, table, .. } = self;
        let set = table.touch(slot);
        if let Some((service, with_ports)) = service {
            for slice in slices.of(&service) {
                slice.members(with_ports).for_each(|member| set.members.insert(member));
            }
            by_service.entry(service.into()).or_default().push(slot);
        }
        if let Some(selector) = selector {
            index.set_selector(&slot, &selector, &mut |event| table.on_event(items, event));
        }
        slot
    }

    /// One user less. The set stays until the next flush, in case someone else takes it.
    pub(crate) fn release(&mut self, slot: SetSlot) {
        self.table.touch(slot).users -= 1;
    }

    // === output ===

    /// Tells new sets, and new and gone members.
    pub(crate) fn flush_changes(&mut self, out: &mut Vec<Update>) {
        let Table { sets, dirty } = &mut self.table;
        let start = out.len();
        for &slot in &*dirty {
            let set = &mut sets[slot as usize];
            if set.users == 0 {
                continue;
            }
            set.dirty = false;
            let id = set.id.clone();
            if set.told {
                let (added, removed) = set.members.tell_changes();
                if !added.is_empty() || !removed.is_empty() {
                    out.push(Update::SetDelta { id, added, removed });
                }
            } else {
                set.told = true;
                out.push(Update::Set { id, kind: set.definition.kind(), members: set.members.tell_all() });
            }
        }
        dirty.retain(|&slot| sets[slot as usize].dirty);
        // Output must not depend on the order of input.
        if let Some(told) = out.get_mut(start..) {
            told.sort_by(|a, b| set_id(a).cmp(&set_id(b)));
        }
    }

    /// Forgets the sets that nobody uses.
    pub(crate) fn flush_removals(&mut self, out: &mut Vec<Update>) {
        let start = out.len();
        for slot in std::mem::take(&mut self.table.dirty) {
            if self.table.sets[slot as usize].users > 0 {
                self.table.sets[slot as usize].dirty = false;
                continue;
            }
            let set = self.table.sets.remove(slot as usize);
            self.by_id.remove(&set.id);
            self.index.remove_selector(&slot, &mut |_| {});
            if let Definition::Service { service, .. } = &set.definition
                && let Some(slots) = self.by_service.get_mut(service.as_str())
            {
                slots.retain(|&s| s != slot);
                if slots.is_empty() {
                    self.by_service.remove(service.as_str());
                }
            }
            if set.told {
                out.push(Update::SetRemove(set.id));
            }
        }
        if let Some(told) = out.get_mut(start..) {
            told.sort_by(|a, b| set_id(a).cmp(&set_id(b)));
        }
    }

    /// The members of a set in use.
    pub(crate) fn members(&self, id: &SetId) -> Option<Vec<Member>> {
        let slot = *self.by_id.get(id)?;
        Some(self.table.sets[slot as usize].members.all())
    }
}

fn set_id(update: &Update) -> Option<&SetId> {
    match update {
        Update::Set { id, .. } | Update::SetDelta { id, .. } | Update::SetRemove(id) => Some(id),
        _ => None,
    }
}
