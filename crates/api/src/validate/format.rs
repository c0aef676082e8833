//! Forms of texts: names, addresses, selectors, and so on. Each says what would be right.

use super::schema::Report;
use crate::Map;
use std::net::IpAddr;
use tortie_net::{Cidr, Family};
use tortie_selector::Selector;

/// A form that a text must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A selector of labels.
    Selector,
    /// Lower case name, with dots.
    Name,
    /// Name of a container.
    ContainerId,
    /// Name of a port.
    PortName,
    /// Address or CIDR whose host bits are zero.
    Net,
    /// CIDR whose host bits are zero.
    NetOf(Family),
    /// Address or CIDR.
    Cidr,
    /// Address or CIDR of a family.
    CidrOf(Family),
    /// CIDR with a prefix length.
    StrictCidr,
    Ip,
    IpOf(Family),
    /// Address with a port perhaps.
    IpPort,
    Mac,
    /// Name of an interface, or `*`.
    Interface,
    /// Name of an interface, with `*` in it.
    InterfaceGlob,
    /// Name of an interface with `*` in it, but more than that.
    IgnoredInterface,
    /// Name of an interface; a `+` at the end is a wildcard.
    InterfaceFilter,
    /// Host to listen at.
    ListenHost,
    Regex,
    WireguardKey,
    /// `key=value,key=value`.
    KeyValues,
    /// Labels, in a mapping.
    Labels,
    /// Filters by interface, in a mapping.
    InterfaceKeys,
    /// Annotations, in a mapping.
    Annotations,
    /// Community `a:b` or `a:b:c`, of digits.
    CommunityDigits,
    /// Community with numbers in range.
    Community,
    /// Units of h, m, s and ms, without fractions.
    PlainDuration,
    /// Fraction allowed.
    DecimalDuration,
    /// `Auto`, or units of h, m, s, ms and us.
    AutoDuration,
    /// `key=true,key=false`.
    Switches,
    /// `key=value,` without `=` in values.
    Gates,
    /// Characters of a log prefix.
    LogPrefix,
    /// `10/second`.
    Rate,
    /// DSCP, a number or a name.
    Dscp,
    /// Name of a health reporter.
    HealthName,
    /// Label of DNS, at most 46 characters.
    Region,
    /// Type of a condition: a key as labels have.
    ConditionType,
    /// Reason of a condition: a word.
    ConditionReason,
}

/// Longest name of an object.
pub(super) const MAX_NAME: usize = 253;
/// Longest label of DNS.
pub(super) const MAX_LABEL: usize = 63;

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
pub(super) fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Labels joined by dots.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

fn chars(text: &str, max: usize, others: &str) -> bool {
    !text.is_empty()
        && text.len() <= max
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// The address as written, and its CIDR with host bits cleared.
fn address_and_net(text: &str) -> Option<(IpAddr, Cidr)> {
    let address: IpAddr = text.split('/').next().unwrap_or(text).parse().ok()?;
    Some((address, text.parse().ok()?))
}

fn ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|a| a.to_canonical())
}

/// Address and port of `ip`, `ip:port` or `[ip]:port`.
pub(super) fn ip_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once("]:")?;
            (address, Some(port))
        }
        None if text.matches(':').count() == 1 => {
            let (address, port) = text.split_once(':')?;
            (address, Some(port))
        }
        None => (text, None),
    };
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|p| *p > 0)?),
        None => None,
    };
    Some((ip(address)?, port))
}

/// The parts of a community, if it has two or three parts of digits.
fn community_parts(text: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = text.split(':').collect();
    let digits = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    (matches!(parts.len(), 2 | 3) && parts.iter().all(digits)).then_some(parts)
}

/// True if each part of a community fits: 16 bits of two, 32 bits of three.
pub(super) fn community_in_range(text: &str) -> Option<bool> {
    let parts = community_parts(text)?;
    Some(if parts.len() == 2 {
        parts.iter().all(|p| p.parse::<u16>().is_ok())
    } else {
        parts.iter().all(|p| p.parse::<u32>().is_ok())
    })
}

/// Numbers each followed by one of the units.
fn durations(text: &str, units: &[&str], fractions: bool) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || fractions && c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let fraction_ok = number
            .split_once('.')
            .is_none_or(|(whole, part)| !whole.is_empty() && !part.is_empty() && !part.contains('.'));
        let Some(unit) = units.iter().find(|u| after.starts_with(**u)) else { return false };
        if number.is_empty() || !fraction_ok {
            return false;
        }
        rest = after.get(unit.len()..).unwrap_or("");
    }
    true
}

impl Format {
    /// `Err` says what is wrong and what would be right.
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        let good = match self {
            Self::Selector => return Selector::parse(text).map(|_| ()).map_err(|e| e.to_string()),
            Self::Net | Self::NetOf(_) => {
                return net(text, if let Self::NetOf(f) = self { Some(f) } else { None });
            }
            Self::Regex => {
                return super::pattern::check(text)
                    .map_err(|reason| format!("{text:?} is no regular expression: {reason}"));
            }
            Self::Name => is_subdomain(text),
            Self::ContainerId => {
                chars(text, usize::MAX, "-") && !text.starts_with('-') && !text.ends_with('-')
            }
            Self::PortName => is_port_name(text),
            // Nothing is no address, and passes; where something is needed, it is said.
            Self::Cidr => text.is_empty() || text.parse::<Cidr>().is_ok(),
            Self::CidrOf(family) => text.parse::<Cidr>().is_ok_and(|c| c.to_canonical().family() == family),
            Self::StrictCidr => text.contains('/') && without_leading_zeros(text).parse::<Cidr>().is_ok(),
            Self::Ip => ip(text).is_some(),
            Self::IpOf(family) => ip(text).is_some_and(|a| Family::of(a) == family),
            Self::IpPort => ip_port(text).is_some(),
            Self::Mac => is_hardware_address(text),
            Self::Interface => text == "*" || chars(text, 15, "_.-"),
            Self::InterfaceGlob => chars(text, 15, "_.*-"),
            Self::IgnoredInterface => text != "*" && chars(text, 15, "_.*-"),
            Self::InterfaceFilter => chars(text, 15, ":._+-"),
            Self::ListenHost => chars(text, 64, ":._+-"),
            Self::WireguardKey => is_wireguard_key(text),
            Self::KeyValues => {
                text.trim().is_empty()
                    || text.split(',').filter(|item| !item.is_empty()).all(|item| {
                        item.trim_start().split_once('=').is_some_and(|(key, _)| chars(key, usize::MAX, "_"))
                    })
            }
            Self::CommunityDigits => community_parts(text).is_some(),
            Self::Community => community_in_range(text) == Some(true) && !leading_zero(text),
            Self::PlainDuration => durations(text, &["ms", "s", "m", "h"], false),
            Self::DecimalDuration => durations(text, &["ms", "s", "m", "h"], true),
            Self::AutoDuration => {
                text == "Auto" || (!text.is_empty() && durations(text, &["ms", "us", "s", "m", "h"], true))
            }
            Self::Switches => pairs(text, |value| matches!(value, "true" | "false" | "")),
            Self::Gates => pairs(text, |value| !value.is_empty() && !value.contains('=')),
            Self::LogPrefix => text.is_empty() || chars(text, usize::MAX, "%: /_-"),
            Self::Rate => is_rate(text),
            Self::Dscp => is_dscp(text),
            Self::HealthName => chars(text, usize::MAX, "_ -"),
            Self::Region => is_dns_label(text) && text.len() <= MAX_LABEL - "openstack-region-".len(),
            Self::ConditionType => qualified_name(text).is_ok(),
            Self::ConditionReason => {
                chars(text, 1024, "_,:")
                    && text.starts_with(|c: char| c.is_ascii_alphabetic())
                    && !text.ends_with([',', ':'])
            }
            Self::Labels | Self::InterfaceKeys | Self::Annotations => true,
        };
        if good { Ok(()) } else { Err(format!("{text:?} is not {}", self.expected())) }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Selector => "a selector",
            Self::Name => {
                "a name: use lower case letters, digits, \"-\" and \".\", with a letter or digit at both ends"
            }
            Self::ContainerId => {
                "a container id: use letters, digits and \"-\", with a letter or digit at both ends"
            }
            Self::PortName => {
                "the name of a port: use at most 15 lower case letters, digits and single \"-\", with a letter in it"
            }
            Self::Net | Self::NetOf(_) | Self::Cidr => "an IP address or CIDR, like 10.0.0.0/16 or fd00::/64",
            Self::CidrOf(Family::V4) => "an IPv4 address or CIDR, like 10.0.0.1/24",
            Self::CidrOf(Family::V6) => "an IPv6 address or CIDR, like fd00::1/64",
            Self::StrictCidr => {
                "a CIDR: write the prefix length too, like 10.0.0.0/16, 10.0.0.1/32 or fd00::/64"
            }
            Self::Ip => "an IP address, like 10.0.0.1 or fd00::1",
            Self::IpOf(Family::V4) => "an IPv4 address, like 10.0.0.1",
            Self::IpOf(Family::V6) => "an IPv6 address, like fd00::1",
            Self::IpPort => {
                "an address, with a port perhaps: 10.0.0.1, 10.0.0.1:179, fd00::1 or [fd00::1]:179"
            }
            Self::Mac => "a hardware address, like ee:ee:ee:ee:ee:ee",
            Self::Interface => {
                "an interface: at most 15 letters, digits, \"-\", \"_\" and \".\", or * for all"
            }
            Self::InterfaceGlob => "an interface: at most 15 letters, digits, \"-\", \"_\", \".\" and \"*\"",
            Self::IgnoredInterface => {
                "an interface: at most 15 letters, digits, \"-\", \"_\", \".\" and \"*\", but not * alone"
            }
            Self::InterfaceFilter => {
                "an interface: at most 15 letters, digits, \":\", \"-\", \"_\" and \".\", with + at the end as a wildcard"
            }
            Self::ListenHost => {
                "a host: an address or at most 64 letters, digits, \":\", \".\", \"_\", \"+\" and \"-\""
            }
            Self::Regex => "a regular expression",
            Self::WireguardKey => "a WireGuard key: 32 bytes in base64",
            Self::KeyValues => "a list like key=value,key=value",
            Self::CommunityDigits | Self::Community => {
                "a community: two numbers up to 65535 like 64512:100, or three up to 4294967295 like 64512:1:2"
            }
            Self::PlainDuration => {
                "a duration in whole hours, minutes, seconds and milliseconds, like 1m30s or 250ms"
            }
            Self::DecimalDuration => {
                "a duration in hours, minutes, seconds and milliseconds, like 1.5s or 250ms"
            }
            Self::AutoDuration => "a duration like 60s, or Auto",
            Self::Switches => "a list like Feature=true,Other=false",
            Self::Gates => "a list like Feature=value,Other=value",
            Self::LogPrefix => "a log prefix: use letters, digits, spaces, %, :, /, _ and -",
            Self::Rate => "a rate: a number up to 9999 per second, minute, hour or day, like 10/second",
            Self::Dscp => "a DSCP: 0 to 63, or a name like EF or AF41",
            Self::HealthName => "a name: use letters, digits, \"_\", \"-\" and spaces",
            Self::Region => "a region: a DNS label of at most 46 characters",
            Self::ConditionType => "the type of a condition, like Ready or example.com/Ready",
            Self::ConditionReason => "a reason: one word of letters, digits, \"_\", \",\" and \":\"",
            Self::Labels | Self::InterfaceKeys | Self::Annotations => "a mapping",
        }
    }

    /// Checks keys and values of a mapping of texts.
    pub(super) fn check_map(self, map: &Map, path: &str, report: &mut Report) {
        match self {
            Self::Labels => super::metadata::labels(map, path, report),
            Self::Annotations => super::metadata::annotations(map, path, report),
            Self::InterfaceKeys => {
                for key in map.keys().filter(|k| !chars(k, 15, "_.-")) {
                    report.form(format!("{path}[{key}]"), format!("{key:?} is not the name of an interface"));
                }
            }
            _ => {}
        }
    }
}

/// The API server does not mind `010.0.0.0/8`; what else reads it does.
fn without_leading_zeros(text: &str) -> String {
    let part = |part: &str| match part.trim_start_matches('0') {
        rest if rest.starts_with(|c: char| c.is_ascii_digit()) => rest.to_owned(),
        rest => format!("0{rest}"),
    };
    match text.split_once('/') {
        Some((address, len)) if !address.contains(':') => {
            let parts: Vec<String> = address.split('.').map(part).collect();
            format!("{}/{len}", parts.join("."))
        }
        _ => text.to_owned(),
    }
}

fn net(text: &str, family: Option<Family>) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let Some((address, net)) = address_and_net(text) else {
        return Err(format!("{text:?} is not {}", Format::Net.expected()));
    };
    if let Some(family) = family.filter(|f| net.to_canonical().family() != *f) {
        return Err(format!("{text:?} is not of {family}"));
    }
    if net.addr() != address {
        return Err(format!("{text:?} has bits set beyond its prefix length; write {net}"));
    }
    Ok(())
}

fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && is_dns_label(text)
        && !text.contains("--")
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// Six, eight or twenty bytes, as `aa:bb:...`, `aa-bb-...`, `aabb.ccdd...` or `aabb...`.
fn is_hardware_address(text: &str) -> bool {
    let (separator, digits) = match text {
        _ if text.contains(':') => (":", 2),
        _ if text.contains('-') => ("-", 2),
        _ if text.contains('.') => (".", 4),
        _ => ("", text.len()),
    };
    let parts: Vec<&str> = if separator.is_empty() { vec![text] } else { text.split(separator).collect() };
    matches!(parts.len() * digits, 12 | 16 | 40)
        && parts.iter().all(|p| p.len() == digits && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_wireguard_key(text: &str) -> bool {
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    text.len() == 44 && text.strip_suffix('=').is_some_and(digits)
}

fn leading_zero(community: &str) -> bool {
    community.split(':').any(|part| part.len() > 1 && part.starts_with('0'))
}

fn pairs(text: &str, value_ok: impl Fn(&str) -> bool) -> bool {
    text.strip_suffix(',').unwrap_or(text).split(',').all(|item| {
        text.is_empty()
            || item
                .split_once('=')
                .is_some_and(|(key, value)| chars(key, usize::MAX, "-_") && value_ok(value))
    })
}

fn is_rate(text: &str) -> bool {
    text.split_once('/').is_some_and(|(number, unit)| {
        !number.is_empty()
            && number.len() <= 4
            && !number.starts_with('0')
            && number.bytes().all(|b| b.is_ascii_digit())
            && matches!(unit, "second" | "minute" | "hour" | "day")
    })
}

fn is_dscp(text: &str) -> bool {
    const NAMES: [&str; 21] = [
        "DF", "EF", "AF11", "AF12", "AF13", "AF21", "AF22", "AF23", "AF31", "AF32", "AF33", "AF41", "AF42",
        "AF43", "CS0", "CS1", "CS2", "CS3", "CS4", "CS5", "CS6",
    ];
    text.parse::<u8>().is_ok_and(|n| n <= 63) || NAMES.iter().any(|n| n.eq_ignore_ascii_case(text.trim()))
}

/// Kubernetes' keys of labels and annotations: a name, after a prefix perhaps.
pub(super) fn qualified_name(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if let Some(prefix) = prefix
        && (prefix.len() > MAX_NAME || !is_subdomain(prefix))
    {
        return Err(format!(
            "{text:?} is not a key: what stands before the \"/\" must be a DNS name in lower case"
        ));
    }
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !chars(name, MAX_LABEL, "-_.") || !ends(name.chars().next()) || !ends(name.chars().last()) {
        return Err(format!(
            "{text:?} is not a key: use at most 63 letters, digits, \"-\", \"_\" and \".\", with a letter or digit at both ends"
        ));
    }
    Ok(())
}

/// Kubernetes' values of labels.
pub(super) fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() || (!text.contains('/') && qualified_name(text).is_ok()) {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not the value of a label: use at most 63 letters, digits, \"-\", \"_\" and \".\", with a letter or digit at both ends"
    ))
}
