//! BGPFilters: rules that look at routes on their way to and from peers.

use crate::Community;
use crate::text::Text;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use tortie_net::{Cidr, Family};

/// Local preferences and metrics are converted into each other as `2^31 - 1 - x`: more important routes have a lower
/// metric in the kernel and a higher preference in BGP.
pub(crate) const PREFERENCE_BASE: u32 = i32::MAX as u32;

/// Longest name in a generated function name, so that the whole stays within 64 characters.
const MAX_NAME: usize = 45;

/// The rules of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// For IPv4 routes received.
    pub import_v4: Vec<Rule>,
    /// For IPv4 routes told.
    pub export_v4: Vec<Rule>,
    /// For IPv6 routes received.
    pub import_v6: Vec<Rule>,
    /// For IPv6 routes told.
    pub export_v6: Vec<Rule>,
}

/// What to do with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take it.
    Accept,
    /// Drop it.
    Reject,
}

/// How a route's prefix relates to a rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOperator {
    /// Is it.
    Equal,
    /// Is another.
    NotEqual,
    /// Is it, or lies in it.
    In,
    /// Is neither it nor in it.
    NotIn,
}

/// The prefix condition of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CidrMatch {
    /// The prefix.
    pub cidr: Cidr,
    /// How to compare.
    pub operator: MatchOperator,
    /// Shortest and longest prefix length that matches, where limited.
    pub lengths: Option<(Option<u8>, Option<u8>)>,
}

/// Kind of peer that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerType {
    /// In another AS.
    External,
    /// In the same AS.
    Internal,
}

/// A change to a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds a community.
    AddCommunity(Community),
    /// Puts AS numbers in front of the path.
    PrependAsPath(Vec<u32>),
    /// Sets the metric.
    SetPriority(u32),
}

/// A rule: if all conditions hold, the operations are done and the action ends the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What becomes of the route.
    pub action: Action,
    /// Its prefix.
    pub cidr: Option<CidrMatch>,
    /// It was learnt from a peer.
    pub from_remote_peers: bool,
    /// Its interface, with `*` perhaps.
    pub interface: Option<String>,
    /// Kind of the peer.
    pub peer_type: Option<PeerType>,
    /// It carries this community.
    pub community: Option<Community>,
    /// Its AS path begins so.
    pub as_path_prefix: Vec<u32>,
    /// It has this metric.
    pub priority: Option<u32>,
    /// Changes, in order.
    pub operations: Vec<Operation>,
}

impl Rule {
    /// A rule for all routes.
    pub fn new(action: Action) -> Self {
        Self {
            action,
            cidr: None,
            from_remote_peers: false,
            interface: None,
            peer_type: None,
            community: None,
            as_path_prefix: Vec::new(),
            priority: None,
            operations: Vec::new(),
        }
    }

    fn conditions(&self) -> Vec<String> {
        let mut conditions = Vec::new();
        match self.peer_type {
            Some(PeerType::Internal) => conditions.push("same_as".to_owned()),
            Some(PeerType::External) => conditions.push("!same_as".to_owned()),
            None => {}
        }
        conditions.extend(self.cidr.map(CidrMatch::condition));
        if self.from_remote_peers {
            conditions.push("source = RTS_BGP".to_owned());
        }
        if let Some(interface) = &self.interface {
            conditions.push(format!("defined(ifname) && ifname ~ \"{interface}\""));
        }
        conditions.extend(self.community.map(|c| format!("{c} ~ {}", c.attribute())));
        if !self.as_path_prefix.is_empty() {
            conditions.push(format!("bgp_path ~ [= {} * =]", join(&self.as_path_prefix)));
        }
        if let Some(priority) = self.priority {
            let preference = PREFERENCE_BASE.saturating_sub(priority);
            conditions.push(format!("defined(bgp_local_pref) && bgp_local_pref = {preference}"));
        }
        conditions
    }

    fn statements(&self) -> Vec<String> {
        let mut statements = Vec::new();
        for operation in &self.operations {
            match operation {
                Operation::AddCommunity(c) => statements.push(format!("{}.add({c});", c.attribute())),
                // Each goes to the front, so the last one goes first.
                Operation::PrependAsPath(path) => {
                    statements.extend(path.iter().rev().map(|n| format!("bgp_path.prepend({n});")));
                }
                Operation::SetPriority(priority) => {
                    statements
                        .push(format!("bgp_local_pref = {};", PREFERENCE_BASE.saturating_sub(*priority)));
                }
            }
        }
        statements.push(match self.action {
            Action::Accept => "accept;".to_owned(),
            Action::Reject => "reject;".to_owned(),
        });
        statements
    }
}

impl CidrMatch {
    fn condition(self) -> String {
        let Self { cidr, operator, lengths } = self;
        let operand = match lengths {
            None => cidr.to_string(),
            Some((min, max)) => {
                let min = min.unwrap_or_default().max(cidr.len());
                let max = max.unwrap_or(u8::MAX).min(cidr.family().bits());
                // A range that nothing fits is none in BIRD's language.
                if min > max {
                    let never = matches!(operator, MatchOperator::In | MatchOperator::Equal);
                    return if never { "false".to_owned() } else { "true".to_owned() };
                }
                format!("[ {cidr}{{{min},{max}}} ]")
            }
        };
        // A prefix set can only be asked for membership.
        let symbol = match (operator, lengths.is_some()) {
            (MatchOperator::Equal, false) => "=",
            (MatchOperator::NotEqual, false) => "!=",
            (MatchOperator::In | MatchOperator::Equal, _) => "~",
            (MatchOperator::NotIn | MatchOperator::NotEqual, _) => "!~",
        };
        format!("net {symbol} {operand}")
    }
}

/// One of the four lists of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Import,
    Export,
}

impl Direction {
    pub(crate) const ALL: [Self; 2] = [Self::Import, Self::Export];

    fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Export => "export",
        }
    }
}

impl Filter {
    /// A filter that lets nothing pass.
    pub fn reject_all() -> Self {
        let reject = || vec![Rule::new(Action::Reject)];
        Self { import_v4: reject(), export_v4: reject(), import_v6: reject(), export_v6: reject() }
    }

    pub(crate) fn rules(&self, direction: Direction, family: Family) -> &[Rule] {
        match (direction, family) {
            (Direction::Import, Family::V4) => &self.import_v4,
            (Direction::Export, Family::V4) => &self.export_v4,
            (Direction::Import, Family::V6) => &self.import_v6,
            (Direction::Export, Family::V6) => &self.export_v6,
        }
    }

    /// Writes the functions that sessions call.
    pub(crate) fn render(&self, name: &str, text: &mut Text) {
        for (direction, family) in Direction::ALL.into_iter().flat_map(|d| Family::ALL.map(|f| (d, f))) {
            let rules = self.rules(direction, family);
            if rules.is_empty() {
                continue;
            }
            text.block(
                &format!("function {}(bool same_as)", function_name(name, direction, family)),
                |text| {
                    for rule in rules {
                        let (conditions, statements) = (rule.conditions(), rule.statements().join(" "));
                        if conditions.is_empty() {
                            text.line(&statements);
                        } else {
                            text.line(&format!("if {} then {{ {statements} }}", conditions.join(" && ")));
                        }
                    }
                },
            );
            text.gap();
        }
    }
}

/// The function of a filter. Long names are cut and told apart by a hash.
pub(crate) fn function_name(filter: &str, direction: Direction, family: Family) -> String {
    let mut name = filter.to_owned();
    if name.len() > MAX_NAME {
        let digest = Sha256::digest(filter);
        name = filter.chars().take(MAX_NAME - 17).collect();
        name.push('_');
        for byte in digest.iter().take(8) {
            let _ = write!(name, "{byte:02x}");
        }
    }
    format!("'bgp_{name}_{}FilterV{}'", direction.as_str(), family.version())
}

fn join(numbers: &[u32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let name = |filter: &str| function_name(filter, Direction::Import, Family::V4);
        assert_eq!(name("my-filter.a"), "'bgp_my-filter.a_importFilterV4'");
        let (long, longer) = ("x".repeat(60), "x".repeat(61));
        assert!(name(&long).len() <= 64 + 2);
        assert_ne!(name(&long), name(&longer));
    }

    #[test]
    fn prefix_lengths_are_limited_by_prefix_and_family() {
        let condition = |cidr: &str, operator, min, max| {
            CidrMatch { cidr: cidr.parse().unwrap(), operator, lengths: Some((min, max)) }.condition()
        };
        assert_eq!(
            condition("10.0.0.0/8", MatchOperator::In, Some(16), Some(24)),
            "net ~ [ 10.0.0.0/8{16,24} ]"
        );
        assert_eq!(
            condition("10.0.0.0/8", MatchOperator::NotIn, Some(4), None),
            "net !~ [ 10.0.0.0/8{8,32} ]"
        );
        assert_eq!(condition("fd00::/8", MatchOperator::In, None, Some(64)), "net ~ [ fd00::/8{8,64} ]");
        assert_eq!(condition("10.0.0.0/24", MatchOperator::In, None, Some(16)), "false");
        assert_eq!(condition("10.0.0.0/24", MatchOperator::NotIn, None, Some(16)), "true");
    }
}
