//! Many changes in few system calls.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use crate::channel::Frames;
use crate::{Address, KernelError, LinkChange, LinkRef, Neighbour, NewLink, NewLinkKind, Route, Rule};

/// A sequence of changes for [`crate::Netlink::commit`]. The kernel executes them in order, each on its own:
/// a refused change does not stop those after it.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) frames: Frames,
}

/// Which changes of a batch the kernel refused.
#[derive(Clone, Debug, Default)]
pub struct BatchReport {
    /// Index of the change in the batch and the refusal, in ascending order.
    pub refused: Vec<(usize, KernelError)>,
}

impl BatchReport {
    /// Whether all changes were executed.
    pub fn is_ok(&self) -> bool {
        self.refused.is_empty()
    }

    /// The refusal of one change.
    pub fn error(&self, index: usize) -> Option<&KernelError> {
        self.refused.binary_search_by_key(&index, |(i, _)| *i).ok().map(|at| &self.refused[at].1)
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, message: RouteNetlinkMessage, flags: u16) -> &mut Self {
        self.frames.push(message, flags);
        self
    }

    /// Makes an interface; refused if the name is taken. May count as several changes.
    pub fn add_link(&mut self, link: &NewLink<'_>) -> &mut Self {
        self.push(RouteNetlinkMessage::NewLink(link.to_message()), NLM_F_CREATE | NLM_F_EXCL);
        if let Some(alias) = &link.alias {
            // The kernel ignores the alias in a creation.
            let change = LinkChange { alias: Some(alias.clone()), ..LinkChange::default() };
            self.set_link(&LinkRef::Name(link.name.clone()), &change);
        }
        if let NewLinkKind::Veth(peer) = &link.kind
            && link.up
            && peer.namespace.is_none()
        {
            self.set_link(&LinkRef::Name(peer.name.clone()), &LinkChange::up());
        }
        self
    }

    /// Changes an interface.
    pub fn set_link(&mut self, link: &LinkRef, change: &LinkChange) -> &mut Self {
        self.push(RouteNetlinkMessage::SetLink(change.to_message(link)), 0)
    }

    /// Removes an interface.
    pub fn delete_link(&mut self, link: &LinkRef) -> &mut Self {
        self.push(RouteNetlinkMessage::DelLink(link.to_message()), 0)
    }

    /// Asks for an interface; the answer comes as data.
    pub(crate) fn get_link(&mut self, link: &LinkRef) -> &mut Self {
        self.push(RouteNetlinkMessage::GetLink(link.to_query()), 0)
    }

    /// Adds an address; refused if it is there.
    pub fn add_address(&mut self, address: &Address) -> &mut Self {
        self.push(RouteNetlinkMessage::NewAddress(address.to_message()), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds an address or updates its flags.
    pub fn replace_address(&mut self, address: &Address) -> &mut Self {
        self.push(RouteNetlinkMessage::NewAddress(address.to_message()), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes an address.
    pub fn delete_address(&mut self, address: &Address) -> &mut Self {
        self.push(RouteNetlinkMessage::DelAddress(address.to_message()), 0)
    }

    /// Adds a route; refused if there is one with the same destination, table and priority.
    pub fn add_route(&mut self, route: &Route) -> &mut Self {
        self.push(RouteNetlinkMessage::NewRoute(route.to_message()), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route or overwrites the one with the same destination, table and priority.
    pub fn replace_route(&mut self, route: &Route) -> &mut Self {
        self.push(RouteNetlinkMessage::NewRoute(route.to_message()), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes exactly this route: destination, table, protocol, kind and next hops must agree,
    /// and the priority where the route states one.
    pub fn delete_route(&mut self, route: &Route) -> &mut Self {
        self.push(RouteNetlinkMessage::DelRoute(route.to_delete_message()), 0)
    }

    /// Adds a neighbour entry or overwrites the one with the same key.
    pub fn replace_neighbour(&mut self, neighbour: &Neighbour) -> &mut Self {
        self.push(RouteNetlinkMessage::NewNeighbour(neighbour.to_message()), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a neighbour entry.
    pub fn delete_neighbour(&mut self, neighbour: &Neighbour) -> &mut Self {
        self.push(RouteNetlinkMessage::DelNeighbour(neighbour.to_message()), 0)
    }

    /// Adds a policy rule; refused if the same rule is there.
    pub fn add_rule(&mut self, rule: &Rule) -> &mut Self {
        self.push(RouteNetlinkMessage::NewRule(rule.to_message()), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes a policy rule.
    pub fn delete_rule(&mut self, rule: &Rule) -> &mut Self {
        self.push(RouteNetlinkMessage::DelRule(rule.to_message()), 0)
    }
}
