//! What is wrong with the objects that went into the calculation. Findings, not failures: the calculation went on.

use std::fmt;
use tortie_model::{Key, PolicyId};
use tortie_net::{Protocol, ProtocolParseError};
use tortie_selector::ParseError;

/// A problem of one object. It is known as long as the object is in that state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {problem}")]
pub struct Diagnostic {
    /// Which object.
    pub subject: Subject,
    /// What is wrong with it.
    pub problem: Problem,
}

/// An object that can have problems.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A policy.
    Policy(PolicyId),
    /// The rules of a profile.
    Profile(String),
    /// Anything else.
    Key(Key),
}

/// A problem, and what is done about it. The text says both.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not known whom the policy is for; as one that is not there it applies to nobody.
    #[error("the policy applies to nothing because its selector cannot be read: {error}")]
    Selector {
        /// What is wrong with it.
        error: ParseError,
    },
    /// A rule fails closed.
    #[error("{direction} rule {index}: {problem}; an allow rule is left out, any other denies everything", index = index + 1)]
    Rule {
        /// List of the rule.
        direction: Direction,
        /// Place in the list, from 0.
        index: u32,
        /// What is wrong with it.
        problem: RuleProblem,
    },
    /// Endpoints refer to a profile that has no rules.
    #[error("local endpoints refer to this profile, which does not exist; it denies everything")]
    MissingProfile,
    /// The policy's tier is not there.
    #[error(
        "the tier {tier:?} does not exist; its policies come after those of all other tiers, and then deny"
    )]
    MissingTier {
        /// The tier's name.
        tier: String,
    },
    /// The value is of another type than the key says.
    #[error("the value does not belong to the key; it counts as deleted")]
    WrongType,
}

/// Why a rule cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleProblem {
    /// A selector.
    #[error("{}{part} selector: {error}", if *negated { "negated " } else { "" })]
    Selector {
        /// Which side.
        part: Part,
        /// `notSelector`.
        negated: bool,
        /// What is wrong with it.
        error: ParseError,
    },
    /// An action.
    #[error("unknown action {action:?}, expected allow, deny, pass or log")]
    Action {
        /// As written.
        action: String,
    },
    /// An IP version.
    #[error("unknown IP version {version}, expected 4 or 6")]
    IpVersion {
        /// As written.
        version: i64,
    },
    /// A protocol.
    #[error("{error}")]
    Protocol {
        /// What is wrong with it.
        error: ProtocolParseError,
    },
    /// A type or code of ICMP.
    #[error("ICMP types and codes are from 0 to 255, not {number}")]
    Icmp {
        /// As written.
        number: i64,
    },
    /// A named port of a protocol whose ports have no names.
    #[error(
        "{part} port {name:?} is a name, which protocol {protocol} does not have; use a number or TCP, UDP or SCTP"
    )]
    NamedPort {
        /// Which side.
        part: Part,
        /// The name.
        name: String,
        /// The rule's protocol.
        protocol: Protocol,
    },
    /// A code without a type.
    #[error("ICMP code {code} without a type")]
    IcmpCode {
        /// The code.
        code: u8,
    },
}

/// Direction of a rule, seen from the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Traffic to the endpoint.
    Ingress,
    /// Traffic from the endpoint.
    Egress,
}

/// A side of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Where traffic comes from.
    Source,
    /// Where it goes to.
    Destination,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(id) => id.fmt(f),
            Self::Profile(name) => write!(f, "Profile {name}"),
            Self::Key(key) => write!(f, "{key:?}"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}
