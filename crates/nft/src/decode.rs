//! What the kernel answers, as values. Unknown attributes are skipped; what cannot be read is left out.

use crate::batch::{hook_number, hook_type};
use crate::consts::*;
use crate::expr::{self, KernelRule, RuleBody};
use crate::set::{KeyBytes, RawElement, Spec};
use crate::wire::{Attrs, HEADER, Messages, NFGENMSG, Received, be32, be64, nft_type, text};
use std::sync::Arc;
use tortie_rules::Base;

/// A base chain's place as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelBase {
    /// `NF_INET_…`
    pub hook: u32,
    /// Priority.
    pub priority: i32,
    /// `filter`, `nat`, `route`.
    pub kind: Arc<str>,
    /// Verdict at the end: `NF_DROP` or `NF_ACCEPT`.
    pub policy: i32,
}

impl From<Base> for KernelBase {
    fn from(Base { hook, priority }: Base) -> Self {
        Self { hook: hook_number(hook), priority, kind: hook_type(hook).into(), policy: NF_ACCEPT }
    }
}

/// A chain as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelChain {
    /// Its table.
    pub table: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its place.
    pub base: Option<KernelBase>,
}

/// A set as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSet {
    /// Its table.
    pub table: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its properties.
    pub spec: Spec,
}

/// An acknowledgement or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Sequence number of the message that it answers.
    pub seq: u32,
    /// 0, or a positive error number.
    pub errno: i32,
    /// Where in the message the offending attribute starts.
    pub offset: Option<u32>,
    /// What the kernel says about it.
    pub text: Option<Arc<str>>,
}

/// One decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The generation's number.
    Generation(u32),
    /// A table: name and flags.
    Table(Arc<str>, u32),
    /// A chain.
    Chain(KernelChain),
    /// A rule.
    Rule(KernelRule),
    /// A set.
    Set(KernelSet),
    /// Elements of the set that was asked for.
    Elements(Vec<RawElement>),
    /// An acknowledgement or an error.
    Answer(Answer),
    /// The dump is complete; the error number with which it ended.
    Done(i32),
    /// The dump is no consistent picture: something changed meanwhile.
    Interrupted,
}

/// Decodes a received datagram.
pub fn messages(datagram: &[u8]) -> Vec<Decoded> {
    let mut out = Vec::new();
    for message in Messages(datagram) {
        if message.flags & NLM_F_DUMP_INTR != 0 && message.kind != NLMSG_ERROR {
            out.push(Decoded::Interrupted);
        }
        out.extend(decode(message));
    }
    out
}

fn decode(message: Received<'_>) -> Option<Decoded> {
    match message.kind {
        NLMSG_ERROR => return answer(message).map(Decoded::Answer),
        NLMSG_DONE => {
            let code = message.payload.first_chunk().map_or(0, |c| i32::from_ne_bytes(*c));
            return Some(Decoded::Done(-code));
        }
        _ => {}
    }
    let attrs = &Attrs(message.payload.get(NFGENMSG..)?);
    Some(match message.kind {
        k if k == nft_type(NFT_MSG_NEWGEN) => Decoded::Generation(be32(find(attrs, NFTA_GEN_ID)?)?),
        k if k == nft_type(NFT_MSG_NEWTABLE) => {
            let flags = find(attrs, NFTA_TABLE_FLAGS).and_then(be32).unwrap_or(0);
            Decoded::Table(name(attrs, NFTA_TABLE_NAME)?, flags)
        }
        k if k == nft_type(NFT_MSG_NEWCHAIN) => Decoded::Chain(chain(attrs)?),
        k if k == nft_type(NFT_MSG_NEWRULE) => Decoded::Rule(rule(attrs)?),
        k if k == nft_type(NFT_MSG_NEWSET) => Decoded::Set(set(attrs)?),
        k if k == nft_type(NFT_MSG_NEWSETELEM) => {
            let list = find(attrs, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
            Decoded::Elements(Attrs(list).filter_map(|(_, e)| element(Attrs(e))).collect())
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

fn chain(attrs: &Attrs<'_>) -> Option<KernelChain> {
    let base = find(attrs, NFTA_CHAIN_HOOK).and_then(|hook| {
        Some(KernelBase {
            hook: be32(find(&Attrs(hook), NFTA_HOOK_HOOKNUM)?)?,
            priority: be32(find(&Attrs(hook), NFTA_HOOK_PRIORITY)?)?.cast_signed(),
            kind: name(attrs, NFTA_CHAIN_TYPE)?,
            policy: be32(find(attrs, NFTA_CHAIN_POLICY)?)?.cast_signed(),
        })
    });
    Some(KernelChain { table: name(attrs, NFTA_CHAIN_TABLE)?, name: name(attrs, NFTA_CHAIN_NAME)?, base })
}

fn rule(attrs: &Attrs<'_>) -> Option<KernelRule> {
    let (mut exprs, mut counter) = (Vec::new(), None);
    for (_, content) in Attrs(find(attrs, NFTA_RULE_EXPRESSIONS).unwrap_or_default()) {
        let (expr, counted) = expr::read(content);
        exprs.push(expr);
        counter = counter.or(counted);
    }
    Some(KernelRule {
        chain: name(attrs, NFTA_RULE_CHAIN)?,
        handle: be64(find(attrs, NFTA_RULE_HANDLE)?)?,
        body: RuleBody { exprs, userdata: find(attrs, NFTA_RULE_USERDATA).unwrap_or_default().to_vec() },
        counter,
    })
}

fn set(attrs: &Attrs<'_>) -> Option<KernelSet> {
    let number = |kind| find(attrs, kind).and_then(be32);
    let spec = Spec {
        flags: number(NFTA_SET_FLAGS).unwrap_or(0),
        key_type: number(NFTA_SET_KEY_TYPE).unwrap_or(0),
        key_len: number(NFTA_SET_KEY_LEN)?,
        data_type: number(NFTA_SET_DATA_TYPE),
    };
    Some(KernelSet { table: name(attrs, NFTA_SET_TABLE)?, name: name(attrs, NFTA_SET_NAME)?, spec })
}

fn element(attrs: Attrs<'_>) -> Option<RawElement> {
    let mut raw = RawElement { key: KeyBytes::new(), is_end: false, verdict: None, is_odd: false };
    let mut known = false;
    for (kind, content) in attrs {
        match kind {
            NFTA_SET_ELEM_KEY => {
                let (_, key) = Attrs(content).find(|(k, _)| *k == NFTA_DATA_VALUE)?;
                raw.key = KeyBytes::from_slice(key);
                known = true;
            }
            NFTA_SET_ELEM_DATA => match expr::verdict(content) {
                Some((code, chain)) => raw.verdict = Some((code, chain.map(Into::into))),
                None => raw.is_odd = true,
            },
            NFTA_SET_ELEM_FLAGS => {
                let flags = be32(content)?;
                raw.is_end = flags & NFT_SET_ELEM_INTERVAL_END != 0;
                raw.is_odd |= flags & !NFT_SET_ELEM_INTERVAL_END != 0;
            }
            NFTA_SET_ELEM_TIMEOUT | NFTA_SET_ELEM_KEY_END => raw.is_odd = true,
            _ => {}
        }
    }
    // A catch-all has no key.
    raw.is_odd |= !known;
    Some(raw)
}

fn answer(message: Received<'_>) -> Option<Answer> {
    let code = i32::from_ne_bytes(*message.payload.first_chunk()?);
    let original = message.payload.get(4..4 + HEADER)?;
    let mut answer = Answer {
        seq: u32::from_ne_bytes(*original.get(8..)?.first_chunk()?),
        errno: -code,
        offset: None,
        text: None,
    };
    if message.flags & NLM_F_ACK_TLVS != 0 {
        // With an error, the whole offending message stands before the attributes, unless the answer is capped.
        let length = u32::from_ne_bytes(*original.first_chunk()?) as usize;
        let capped = message.flags & NLM_F_CAPPED != 0;
        let skip = if code == 0 || capped { HEADER } else { length.max(HEADER) };
        for (kind, content) in Attrs(message.payload.get(4 + skip..).unwrap_or_default()) {
            match kind {
                NLMSGERR_ATTR_MSG => answer.text = text(content).map(Into::into),
                NLMSGERR_ATTR_OFFS => answer.offset = content.first_chunk().map(|c| u32::from_ne_bytes(*c)),
                _ => {}
            }
        }
    }
    Some(answer)
}
