//! BPF programs that look at the packets of an interface (filters of `clsact`): which there are, and taking them off.
//!
//! We make none.

use std::fmt;

use netlink_packet_core::{NLM_F_ACK, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use crate::channel::Received;
use crate::{Action, Batch, DumpError, Failed, LinkIndex, Netlink, wire};

/// Which packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Those that it receives.
    Ingress,
    /// Those that it sends.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: u16::MAX, minor }
    }
}

/// A program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The interface.
    pub link: LinkIndex,
    /// For which packets.
    pub direction: Direction,
    /// Its name, as whoever attached it called it.
    pub name: String,
    /// Number of the filter.
    handle: u32,
    /// Priority in the upper half, protocol in the lower one.
    info: u32,
}

/// An operation on a program failed.
pub type ProgramError = Failed<Program>;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        write!(f, "BPF program {} ({direction} of interface {})", self.name, self.link.0)
    }
}

impl Netlink {
    /// The programs on an interface; none if it is gone.
    pub fn programs(&self, link: LinkIndex) -> Result<Vec<Program>, DumpError> {
        let mut found = Vec::new();
        for direction in Direction::ALL {
            let mut request = TcMessage::default();
            request.header.index = link.0.cast_signed();
            request.header.parent = direction.parent();
            let request = RouteNetlinkMessage::GetTrafficFilter(request);
            found.extend(self.dump("BPF programs", &request, |data| decode(link, direction, data))?);
        }
        Ok(found)
    }

    /// Takes a program off its interface.
    pub fn delete_program(&self, program: &Program) -> Result<(), ProgramError> {
        let mut message = TcMessage::default();
        let header = &mut message.header;
        header.index = program.link.0.cast_signed();
        header.parent = program.direction.parent();
        header.handle = TcHandle::from(program.handle);
        header.info = program.info;
        message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        let mut batch = Batch::new();
        batch.frames.push(RouteNetlinkMessage::DelTrafficFilter(message), NLM_F_ACK);
        self.single(&mut batch).map_err(|e| Failed::new(Action::Delete, program.clone(), e))
    }
}

fn decode(link: LinkIndex, direction: Direction, data: Received<'_>) -> Option<Program> {
    const HEADER: usize = 20;
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    const TCA_BPF_NAME: u16 = 7;
    let word = |at: usize| data.payload.get(at..).and_then(wire::word);
    let (handle, info) = (word(8)?, word(16)?);
    let mut bpf = false;
    let mut name = None;
    for nla in wire::attributes(data.payload, HEADER) {
        match nla.kind() {
            TCA_KIND => bpf = wire::text(nla.value()) == "bpf",
            TCA_OPTIONS => {
                let mut options = NlasIterator::new(nla.value()).flatten();
                name = options.find(|o| o.kind() == TCA_BPF_NAME).map(|o| wire::text(o.value()));
            }
            _ => {}
        }
    }
    Some(Program { link, direction, name: name.filter(|_| bpf)?, handle, info })
}
