//! Rules in little memory, until they are needed.
//!
//! Most policies of a large cluster apply to no endpoint of this node. A model rule has a field for every match there
//! is, nearly all of them empty; here only the matches that are there take space, and selectors are shared.

use crate::diagnostic::{Part, RuleProblem};
use crate::update::Action;
use hashbrown::HashSet;
use std::sync::Arc;
use tortie_model::value::{self, WrittenProtocol};
use tortie_net::{Cidr, Port, Protocol};

/// Rules of both directions.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LeanRules {
    pub(crate) inbound: Box<[LeanRule]>,
    pub(crate) outbound: Box<[LeanRule]>,
    /// Some rule asks for more than addresses and ports can tell.
    pub(crate) application_layer: bool,
}

/// All of a rule that the calculation reads.
#[derive(Debug, PartialEq)]
pub(crate) struct LeanRule {
    /// `None` if it is unknown; then the problem is among the matches.
    pub(crate) action: Option<Action>,
    pub(crate) matches: Box<[Match]>,
}

/// A part of a rule as the user wrote it.
#[derive(Debug, PartialEq)]
pub(crate) enum Match {
    /// The rule fails closed.
    Unusable(Box<RuleProblem>),
    IpVersion(u8),
    Protocol {
        protocol: Protocol,
        negated: bool,
    },
    Icmp {
        kind: Option<u8>,
        code: Option<u8>,
        negated: bool,
    },
    Nets {
        part: Part,
        negated: bool,
        nets: Box<[Cidr]>,
    },
    Selector {
        part: Part,
        negated: bool,
        text: Arc<str>,
    },
    Ports {
        part: Part,
        negated: bool,
        ports: Box<[Port]>,
    },
    /// `namespace/name`.
    Service {
        part: Part,
        service: Box<str>,
    },
}

impl LeanRules {
    pub(crate) fn new(texts: &mut Texts, inbound: &[value::Rule], outbound: &[value::Rule]) -> Self {
        let mut lean = |rules: &[value::Rule]| rules.iter().map(|rule| LeanRule::new(texts, rule)).collect();
        let application_layer = inbound.iter().chain(outbound).any(|rule| {
            rule.http_match.is_some()
                || !rule.orig_src_service_acct_selector.is_empty()
                || !rule.orig_dst_service_acct_selector.is_empty()
        });
        Self { inbound: lean(inbound), outbound: lean(outbound), application_layer }
    }
}

impl LeanRule {
    fn new(texts: &mut Texts, rule: &value::Rule) -> Self {
        let action = action(&rule.action);
        let mut matches = match plain_matches(rule) {
            _ if action.is_none() => {
                vec![Match::Unusable(Box::new(RuleProblem::Action { action: rule.action.clone() }))]
            }
            Ok(matches) => matches,
            Err(problem) => vec![Match::Unusable(Box::new(problem))],
        };
        use Part::{Destination, Source};
        for (part, negated, nets) in [
            (Source, false, &rule.src_nets),
            (Source, true, &rule.not_src_nets),
            (Destination, false, &rule.dst_nets),
            (Destination, true, &rule.not_dst_nets),
        ] {
            if !nets.is_empty() {
                matches.push(Match::Nets { part, negated, nets: nets.as_slice().into() });
            }
        }
        for (part, negated, text) in [
            (Source, false, &rule.src_selector),
            (Source, true, &rule.not_src_selector),
            (Destination, false, &rule.dst_selector),
            (Destination, true, &rule.not_dst_selector),
        ] {
            if !text.is_empty() {
                matches.push(Match::Selector { part, negated, text: texts.share(text) });
            }
        }
        for (part, negated, ports) in [
            (Source, false, &rule.src_ports),
            (Source, true, &rule.not_src_ports),
            (Destination, false, &rule.dst_ports),
            (Destination, true, &rule.not_dst_ports),
        ] {
            if !ports.is_empty() {
                matches.push(Match::Ports { part, negated, ports: ports.as_slice().into() });
            }
        }
        for (part, name, namespace) in [
            (Source, &rule.src_service, &rule.src_service_ns),
            (Destination, &rule.dst_service, &rule.dst_service_ns),
        ] {
            if !name.is_empty() {
                matches.push(Match::Service { part, service: format!("{namespace}/{name}").into() });
            }
        }
        Self { action, matches: matches.into() }
    }
}

/// Version, protocol and ICMP.
fn plain_matches(rule: &value::Rule) -> Result<Vec<Match>, RuleProblem> {
    let mut matches = Vec::new();
    if let Some(version) = rule.ip_version {
        let small = u8::try_from(version).map_err(|_| RuleProblem::IpVersion { version })?;
        matches.push(Match::IpVersion(small));
    }
    for (protocol, negated) in [(&rule.protocol, false), (&rule.not_protocol, true)] {
        let protocol = protocol.as_ref().map(WrittenProtocol::protocol).transpose();
        let protocol = protocol.map_err(|error| RuleProblem::Protocol { error })?;
        matches.extend(protocol.map(|protocol| Match::Protocol { protocol, negated }));
    }
    let small = |number: Option<i64>| -> Result<Option<u8>, RuleProblem> {
        number.map(|n| u8::try_from(n).map_err(|_| RuleProblem::Icmp { number: n })).transpose()
    };
    for (kind, code, negated) in
        [(rule.icmp_type, rule.icmp_code, false), (rule.not_icmp_type, rule.not_icmp_code, true)]
    {
        if kind.is_some() || code.is_some() {
            matches.push(Match::Icmp { kind: small(kind)?, code: small(code)?, negated });
        }
    }
    Ok(matches)
}

fn action(text: &str) -> Option<Action> {
    match text.to_ascii_lowercase().as_str() {
        "" | "allow" => Some(Action::Allow),
        "deny" => Some(Action::Deny),
        "pass" | "next-tier" => Some(Action::Pass),
        "log" => Some(Action::Log),
        _ => None,
    }
}

/// Texts that many hold; those that nobody holds any more are forgotten in time.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    shared: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Texts {
    /// Sweeping fewer is not worth it.
    const MIN_SWEEP: usize = 1024;

    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.shared.get(text) {
            return shared.clone();
        }
        if self.shared.len() >= self.sweep_at.max(Self::MIN_SWEEP) {
            self.shared.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = self.shared.len() * 2;
        }
        let text: Arc<str> = text.into();
        self.shared.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shared_and_forgotten() {
        let mut texts = Texts::default();
        let kept = texts.share("kept");
        assert!(Arc::ptr_eq(&kept, &texts.share("kept")));
        for i in 0..10 * Texts::MIN_SWEEP {
            texts.share(&i.to_string());
        }
        assert!(texts.shared.len() <= Texts::MIN_SWEEP);
        assert!(Arc::ptr_eq(&kept, &texts.share("kept")));
    }
}
