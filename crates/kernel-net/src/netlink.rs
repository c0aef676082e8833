//! The rtnetlink socket and its operations.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use nix::errno::Errno;
use tortie_net::Family;

use crate::channel::{Channel, Received};
use crate::{
    Action, Address, AddressError, AddressFilter, Batch, BatchReport, DumpError, Failed, Link, LinkChange,
    LinkError, LinkRef, Neighbour, NeighbourError, NeighbourFilter, NetNs, NetNsError, NewLink, RequestError,
    Route, RouteError, RouteFilter, Rule, RuleError, TransportError,
};

/// A socket to the kernel's network configuration, bound for ever to the namespace in which it was opened.
///
/// May be moved to and shared between threads in any namespace; operations take turns.
pub struct Netlink {
    channel: Mutex<Channel>,
    namespace: NetNs,
}

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The namespace is not accessible.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The kernel gives no socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread.
    pub fn open() -> Result<Self, OpenError> {
        let namespace = NetNs::current()?;
        let channel = Channel::open(&[]).map_err(OpenError::Socket)?;
        Ok(Self { channel: Mutex::new(channel), namespace })
    }

    /// Opens a socket in another namespace.
    pub fn open_in(namespace: &NetNs) -> Result<Self, OpenError> {
        namespace.run(Self::open)?
    }

    /// The namespace to which the socket is bound.
    pub fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    fn channel(&self) -> MutexGuard<'_, Channel> {
        // A panic in the middle of an exchange leaves nothing behind that the next exchange does not skip.
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Executes all changes of a batch in order. Per-change refusals are in the report; an error means that
    /// the fate of some changes is unknown.
    pub fn commit(&self, batch: &mut Batch) -> Result<BatchReport, TransportError> {
        self.commit_with(batch, |_, _| {})
    }

    /// The same, with what the kernel returns for those requests that ask for data.
    pub(crate) fn commit_with(
        &self,
        batch: &mut Batch,
        on_data: impl FnMut(usize, Received<'_>),
    ) -> Result<BatchReport, TransportError> {
        let refused = self.channel().execute(&mut batch.frames, on_data)?;
        Ok(BatchReport { refused })
    }

    /// Commits a batch that stands for one operation: the first refusal is its error.
    pub(crate) fn single(&self, batch: &mut Batch) -> Result<(), RequestError> {
        match self.commit(batch)?.refused.into_iter().next() {
            None => Ok(()),
            Some((_, error)) => Err(error.into()),
        }
    }

    // === links

    /// Makes an interface and returns it as the kernel made it; refused if the name is taken.
    pub fn add_link(&self, link: &NewLink<'_>) -> Result<Link, LinkError> {
        let reference = LinkRef::Name(link.name.clone());
        let fail = |source: RequestError| Failed::new(Action::Add, reference.clone(), source);
        let mut batch = Batch::new();
        batch.add_link(link);
        batch.get_link(&reference);
        let mut made = None;
        let report = self
            .commit_with(&mut batch, |_, data| made = Link::decode(data.payload))
            .map_err(|e| fail(e.into()))?;
        match (report.refused.into_iter().next(), made) {
            (Some((_, error)), _) => Err(fail(error.into())),
            (None, Some(made)) => Ok(made),
            (None, None) => {
                Err(fail(TransportError::Malformed("no description of the new interface".into()).into()))
            }
        }
    }

    /// Looks an interface up.
    pub fn link(&self, link: impl Into<LinkRef>) -> Result<Option<Link>, LinkError> {
        let link = link.into();
        let fail = |source: RequestError| Failed::new(Action::Get, link.clone(), source);
        let mut batch = Batch::new();
        batch.get_link(&link);
        let mut found = None;
        let report = self
            .commit_with(&mut batch, |_, data| found = Link::decode(data.payload))
            .map_err(|e| fail(e.into()))?;
        match report.refused.into_iter().next() {
            None => Ok(found),
            Some((_, error)) if error.errno == Errno::ENODEV => Ok(None),
            Some((_, error)) => Err(fail(error.into())),
        }
    }

    /// All interfaces.
    pub fn links(&self) -> Result<Vec<Link>, DumpError> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.dump("interfaces", &RouteNetlinkMessage::GetLink(request), |data| Link::decode(data.payload))
    }

    /// Changes an interface.
    pub fn set_link(&self, link: impl Into<LinkRef>, change: &LinkChange) -> Result<(), LinkError> {
        let link = link.into();
        self.single(Batch::new().set_link(&link, change)).map_err(|e| Failed::new(Action::Change, link, e))
    }

    /// Removes an interface.
    pub fn delete_link(&self, link: impl Into<LinkRef>) -> Result<(), LinkError> {
        let link = link.into();
        self.single(Batch::new().delete_link(&link)).map_err(|e| Failed::new(Action::Delete, link, e))
    }

    // === addresses

    /// Adds an address; refused if it is there.
    pub fn add_address(&self, address: &Address) -> Result<(), AddressError> {
        self.single(Batch::new().add_address(address))
            .map_err(|e| Failed::new(Action::Add, address.clone(), e))
    }

    /// Adds an address or updates its flags.
    pub fn replace_address(&self, address: &Address) -> Result<(), AddressError> {
        self.single(Batch::new().replace_address(address))
            .map_err(|e| Failed::new(Action::Replace, address.clone(), e))
    }

    /// Removes an address.
    pub fn delete_address(&self, address: &Address) -> Result<(), AddressError> {
        self.single(Batch::new().delete_address(address))
            .map_err(|e| Failed::new(Action::Delete, address.clone(), e))
    }

    /// Addresses of interfaces.
    pub fn addresses(&self, filter: AddressFilter) -> Result<Vec<Address>, DumpError> {
        self.dump("addresses", &filter.to_request(), |data| {
            Address::decode(data.payload).filter(|address| filter.matches(address))
        })
    }

    // === routes

    /// Adds a route; refused if there is one with the same destination, table and priority.
    pub fn add_route(&self, route: &Route) -> Result<(), RouteError> {
        self.single(Batch::new().add_route(route)).map_err(|e| Failed::new(Action::Add, route.clone(), e))
    }

    /// Adds a route or overwrites the one with the same destination, table and priority.
    pub fn replace_route(&self, route: &Route) -> Result<(), RouteError> {
        self.single(Batch::new().replace_route(route))
            .map_err(|e| Failed::new(Action::Replace, route.clone(), e))
    }

    /// Removes exactly this route, see [`Batch::delete_route`].
    pub fn delete_route(&self, route: &Route) -> Result<(), RouteError> {
        self.single(Batch::new().delete_route(route))
            .map_err(|e| Failed::new(Action::Delete, route.clone(), e))
    }

    /// Routes.
    pub fn routes(&self, filter: RouteFilter) -> Result<Vec<Route>, DumpError> {
        self.dump("routes", &filter.to_request(), |data| {
            Route::decode(data.payload).filter(|r| filter.matches(r))
        })
    }

    // === neighbours

    /// Adds a neighbour entry or overwrites the one with the same key.
    pub fn replace_neighbour(&self, neighbour: &Neighbour) -> Result<(), NeighbourError> {
        self.single(Batch::new().replace_neighbour(neighbour))
            .map_err(|e| Failed::new(Action::Replace, neighbour.clone(), e))
    }

    /// Removes a neighbour entry.
    pub fn delete_neighbour(&self, neighbour: &Neighbour) -> Result<(), NeighbourError> {
        self.single(Batch::new().delete_neighbour(neighbour))
            .map_err(|e| Failed::new(Action::Delete, neighbour.clone(), e))
    }

    /// Neighbour entries.
    pub fn neighbours(&self, filter: NeighbourFilter) -> Result<Vec<Neighbour>, DumpError> {
        self.dump("neighbours", &filter.to_request(), |data| {
            Neighbour::decode(data.payload).filter(|neighbour| filter.matches(neighbour))
        })
    }

    // === rules

    /// Adds a policy rule; refused if the same rule is there.
    pub fn add_rule(&self, rule: &Rule) -> Result<(), RuleError> {
        self.single(Batch::new().add_rule(rule)).map_err(|e| Failed::new(Action::Add, rule.clone(), e))
    }

    /// Removes a policy rule.
    pub fn delete_rule(&self, rule: &Rule) -> Result<(), RuleError> {
        self.single(Batch::new().delete_rule(rule)).map_err(|e| Failed::new(Action::Delete, rule.clone(), e))
    }

    /// Policy rules.
    pub fn rules(&self, family: Option<Family>) -> Result<Vec<Rule>, DumpError> {
        self.dump("policy rules", &Rule::list_request(family), |data| Rule::decode(data.payload))
    }

    pub(crate) fn dump<T>(
        &self,
        what: &'static str,
        request: &RouteNetlinkMessage,
        decode: impl FnMut(Received<'_>) -> Option<T>,
    ) -> Result<Vec<T>, DumpError> {
        self.channel().dump(request, decode).map_err(|source| DumpError { what, source })
    }
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Netlink({})", self.namespace.id())
    }
}
