//! Forms of names, labels and CIDRs in Kubernetes: each says what would be right.

use std::net::{Ipv4Addr, Ipv6Addr};

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The name of a namespace.
pub(super) fn label_name(text: &str) -> Result<(), &'static str> {
    if text.len() <= 63 && is_label(text) {
        return Ok(());
    }
    Err("at most 63 lower case letters, digits and hyphens are needed, with a letter or digit at both ends")
}

/// The name of most other objects.
pub(super) fn subdomain(text: &str) -> Result<(), &'static str> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(());
    }
    Err(
        "at most 253 lower case letters, digits, hyphens and dots are needed, with a letter or digit at both ends and beside dots",
    )
}

/// Letters, digits, and in between hyphens, underscores and dots; not empty.
fn is_word(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The key of a label or annotation: a word, perhaps with a domain before it.
pub(super) fn label_key(text: &str) -> Result<(), &'static str> {
    let (domain, word) = text.split_once('/').map_or((None, text), |(domain, word)| (Some(domain), word));
    if is_word(word) && domain.is_none_or(|domain| subdomain(domain).is_ok()) {
        return Ok(());
    }
    Err(
        "a key is at most 63 letters, digits, hyphens, underscores and dots, with a letter or digit at both ends, and perhaps a domain and a slash before it",
    )
}

/// The value of a label.
pub(super) fn label_value(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || is_word(text) {
        return Ok(());
    }
    Err(
        "a value is empty or at most 63 letters, digits, hyphens, underscores and dots, with a letter or digit at both ends",
    )
}

/// The name of a port, as IANA registers services.
pub(super) fn port_name(text: &str) -> Result<(), &'static str> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return Err("a name of a port has a letter; write a number without quotes");
    }
    let has_letter = text.bytes().any(|b| b.is_ascii_lowercase());
    if text.len() <= 15 && is_label(text) && !text.contains("--") && has_letter {
        return Ok(());
    }
    Err(
        "a name of a port is at most 15 lower case letters, digits and single hyphens, with at least one letter and no hyphen at the ends",
    )
}

/// A CIDR as API servers read it: with host bits and leading zeros, if someone writes them.
#[derive(Clone, Copy)]
pub(super) struct Net {
    /// Aligned to the left.
    bits: u128,
    len: u32,
    v4: bool,
}

impl Net {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, len) = text.split_once('/')?;
        let digits = !len.is_empty() && len.bytes().all(|b| b.is_ascii_digit());
        let len: u32 = digits.then(|| len.parse().ok())??;
        if let Some(address) = v4(address) {
            let bits = u128::from(u32::from(address)) << 96;
            return (len <= 32).then_some(Self { bits, len, v4: true });
        }
        // Leading zeros are possible in the last four bytes too.
        let address = match address.rsplit_once(':') {
            Some((head, tail)) if tail.contains('.') => format!("{head}:{}", v4(tail)?),
            _ => address.to_owned(),
        };
        let bits = u128::from(address.parse::<Ipv6Addr>().ok()?);
        (len <= 128).then_some(Self { bits, len, v4: false })
    }

    /// True if the other is a part of this, and smaller.
    pub(super) fn has_inside(self, other: Self) -> bool {
        let differ = self.bits ^ other.bits;
        self.v4 == other.v4 && self.len < other.len && differ.leading_zeros() >= self.len
    }
}

fn v4(text: &str) -> Option<Ipv4Addr> {
    let mut bytes = [0u8; 4];
    let mut parts = text.split('.');
    for byte in &mut bytes {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *byte = part.parse().ok()?;
    }
    parts.next().is_none().then(|| bytes.into())
}
