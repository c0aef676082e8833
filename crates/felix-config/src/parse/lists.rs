//! Lists, separated by commas.

use super::ParseError;
use crate::value::Transport;
use crate::{HostPort, Span, TableRange};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tortie_net::Cidr;

/// The elements of a list without blanks around them, empty ones left out.
fn elements(raw: &str) -> impl Iterator<Item = &str> {
    raw.split(',').map(|element| element.trim_matches(' ')).filter(|element| !element.is_empty())
}

pub(super) fn interfaces(raw: &str, good: fn(&str) -> bool) -> Result<Vec<String>, ParseError> {
    elements(raw)
        .map(
            |name| if good(name) { Ok(name.to_owned()) } else { Err(ParseError::Interface(name.to_owned())) },
        )
        .collect()
}

pub(super) fn cidrs(raw: &str) -> Result<Vec<Cidr>, ParseError> {
    elements(raw).map(|text| cidr(text).ok_or_else(|| ParseError::Cidr(text.to_owned()))).collect()
}

/// A network; one of IPv4 inside IPv6 counts as IPv4.
fn cidr(text: &str) -> Option<Cidr> {
    let net: Cidr = text.parse().ok()?;
    match net.addr() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() && net.len() >= 96 => {
            Cidr::new(net.addr().to_canonical(), net.len() - 96)
        }
        _ => Some(net),
    }
}

pub(super) fn endpoints(raw: &str) -> Result<Vec<String>, ParseError> {
    elements(raw).map(|text| endpoint(text).ok_or_else(|| ParseError::Endpoint(text.to_owned()))).collect()
}

/// The URL of a server with its path `/`. Users, paths, queries and fragments have no place in it.
fn endpoint(text: &str) -> Option<String> {
    let text = text.strip_suffix('#').unwrap_or(text);
    let (scheme, rest) = text.split_once("://")?;
    let scheme_good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if !scheme_good
        || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@\\%^`{|}".contains(c))
    {
        return None;
    }
    let port = match host.strip_prefix('[') {
        Some(literal) => literal.split_once(']')?.1,
        None => host.rfind(':').and_then(|colon| host.get(colon..)).unwrap_or(""),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !digits.bytes().all(|b| b.is_ascii_digit()) || (port == digits && !port.is_empty()) {
        return None;
    }
    Some(format!("{}://{host}/", scheme.to_lowercase()))
}

pub(super) fn host_ports(raw: &str) -> Result<Vec<HostPort>, ParseError> {
    elements(raw).map(|text| host_port(text).ok_or_else(|| ParseError::HostPort(text.to_owned()))).collect()
}

/// `port`, `protocol:port`, `protocol:net:port`; an IPv6 network in brackets.
fn host_port(text: &str) -> Option<HostPort> {
    let (bracketed, text) = match text.split_once('[') {
        Some((before, rest)) => {
            let (net, after) = rest.split_once("]:")?;
            (Some(net), format!("{before}{after}"))
        }
        None => (None, text.to_owned()),
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (protocol, net, port) = match parts.as_slice() {
        [port] => ("tcp", bracketed, *port),
        [protocol, port] => (*protocol, bracketed, *port),
        [protocol, net, port] => (*protocol, Some(*net), *port),
        _ => return None,
    };
    let protocol = match protocol.to_lowercase().as_str() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return None,
    };
    let net = match net.filter(|net| !net.is_empty()) {
        Some(net) => Some(cidr(net)?),
        None => None,
    };
    Some(HostPort { protocol, port: port.parse().ok()?, net })
}

pub(super) fn table_range(raw: &str) -> Result<TableRange, ParseError> {
    let digits = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u32>().ok())
            .flatten()
            .ok_or(ParseError::TableRange)
    };
    let (first, last) = raw.split_once('-').ok_or(ParseError::TableRange)?;
    let (first, last) = (digits(first)?, digits(last)?);
    if 1 <= first && first <= last && last <= 250 {
        Ok(TableRange { first, last })
    } else {
        Err(ParseError::TableRange)
    }
}

/// Every `first-last` in the text; what stands between them does not matter.
pub(super) fn table_ranges(raw: &str) -> Result<Vec<TableRange>, ParseError> {
    let mut ranges = Vec::new();
    let mut total: u64 = 0;
    let mut rest = raw;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (first, after) = digits(rest.get(start..).unwrap_or(""));
        let last = after.strip_prefix('-').map(digits);
        let Some((last, after_last)) = last.filter(|(last, _)| !last.is_empty()) else {
            rest = after;
            continue;
        };
        rest = after_last;
        let number = |text: &str| text.parse::<u32>().map_err(|_| ParseError::TableRanges);
        let (first, last) = (number(first)?, number(last)?);
        if first == 0 || first > last {
            return Err(ParseError::TableRanges);
        }
        total += u64::from(last - first) + 1;
        if total > 0xffff {
            return Err(ParseError::TableRanges);
        }
        ranges.push(TableRange { first, last });
    }
    if ranges.is_empty() { Err(ParseError::TableRanges) } else { Ok(ranges) }
}

/// The digits at the start of the text, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Pairs by key; a key is the word before the first `=` that has one. Blanks in values stay.
pub(super) fn key_values(raw: &str) -> Result<BTreeMap<String, String>, ParseError> {
    if raw.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    raw.split(',')
        .filter(|item| !item.is_empty())
        .map(|item| key_value(item).ok_or_else(|| ParseError::KeyValue(item.to_owned())))
        .collect()
}

fn key_value(item: &str) -> Option<(String, String)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    item.match_indices('=').find_map(|(at, _)| {
        let before = item.get(..at)?;
        let key = before.get(before.trim_end_matches(word).len()..).filter(|key| !key.is_empty())?;
        let value = item.get(at + 1..)?.split('\n').next()?;
        Some((key.to_owned(), value.to_owned()))
    })
}

pub(super) fn key_durations(raw: &str) -> Result<BTreeMap<String, Span>, ParseError> {
    key_values(raw)?
        .into_iter()
        .map(|(key, value)| {
            let time =
                tortie_api::duration::parse(value.trim()).map_err(|_| ParseError::Duration(value.clone()))?;
            Ok((key, Span(time)))
        })
        .collect()
}
