//! Verdicts and their reasons, as data and as text.

use crate::rule::Miss;
use std::fmt;
use tortie_model::{PolicyId, WorkloadId};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It arrives.
    Allow,
    /// It is dropped.
    Deny,
}

/// Direction, seen from the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

/// The kinds of policy of a host endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPolicy {
    /// `doNotTrack`, before connection tracking.
    Untracked,
    /// `preDNAT`.
    PreDnat,
    /// Traffic of the host's own processes.
    Normal,
    /// `applyOnForward`: traffic through the host.
    Forward,
}

/// A place on a packet's way where it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// A workload's policy on its node.
    Workload(WorkloadId, Direction),
    /// A host endpoint's policy.
    Host {
        /// Node.
        node: String,
        /// Name of the host endpoint.
        endpoint: String,
        /// Direction.
        direction: Direction,
        /// Which of its policies.
        policy: HostPolicy,
    },
    /// A node that receives a packet of its own pod.
    Node(String),
    /// No place: nothing that is policed is on the way.
    Nowhere,
}

/// The rule that came nearest to letting a packet through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// Its policy.
    pub policy: PolicyId,
    /// Its place in the list of its direction, from 0.
    pub index: usize,
    /// All for which it did not match; the fewest of all rules.
    pub misses: Vec<Miss>,
}

/// Why a point judged as it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A rule of a policy matched.
    Rule {
        /// Tier.
        tier: String,
        /// Policy.
        policy: PolicyId,
        /// Place in the list of its direction, from 0.
        index: usize,
    },
    /// Policies of a tier select the endpoint, no rule matched, and the tier's default is to deny.
    EndOfTier {
        /// Tier.
        tier: String,
        /// The policies, in order.
        policies: Vec<PolicyId>,
        /// What came nearest.
        nearest: Option<NearMiss>,
    },
    /// No tier decided, a rule of a profile did.
    ProfileRule {
        /// Profile.
        profile: String,
        /// Place in the list of its direction, from 0.
        index: usize,
    },
    /// No tier decided, and the endpoint's profile does not exist.
    MissingProfile(String),
    /// No tier decided, and no rule of the profiles matched.
    EndOfProfiles(Vec<String>),
    /// The endpoint is administratively down.
    AdminDown,
    /// Pods may not send encapsulated packets.
    Encapsulation,
    /// A failsafe port.
    Failsafe,
    /// `DefaultEndpointToHostAction`.
    EndpointToHost,
    /// No policy is applied to such traffic at all.
    Unpoliced(&'static str),
    /// No policy of this kind applies, so the packet goes on.
    NoPolicy,
}

/// The judgement of one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub point: Point,
    /// What.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
}

/// A verdict with the way to it. The way ends where the packet is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// Every judgement, in the packet's order; never empty.
    pub steps: Vec<Step>,
}

impl Decision {
    pub(crate) fn of(steps: Vec<Step>) -> Self {
        let denied = steps.iter().any(|s| s.verdict == Verdict::Deny);
        Self { verdict: if denied { Verdict::Deny } else { Verdict::Allow }, steps }
    }

    /// True if the packet arrives.
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }

    /// The judgement that denied the packet; of an allowed one the last.
    pub fn deciding(&self) -> Option<&Step> {
        self.steps.iter().find(|s| s.verdict == Verdict::Deny).or(self.steps.last())
    }
}

// === text ===

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
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

impl fmt::Display for HostPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untracked => "untracked",
            Self::PreDnat => "pre-DNAT",
            Self::Normal => "normal",
            Self::Forward => "forward",
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(id, direction) => write!(f, "{direction} of {}", id.workload),
            Self::Host { node, endpoint, direction, policy } => {
                write!(f, "{policy} {direction} of host endpoint {endpoint} on {node}")
            }
            Self::Node(node) => write!(f, "input of node {node}"),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} of {}, but ", self.index + 1, self.policy)?;
        for (i, miss) in self.misses.iter().enumerate() {
            write!(f, "{}{miss}", if i > 0 { ", and " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { tier, policy, index } => write!(f, "rule {} of {policy} in tier {tier}", index + 1),
            Self::EndOfTier { tier, policies, nearest } => {
                let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
                write!(f, "default deny of tier {tier}: selected by {}; no rule matched", names.join(", "))?;
                match nearest {
                    Some(nearest) => write!(f, "; nearest: {nearest}"),
                    None => Ok(()),
                }
            }
            Self::ProfileRule { profile, index } => write!(f, "rule {} of profile {profile}", index + 1),
            Self::MissingProfile(profile) => write!(f, "profile {profile} does not exist"),
            Self::EndOfProfiles(profiles) if profiles.is_empty() => {
                f.write_str("no policy selects it and it has no profile")
            }
            Self::EndOfProfiles(profiles) => {
                write!(f, "no policy decides and no rule of its profiles matched ({})", profiles.join(", "))
            }
            Self::AdminDown => f.write_str("the endpoint is administratively down"),
            Self::Encapsulation => f.write_str("pods may not send VXLAN or IP-in-IP packets"),
            Self::Failsafe => f.write_str("failsafe port"),
            Self::EndpointToHost => f.write_str("DefaultEndpointToHostAction"),
            Self::Unpoliced(why) => f.write_str(why),
            Self::NoPolicy => f.write_str("no policy applies"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.point {
            Point::Nowhere => write!(f, "{} ({})", self.verdict, self.reason),
            _ => write!(f, "{} by {} ({})", self.verdict, self.point, self.reason),
        }
    }
}

impl fmt::Display for Decision {
    /// The deciding step, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.deciding() {
            Some(step) => step.fmt(f),
            None => self.verdict.fmt(f),
        }
    }
}
