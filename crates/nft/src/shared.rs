//! Tables of others: what there is in any family, and how parts of it are removed.
//!
//! Rules of others are never compared, so they are read only as far as it takes to tell whose they are: where they
//! jump to, and the comment that they carry.

use crate::consts::*;
use crate::expr;
use crate::wire::{Attrs, HEADER, Messages, NFGENMSG, Writer, be32, be64, nft_type, text};
use std::sync::Arc;

/// The family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// `inet`
    Inet,
    /// `ip`
    Ip,
    /// `arp`
    Arp,
    /// `ip6`
    Ip6,
    /// Another one, by its number (`NFPROTO_…`).
    Other(u8),
}

impl TableFamily {
    fn number(self) -> u8 {
        match self {
            Self::Inet => NFPROTO_INET,
            Self::Ip => NFPROTO_IPV4,
            Self::Arp => NFPROTO_ARP,
            Self::Ip6 => NFPROTO_IPV6,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            NFPROTO_INET => Self::Inet,
            NFPROTO_IPV4 => Self::Ip,
            NFPROTO_ARP => Self::Arp,
            NFPROTO_IPV6 => Self::Ip6,
            number => Self::Other(number),
        }
    }
}

impl std::fmt::Display for TableFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet => f.write_str("inet"),
            Self::Ip => f.write_str("ip"),
            Self::Arp => f.write_str("arp"),
            Self::Ip6 => f.write_str("ip6"),
            Self::Other(number) => write!(f, "family {number}"),
        }
    }
}

/// A table of any family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableRef {
    /// Its family.
    pub family: TableFamily,
    /// Its name.
    pub name: Arc<str>,
}

impl std::fmt::Display for TableRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// A chain of anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedChain {
    /// Its table.
    pub table: TableRef,
    /// Its name.
    pub name: Arc<str>,
    /// The hook of a base chain, `NF_INET_…`.
    pub hook: Option<u32>,
    /// What a base chain does with packets that reach its end is to drop them.
    pub drops: bool,
}

/// A rule of anybody, as far as its owner can be told by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRule {
    /// Its table.
    pub table: TableRef,
    /// Its chain.
    pub chain: Arc<str>,
    /// Its number.
    pub handle: u64,
    /// The chain that it jumps to.
    pub jump: Option<Arc<str>>,
    /// Its comment, whether of `iptables` or of `nft`.
    pub comment: Option<Arc<str>>,
}

/// One decoded message of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// A table.
    Table(TableRef),
    /// A chain.
    Chain(SharedChain),
    /// A rule.
    Rule(SharedRule),
    /// The dump is complete, or was refused with this error number.
    Done(i32),
    /// The dump is no consistent picture: something changed meanwhile.
    Interrupted,
}

/// Asks for all tables of all families.
pub fn tables(seq: u32) -> Vec<u8> {
    dump(NFT_MSG_GETTABLE, NFPROTO_UNSPEC, seq, |_| {})
}

/// Asks for all chains of all families.
pub fn chains(seq: u32) -> Vec<u8> {
    dump(NFT_MSG_GETCHAIN, NFPROTO_UNSPEC, seq, |_| {})
}

/// Asks for the rules of one chain.
pub fn rules(seq: u32, table: &TableRef, chain: &str) -> Vec<u8> {
    dump(NFT_MSG_GETRULE, table.family.number(), seq, |w| {
        w.text(NFTA_RULE_TABLE, &table.name);
        w.text(NFTA_RULE_CHAIN, chain);
    })
}

fn dump(message: u16, family: u8, seq: u32, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    w.message(nft_type(message), NLM_F_REQUEST | NLM_F_DUMP, seq, family, 0, body);
    w.0
}

/// Decodes a received datagram. What is unknown is left out.
pub fn decode(datagram: &[u8]) -> Vec<Shared> {
    let mut out = Vec::new();
    for message in Messages(datagram) {
        if message.flags & NLM_F_DUMP_INTR != 0 && message.kind != NLMSG_ERROR {
            out.push(Shared::Interrupted);
        }
        let code = || message.payload.first_chunk().map_or(0, |c| -i32::from_ne_bytes(*c));
        match message.kind {
            NLMSG_ERROR | NLMSG_DONE => out.push(Shared::Done(code())),
            kind => out.extend(object(kind, message.payload)),
        }
    }
    out
}

fn object(kind: u16, payload: &[u8]) -> Option<Shared> {
    let family = TableFamily::from_number(*payload.first()?);
    let attrs = &Attrs(payload.get(NFGENMSG..)?);
    let table = |kind| Some(TableRef { family, name: name(attrs, kind)? });
    Some(match kind {
        k if k == nft_type(NFT_MSG_NEWTABLE) => Shared::Table(table(NFTA_TABLE_NAME)?),
        k if k == nft_type(NFT_MSG_NEWCHAIN) => {
            let hook = find(attrs, NFTA_CHAIN_HOOK);
            Shared::Chain(SharedChain {
                table: table(NFTA_CHAIN_TABLE)?,
                name: name(attrs, NFTA_CHAIN_NAME)?,
                hook: hook.and_then(|hook| be32(find(&Attrs(hook), NFTA_HOOK_HOOKNUM)?)),
                drops: find(attrs, NFTA_CHAIN_POLICY).and_then(be32) == Some(NF_DROP.cast_unsigned()),
            })
        }
        k if k == nft_type(NFT_MSG_NEWRULE) => {
            let expressions = find(attrs, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
            let said = find(attrs, NFTA_RULE_USERDATA).and_then(comment_of_nft);
            let expressions = || Attrs(expressions).map(|(_, content)| content);
            Shared::Rule(SharedRule {
                table: table(NFTA_RULE_TABLE)?,
                chain: name(attrs, NFTA_RULE_CHAIN)?,
                handle: be64(find(attrs, NFTA_RULE_HANDLE)?)?,
                jump: expressions().find_map(jump),
                comment: expressions().find_map(comment_of_iptables).or(said),
            })
        }
        _ => return None,
    })
}

fn find<'a>(attrs: &Attrs<'a>, kind: u16) -> Option<&'a [u8]> {
    attrs.clone().find(|(k, _)| *k == kind).map(|(_, content)| content)
}

fn name(attrs: &Attrs<'_>, kind: u16) -> Option<Arc<str>> {
    Some(text(find(attrs, kind)?)?.into())
}

/// The target of an `immediate` expression with a verdict.
fn jump(expression: &[u8]) -> Option<Arc<str>> {
    match expr::read(expression).0 {
        expr::Expr::Verdict { chain, .. } => chain,
        _ => None,
    }
}

/// The text of the `comment` match of `iptables`.
fn comment_of_iptables(expression: &[u8]) -> Option<Arc<str>> {
    let attrs = Attrs(expression);
    if text(find(&attrs, NFTA_EXPR_NAME)?)? != "match" {
        return None;
    }
    let data = Attrs(find(&attrs, NFTA_EXPR_DATA)?);
    if text(find(&data, NFTA_MATCH_NAME)?)? != "comment" {
        return None;
    }
    Some(text(find(&data, NFTA_MATCH_INFO)?)?.into())
}

/// The comment in the user data of a rule: type, length and value, one byte each for the first two.
fn comment_of_nft(userdata: &[u8]) -> Option<Arc<str>> {
    let mut rest = userdata;
    while let [kind, length, tail @ ..] = rest {
        let value = tail.get(..usize::from(*length))?;
        if *kind == NFTNL_UDATA_COMMENT {
            return Some(text(value)?.into());
        }
        rest = tail.get(usize::from(*length)..)?;
    }
    None
}

/// A transaction that takes things away, from tables of any family: all of it, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Removal {
    writer: Writer,
    messages: u32,
    /// Where the last message starts.
    last: usize,
}

impl Removal {
    /// Nothing is to be removed.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Removes a table with all that is in it.
    pub fn table(&mut self, table: &TableRef) {
        self.message(NFT_MSG_DELTABLE, table.family, |w| w.text(NFTA_TABLE_NAME, &table.name));
    }

    /// Removes a rule.
    pub fn rule(&mut self, rule: &SharedRule) {
        self.message(NFT_MSG_DELRULE, rule.table.family, |w| {
            w.text(NFTA_RULE_TABLE, &rule.table.name);
            w.text(NFTA_RULE_CHAIN, &rule.chain);
            w.be64(NFTA_RULE_HANDLE, rule.handle);
        });
    }

    /// Removes all rules of a chain.
    pub fn rules_of(&mut self, table: &TableRef, chain: &str) {
        self.message(NFT_MSG_DELRULE, table.family, |w| {
            w.text(NFTA_RULE_TABLE, &table.name);
            w.text(NFTA_RULE_CHAIN, chain);
        });
    }

    /// Removes a chain, to which nothing may jump any more.
    pub fn chain(&mut self, table: &TableRef, chain: &str) {
        self.message(NFT_MSG_DELCHAIN, table.family, |w| {
            w.text(NFTA_CHAIN_TABLE, &table.name);
            w.text(NFTA_CHAIN_NAME, chain);
        });
    }

    fn message(&mut self, message: u16, family: TableFamily, body: impl FnOnce(&mut Writer)) {
        self.messages += 1;
        self.last = self.writer.0.len();
        self.writer.message(nft_type(message), NLM_F_REQUEST, self.messages, family.number(), 0, body);
    }

    /// The bytes to send, and the sequence number of the message that will be acknowledged if all went well.
    pub fn bytes(&self) -> (Vec<u8>, u32) {
        let mut w = Writer(Vec::with_capacity(self.writer.0.len() + 3 * HEADER));
        let frame = |w: &mut Writer, kind, seq| {
            w.message(kind, NLM_F_REQUEST, seq, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES, |_| {});
        };
        frame(&mut w, NFNL_MSG_BATCH_BEGIN, 0);
        let flags = w.0.len() + self.last + 6;
        w.0.extend_from_slice(&self.writer.0);
        if let Some(byte) = w.0.get_mut(flags).filter(|_| !self.is_empty()) {
            *byte |= NLM_F_ACK as u8;
        }
        frame(&mut w, NFNL_MSG_BATCH_END, self.messages + 1);
        (w.0, self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_among_other_user_data() {
        assert_eq!(comment_of_nft(&[7, 2, 1, 1, 0, 3, b'h', b'i', 0]).as_deref(), Some("hi"));
        assert_eq!(comment_of_nft(&[7, 2, 1, 1]), None);
        assert_eq!(comment_of_nft(&[0, 200, b'h']), None, "cut off");
        assert_eq!(comment_of_nft(&[0]), None);
    }

    #[test]
    fn a_removal_is_framed() {
        let table = TableRef { family: TableFamily::Ip6, name: "filter".into() };
        let mut removal = Removal::default();
        assert!(removal.is_empty());
        removal.rules_of(&table, "cali-FORWARD");
        removal.chain(&table, "cali-FORWARD");
        let (bytes, last) = removal.bytes();
        let kinds: Vec<u16> = Messages(&bytes).map(|m| m.kind).collect();
        assert_eq!(
            kinds,
            [NFNL_MSG_BATCH_BEGIN, nft_type(NFT_MSG_DELRULE), nft_type(NFT_MSG_DELCHAIN), NFNL_MSG_BATCH_END]
        );
        assert_eq!(last, 2);
        let families: Vec<u8> = Messages(&bytes).filter_map(|m| m.payload.first().copied()).collect();
        assert_eq!(families, [NFPROTO_UNSPEC, NFPROTO_IPV6, NFPROTO_IPV6, NFPROTO_UNSPEC]);
    }

    #[test]
    fn rubbish_decodes_to_nothing() {
        assert_eq!(decode(&[1, 2, 3]), []);
        let mut w = Writer::default();
        w.message(nft_type(NFT_MSG_NEWRULE), 0, 1, NFPROTO_IPV4, 0, |w| w.text(NFTA_RULE_TABLE, "filter"));
        assert_eq!(decode(&w.0), [], "a rule without chain");
    }

    #[test]
    fn no_byte_is_trusted() {
        let mut w = Writer::default();
        w.message(nft_type(NFT_MSG_NEWRULE), 0, 1, NFPROTO_IPV4, 0, |w| {
            w.text(NFTA_RULE_TABLE, "filter");
            w.text(NFTA_RULE_CHAIN, "FORWARD");
            w.be64(NFTA_RULE_HANDLE, 7);
            w.nest(NFTA_RULE_EXPRESSIONS, |w| {
                w.nest(NFTA_LIST_ELEM, |w| {
                    w.text(NFTA_EXPR_NAME, "match");
                    w.nest(NFTA_EXPR_DATA, |w| {
                        w.text(NFTA_MATCH_NAME, "comment");
                        w.text(NFTA_MATCH_INFO, "cali:wUHhoiAYhphO9Mso");
                    });
                });
            });
            w.bytes(NFTA_RULE_USERDATA, &[0, 3, b'h', b'i', 0]);
        });
        let rule = SharedRule {
            table: TableRef { family: TableFamily::Ip, name: "filter".into() },
            chain: "FORWARD".into(),
            handle: 7,
            jump: None,
            comment: Some("cali:wUHhoiAYhphO9Mso".into()),
        };
        assert_eq!(decode(&w.0), [Shared::Rule(rule)]);
        for at in 0..w.0.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut other = w.0.clone();
                other[at] = value;
                assert!(decode(&other).len() <= 3);
                decode(&other[..at]);
            }
        }
    }
}
