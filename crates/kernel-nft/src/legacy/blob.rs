//! A table of the older `iptables` as bytes: entries one after the other, jumps by offset.
//!
//! Reading never trusts an offset; a table that is not understood is left alone.

use std::collections::{BTreeMap, BTreeSet};
use tortie_net::Family;

/// Built-in hooks.
const HOOKS: usize = 5;
const FORWARD: usize = 2;
/// What jumps say if they return, or decide.
const NF_DROP_VERDICT: i32 = -1;
/// Header of a match or target: size, name, revision.
const PART: usize = 32;
const ERROR_TARGET: &str = "ERROR";

/// Where a table's hooks begin and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) valid_hooks: u32,
    pub(super) hook_entry: [u32; HOOKS],
    pub(super) underflow: [u32; HOOKS],
    pub(super) entries: u32,
    pub(super) size: u32,
}

impl Layout {
    /// From what the kernel answers to `SO_GET_INFO`.
    pub(super) fn read(info: &[u8]) -> Option<Self> {
        let word = |index: usize| number(info, 32 + 4 * index);
        let mut layout = Self {
            valid_hooks: word(0)?,
            hook_entry: [0; HOOKS],
            underflow: [0; HOOKS],
            entries: word(11)?,
            size: word(12)?,
        };
        for hook in 0..HOOKS {
            *layout.hook_entry.get_mut(hook)? = word(1 + hook)?;
            *layout.underflow.get_mut(hook)? = word(6 + hook)?;
        }
        Some(layout)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?)))
}

fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    std::str::from_utf8(bytes.get(..end)?).ok()
}

/// One rule, or the head of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Where it was in the table that was read.
    offset: u32,
    bytes: Vec<u8>,
    /// Where its target starts.
    target: usize,
    comment: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The head of a chain; the last one of a table is called `ERROR`.
    Head(String),
    /// Goes on at an offset.
    Jump(u32),
    /// A verdict, or a return.
    Verdict(i32),
    /// Any other target.
    Other,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    layout: Layout,
    entries: Vec<Entry>,
}

impl Blob {
    pub(super) fn parse(family: Family, layout: Layout, bytes: &[u8]) -> Option<Self> {
        // `struct ipt_entry` and `struct ip6t_entry`: the addresses, then sizes and counters.
        let (sizes, header) = match family {
            Family::V4 => (88, 112),
            Family::V6 => (140, 168),
        };
        let mut entries = Vec::new();
        let mut at = 0;
        while at < layout.size as usize {
            let target = half(bytes, at + sizes)?;
            let next = half(bytes, at + sizes + 2)?;
            if target < header || next < target + PART {
                return None;
            }
            let entry = bytes.get(at..at + next)?.to_vec();
            let kind = kind(entry.get(target..)?)?;
            let comment = comment(entry.get(header..target)?);
            entries.push(Entry { offset: u32::try_from(at).ok()?, bytes: entry, target, comment, kind });
            at += next;
        }
        (entries.len() == layout.entries as usize).then_some(Self { layout, entries })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Names of the chains that are not built in.
    pub(super) fn chains(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|e| match &e.kind {
            Kind::Head(name) if name != ERROR_TARGET => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether forwarded packets that no rule decides about are dropped.
    pub(super) fn forward_drops(&self) -> bool {
        let has = self.layout.valid_hooks & (1 << FORWARD) != 0;
        let end = self.layout.underflow.get(FORWARD).filter(|_| has);
        let end = end.and_then(|offset| self.entries.iter().find(|e| e.offset == *offset));
        end.is_some_and(|e| e.kind == Kind::Verdict(NF_DROP_VERDICT))
    }

    /// The table without somebody's chains and rules, and how many rules that were; nothing if there are none.
    pub(super) fn without(
        &self,
        is_theirs: &dyn Fn(&str) -> bool,
        is_marked: &dyn Fn(&str) -> bool,
    ) -> Option<(Self, usize)> {
        // A chain is its head, its rules and the return at its end.
        let mut gone = BTreeSet::new();
        let mut inside = false;
        for entry in &self.entries {
            if let Kind::Head(name) = &entry.kind {
                inside = is_theirs(name);
            }
            if inside {
                gone.insert(entry.offset);
            }
        }
        let chains = gone.clone();
        for entry in &self.entries {
            let jumps = matches!(&entry.kind, Kind::Jump(to) if chains.contains(to));
            if jumps || entry.comment.as_deref().is_some_and(is_marked) {
                gone.insert(entry.offset);
            }
        }
        // The end of a hook is the kernel's, whoever it looks like.
        for (hook, end) in self.layout.underflow.iter().enumerate() {
            let has = self.layout.valid_hooks & (1 << hook) != 0;
            if has && !chains.contains(end) {
                gone.remove(end);
            }
        }
        if gone.is_empty() {
            return None;
        }
        let less = self.keep(&gone)?;
        Some((less, gone.len()))
    }

    /// The table without some entries: what follows one of them takes its place.
    fn keep(&self, gone: &BTreeSet<u32>) -> Option<Self> {
        let mut places = BTreeMap::new();
        let mut size = 0_u32;
        for entry in &self.entries {
            places.insert(entry.offset, size);
            if !gone.contains(&entry.offset) {
                size += u32::try_from(entry.bytes.len()).ok()?;
            }
        }
        let place = |offset: u32| places.get(&offset).copied();
        let mut entries: Vec<Entry> =
            self.entries.iter().filter(|e| !gone.contains(&e.offset)).cloned().collect();
        for entry in &mut entries {
            entry.offset = place(entry.offset)?;
            if let Kind::Jump(to) = entry.kind {
                let to = place(to)?;
                entry.kind = Kind::Jump(to);
                entry.bytes.get_mut(entry.target + PART..)?.get_mut(..4)?.copy_from_slice(&to.to_ne_bytes());
            }
        }
        let mut layout = Layout { entries: u32::try_from(entries.len()).ok()?, size, ..self.layout.clone() };
        for hook in 0..HOOKS {
            if layout.valid_hooks & (1 << hook) != 0 {
                let entry = layout.hook_entry.get_mut(hook)?;
                *entry = place(*entry)?;
                let end = layout.underflow.get_mut(hook)?;
                *end = place(*end)?;
            }
        }
        Some(Self { layout, entries })
    }

    /// Fills in what `SO_SET_REPLACE` wants to know after the name.
    pub(super) fn put_header(&self, header: &mut [u8], counters: usize) {
        let Layout { valid_hooks, hook_entry, underflow, entries, size } = &self.layout;
        let words = [*valid_hooks, *entries, *size].into_iter().chain(*hook_entry).chain(*underflow);
        let words = words.chain([u32::try_from(counters).unwrap_or(u32::MAX)]);
        for (index, word) in words.enumerate() {
            if let Some(place) = header.get_mut(32 + 4 * index..36 + 4 * index) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
        }
    }

    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> {
        self.entries.iter().flat_map(|e| e.bytes.iter().copied())
    }
}

/// A target: size, name (29 bytes), revision, data.
fn kind(target: &[u8]) -> Option<Kind> {
    let name = text(target.get(2..31)?)?;
    let data = target.get(PART..)?;
    Some(match name {
        "" => match i32::from_ne_bytes(*data.first_chunk()?) {
            to if to >= 0 => Kind::Jump(to.cast_unsigned()),
            verdict => Kind::Verdict(verdict),
        },
        ERROR_TARGET => Kind::Head(text(data.get(..30)?)?.to_owned()),
        _ => Kind::Other,
    })
}

/// The text of the match `comment` among others.
fn comment(mut matches: &[u8]) -> Option<String> {
    while !matches.is_empty() {
        let size = half(matches, 0)?;
        let one = matches.get(..size.max(PART))?;
        if text(one.get(2..31)?)? == "comment" {
            return Some(text(one.get(PART..)?)?.to_owned());
        }
        matches = matches.get(size.max(PART)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 entry without matches.
    fn entry(target: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 112];
        let size = (PART + data.len()).next_multiple_of(8);
        bytes[88..90].copy_from_slice(&112_u16.to_ne_bytes());
        bytes[90..92].copy_from_slice(&u16::try_from(112 + size).unwrap().to_ne_bytes());
        bytes.extend_from_slice(&u16::try_from(size).unwrap().to_ne_bytes());
        let mut name = target.as_bytes().to_vec();
        name.resize(30, 0);
        bytes.extend_from_slice(&name);
        bytes.extend_from_slice(data);
        bytes.resize(112 + size, 0);
        bytes
    }

    fn verdict(code: i32) -> Vec<u8> {
        entry("", &code.to_ne_bytes())
    }

    fn head(name: &str) -> Vec<u8> {
        let mut data = name.as_bytes().to_vec();
        data.resize(30, 0);
        entry("ERROR", &data)
    }

    /// One hook (that of forwarded packets), with rules and then chains.
    fn blob(rules: &[Vec<u8>], chains: &[Vec<u8>]) -> Blob {
        let end: usize = rules.iter().map(Vec::len).sum();
        let all: Vec<&Vec<u8>> = rules.iter().chain(chains).collect();
        let last = u32::try_from(end - rules.last().unwrap().len()).unwrap();
        let bytes: Vec<u8> = all.iter().flat_map(|e| e.iter().copied()).collect();
        let layout = Layout {
            valid_hooks: 1 << FORWARD,
            hook_entry: [0; HOOKS],
            underflow: [0, 0, last, 0, 0],
            entries: u32::try_from(all.len()).unwrap(),
            size: u32::try_from(bytes.len()).unwrap(),
        };
        Blob::parse(Family::V4, layout, &bytes).unwrap()
    }

    #[test]
    fn jumps_follow_their_chains() {
        let rule = verdict(-2).len();
        let heads = head("x").len();
        // FORWARD: jump theirs, jump mine, policy. Chains: theirs (1 rule), mine (1 rule).
        let base = 3 * rule;
        let theirs = i32::try_from(base + heads).unwrap();
        let mine = i32::try_from(base + heads + 2 * rule + heads).unwrap();
        let table = blob(
            &[verdict(theirs), verdict(mine), verdict(-2)],
            &[
                head("cali-FORWARD"),
                verdict(-1),
                verdict(-5),
                head("MINE"),
                verdict(-1),
                verdict(-5),
                head("ERROR"),
            ],
        );
        assert_eq!(table.chains().collect::<Vec<_>>(), ["cali-FORWARD", "MINE"]);
        assert!(!table.forward_drops());
        let (less, removed) = table.without(&|c| c.starts_with("cali-"), &|_| false).unwrap();
        assert_eq!(removed, 4, "a jump, a head, a rule and a return");
        let want = u32::try_from(2 * rule + heads).unwrap();
        assert_eq!(less.entries[0].kind, Kind::Jump(want));
        assert_eq!(less.layout.underflow[FORWARD] as usize, rule);
        assert_eq!(less.chains().collect::<Vec<_>>(), ["MINE"]);
        let again = Blob::parse(Family::V4, less.layout.clone(), &less.bytes().collect::<Vec<_>>()).unwrap();
        assert_eq!(again, less);
        assert_eq!(less.without(&|c| c.starts_with("cali-"), &|_| false), None);
    }

    #[test]
    fn what_is_cut_off_is_not_understood() {
        let whole = blob(&[verdict(-1)], &[head("ERROR")]);
        assert!(whole.forward_drops());
        let bytes: Vec<u8> = whole.bytes().collect();
        for length in 0..bytes.len() {
            assert_eq!(Blob::parse(Family::V4, whole.layout.clone(), &bytes[..length]), None);
        }
    }

    #[test]
    fn no_byte_is_trusted() {
        let table = blob(
            &[verdict(320), verdict(-2)],
            &[head("cali-FORWARD"), verdict(-1), verdict(-5), head("ERROR")],
        );
        let bytes: Vec<u8> = table.bytes().collect();
        let mut understood = 0;
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut other = bytes.clone();
                other[at] = value;
                let Some(read) = Blob::parse(Family::V4, table.layout.clone(), &other) else { continue };
                understood += 1;
                // Whatever comes out fits together again.
                if let Some((less, _)) = read.without(&|c| c.starts_with("cali-"), &|_| true) {
                    let again =
                        Blob::parse(Family::V4, less.layout.clone(), &less.bytes().collect::<Vec<_>>());
                    assert_eq!(again, Some(less), "byte {at} is {value:#x}");
                }
            }
        }
        assert!(understood > 0);
    }
}
