//! Policy rules: which routing table decides about which packets.

use std::fmt;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteProtocol as WireProtocol;
use netlink_packet_route::rule::{RuleAction as WireAction, RuleAttribute, RuleFlags, RuleMessage};
use tortie_net::{Cidr, Family};

use crate::{RouteProtocol, TableId, wire};

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The family for which it holds.
    pub family: Family,
    /// The order: the lowest is asked first.
    pub priority: u32,
    /// What happens to packets that match.
    pub action: RuleAction,
    /// Matches the packets that do not meet the conditions.
    pub invert: bool,
    /// Condition: mark and mask.
    pub mark: Option<(u32, u32)>,
    /// Condition: source.
    pub src: Option<Cidr>,
    /// Condition: destination.
    pub dst: Option<Cidr>,
    /// Condition: the interface by which the packet came.
    pub input: Option<String>,
    /// Condition: the interface to which the sending socket is bound.
    pub output: Option<String>,
    /// Who made it.
    pub protocol: RouteProtocol,
}

/// What happens to packets that match a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleAction {
    /// This table is asked.
    Table(TableId),
    /// They are dropped in silence.
    Blackhole,
    /// They are answered with "network unreachable".
    Unreachable,
    /// They are answered with "administratively prohibited".
    Prohibit,
    /// Something else, by the kernel's number.
    Other(u8),
}

impl Rule {
    /// A rule without conditions that asks a table.
    pub fn new(family: Family, priority: u32, table: TableId) -> Self {
        Self {
            family,
            priority,
            action: RuleAction::Table(table),
            invert: false,
            mark: None,
            src: None,
            dst: None,
            input: None,
            output: None,
            protocol: RouteProtocol::BOOT,
        }
    }

    pub(crate) fn to_message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let header = &mut message.header;
        let attributes = &mut message.attributes;
        header.family = wire::af(Some(self.family));
        header.action = match self.action {
            RuleAction::Table(table) => {
                header.table = u8::try_from(table.0).unwrap_or_default();
                attributes.push(RuleAttribute::Table(table.0));
                WireAction::ToTable
            }
            RuleAction::Blackhole => WireAction::Blackhole,
            RuleAction::Unreachable => WireAction::Unreachable,
            RuleAction::Prohibit => WireAction::Prohibit,
            RuleAction::Other(number) => WireAction::from(number),
        };
        if self.invert {
            header.flags |= RuleFlags::Invert;
        }
        attributes.push(RuleAttribute::Priority(self.priority));
        attributes.push(RuleAttribute::Protocol(WireProtocol::from(self.protocol.0)));
        if let Some((mark, mask)) = self.mark {
            attributes.push(RuleAttribute::FwMark(mark));
            attributes.push(RuleAttribute::FwMask(mask));
        }
        if let Some(src) = self.src {
            header.src_len = src.len();
            attributes.push(RuleAttribute::Source(src.addr()));
        }
        if let Some(dst) = self.dst {
            header.dst_len = dst.len();
            attributes.push(RuleAttribute::Destination(dst.addr()));
        }
        attributes.extend(self.input.clone().map(RuleAttribute::Iifname));
        attributes.extend(self.output.clone().map(RuleAttribute::Oifname));
        message
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        const HEADER: usize = 12;
        const FRA_DST: u16 = 1;
        const FRA_SRC: u16 = 2;
        const FRA_IIFNAME: u16 = 3;
        const FRA_PRIORITY: u16 = 6;
        const FRA_FWMARK: u16 = 10;
        const FRA_TABLE: u16 = 15;
        const FRA_FWMASK: u16 = 16;
        const FRA_OIFNAME: u16 = 17;
        const FRA_PROTOCOL: u16 = 21;
        // struct fib_rule_hdr: family, dst_len, src_len, tos, table, reserved (2), action, flags (4)
        let [family, dst_len, src_len, _, table, _, _, action, flags @ ..] =
            *payload.first_chunk::<HEADER>()?;
        let family = wire::family(family)?;
        let flags = RuleFlags::from_bits_retain(u32::from_ne_bytes(flags));
        let mut table = TableId(table.into());
        let mut rule = Self {
            invert: flags.contains(RuleFlags::Invert),
            protocol: RouteProtocol(0),
            ..Self::new(family, 0, table)
        };
        let (mut mark, mut mask) = (None, None);
        for nla in wire::attributes(payload, HEADER) {
            let value = nla.value();
            match nla.kind() {
                FRA_DST => rule.dst = wire::cidr(family, wire::ip(value), dst_len),
                FRA_SRC => rule.src = wire::cidr(family, wire::ip(value), src_len),
                FRA_IIFNAME => rule.input = Some(wire::text(value)),
                FRA_OIFNAME => rule.output = Some(wire::text(value)),
                FRA_PRIORITY => rule.priority = wire::word(value)?,
                FRA_TABLE => table = TableId(wire::word(value)?),
                FRA_FWMARK => mark = wire::word(value),
                FRA_FWMASK => mask = wire::word(value),
                FRA_PROTOCOL => rule.protocol = RouteProtocol(value.first().copied()?),
                _ => {}
            }
        }
        rule.mark = match (mark, mask) {
            (None, None | Some(0)) => None,
            (mark, mask) => Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX))),
        };
        rule.action = match WireAction::from(action) {
            WireAction::ToTable => RuleAction::Table(table),
            WireAction::Blackhole => RuleAction::Blackhole,
            WireAction::Unreachable => RuleAction::Unreachable,
            WireAction::Prohibit => RuleAction::Prohibit,
            _ => RuleAction::Other(action),
        };
        Some(rule)
    }

    pub(crate) fn list_request(family: Option<Family>) -> RouteNetlinkMessage {
        let mut message = RuleMessage::default();
        message.header.family = wire::af(family);
        RouteNetlinkMessage::GetRule(message)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule with priority {}", self.family, self.priority)?;
        match self.action {
            RuleAction::Table(table) => write!(f, " for table {}", table.0),
            action => write!(f, " ({action:?})"),
        }
    }
}
