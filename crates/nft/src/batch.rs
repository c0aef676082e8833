//! A transaction under construction.
//!
//! Messages are in the order in which they must reach the kernel. [`Batch::cut`] marks the places where the transaction may be split,
//! should it be too large for the socket: what stands between two cuts must not be torn.

use crate::consts::*;
use crate::expr::{self, RuleBody};
use crate::lower::comment;
use crate::set::{self, RawElement};
use crate::wire::{HEADER, Writer, nft_type};
use std::ops::Range;
use tortie_rules::{Base, ChainName, Element, Hook, SetName, SetShape};

/// Elements per message: an attribute is at most 64 KiB long.
const ELEMENTS_PER_MESSAGE: usize = 500;

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// The table.
    Table,
    /// A chain, its place or its rules.
    Chain(ChainName),
    /// A set as such.
    Set(SetName),
    /// One element of a set.
    Element(SetName, Element),
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table => f.write_str("table"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Element(set, element) => write!(f, "element {element} of set {set}"),
        }
    }
}

/// One message of the batch.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is about.
    item: Item,
    /// First byte.
    start: usize,
    /// It takes something away.
    deletes: bool,
    /// Where each element's attribute starts in the message.
    elements: Vec<(u32, Element)>,
}

impl Message {
    /// True if the message takes something away.
    pub fn deletes(&self) -> bool {
        self.deletes
    }

    /// What an error at `offset` of the message is about.
    pub fn item_at(&self, offset: Option<u32>) -> Item {
        let element = offset.and_then(|offset| {
            let after = self.elements.partition_point(|(start, _)| *start <= offset);
            self.elements.get(after.checked_sub(1)?)
        });
        match (&self.item, element) {
            (Item::Set(set), Some((_, element))) => Item::Element(set.clone(), element.clone()),
            (item, _) => item.clone(),
        }
    }
}

/// A range of messages, framed so that it can be sent.
#[derive(Clone, Debug)]
pub struct Part {
    /// The bytes of one `sendmsg`.
    pub bytes: Vec<u8>,
    /// Which messages of the batch these are. A message's sequence number is its index plus one.
    pub messages: Range<usize>,
    /// Sequence number of the message that asks for an acknowledgement.
    pub last: u32,
}

/// A transaction: what should change in the table `inet <table>`.
#[derive(Clone, Debug)]
pub struct Batch {
    table: Box<str>,
    writer: Writer,
    messages: Vec<Message>,
    /// Indexes of messages before which the batch may be cut.
    cuts: Vec<usize>,
}

/// Where a rule goes in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    End,
    Before(u64),
}

const CREATE: u16 = NLM_F_REQUEST | NLM_F_CREATE;

// === impl Batch: as a whole ===

impl Batch {
    /// An empty transaction on a table.
    pub fn new(table: &str) -> Self {
        Self { table: table.into(), writer: Writer::default(), messages: Vec::new(), cuts: Vec::new() }
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.writer.0.len()
    }

    /// Here the transaction may be split.
    pub fn cut(&mut self) {
        if self.cuts.last() != Some(&self.messages.len()) {
            self.cuts.push(self.messages.len());
        }
    }

    /// The batch in as few parts as `limit` bytes each allow; a part exceeds it only if there is no cut in it.
    /// With a generation, the kernel refuses the first part unless its state is still of that generation.
    pub fn parts(&self, limit: usize, generation: Option<u32>) -> Vec<Part> {
        let mut parts = Vec::new();
        let (mut from, mut to) = (0, 0);
        let end = self.messages.len();
        for next in self.cuts.iter().copied().filter(|c| *c > 0 && *c < end).chain([end]) {
            if to > from && self.start(next) - self.start(from) > limit {
                parts.push(from..to);
                from = to;
            }
            to = next;
        }
        parts.push(from..to);
        let mut generation = generation;
        parts.into_iter().filter(|r| !r.is_empty()).map(|r| self.part(r, generation.take())).collect()
    }

    fn start(&self, message: usize) -> usize {
        self.messages.get(message).map_or(self.writer.0.len(), |m| m.start)
    }

    fn part(&self, messages: Range<usize>, generation: Option<u32>) -> Part {
        let frame = |w: &mut Writer, kind, seq, generation: Option<u32>| {
            w.message(kind, NLM_F_REQUEST, seq, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES, |w| {
                if let Some(generation) = generation {
                    w.be32(NFNL_BATCH_GENID, generation);
                }
            });
        };
        let body = self.start(messages.start)..self.start(messages.end);
        let mut w = Writer(Vec::with_capacity(body.len() + 2 * HEADER + 32));
        frame(&mut w, NFNL_MSG_BATCH_BEGIN, messages.start as u32, generation);
        // The last message's flags ask for an answer: if it comes, all went well.
        let flags = w.0.len() + self.start(messages.end - 1) - body.start + 6;
        w.0.extend_from_slice(self.writer.0.get(body).unwrap_or_default());
        if let Some(byte) = w.0.get_mut(flags) {
            *byte |= NLM_F_ACK as u8;
        }
        frame(&mut w, NFNL_MSG_BATCH_END, messages.end as u32 + 1, None);
        Part { bytes: w.0, last: messages.end as u32, messages }
    }

    fn message(&mut self, item: Item, message: u16, flags: u16, body: impl FnOnce(&mut Writer, &str)) {
        let start = self.writer.0.len();
        let seq = self.messages.len() as u32 + 1;
        let table = &self.table;
        self.writer.message(nft_type(message), flags, seq, NFPROTO_INET, 0, |w| body(w, table));
        let deletes = matches!(
            message,
            NFT_MSG_DELTABLE | NFT_MSG_DELCHAIN | NFT_MSG_DELRULE | NFT_MSG_DELSET | NFT_MSG_DELSETELEM
        );
        self.messages.push(Message { item, start, deletes, elements: Vec::new() });
    }
}

// === impl Batch: table and chains ===

impl Batch {
    /// Creates the table, or wakes it if it is dormant.
    pub fn add_table(&mut self) {
        self.message(Item::Table, NFT_MSG_NEWTABLE, CREATE, |w, table| {
            w.text(NFTA_TABLE_NAME, table);
            w.be32(NFTA_TABLE_FLAGS, 0);
        });
    }

    /// Deletes the table with all that is in it.
    pub fn delete_table(&mut self) {
        self.message(Item::Table, NFT_MSG_DELTABLE, NLM_F_REQUEST, |w, table| w.text(NFTA_TABLE_NAME, table));
    }

    /// Creates a chain.
    pub fn add_chain(&mut self, name: &ChainName, base: Option<Base>, text: &str) {
        self.message(Item::Chain(name.clone()), NFT_MSG_NEWCHAIN, CREATE, |w, table| {
            w.text(NFTA_CHAIN_TABLE, table);
            w.text(NFTA_CHAIN_NAME, &name.0);
            if let Some(base) = base {
                w.nest(NFTA_CHAIN_HOOK, |w| {
                    w.be32(NFTA_HOOK_HOOKNUM, hook_number(base.hook));
                    w.be32(NFTA_HOOK_PRIORITY, base.priority.cast_unsigned());
                });
                w.be32(NFTA_CHAIN_POLICY, NF_ACCEPT.cast_unsigned());
                w.text(NFTA_CHAIN_TYPE, hook_type(base.hook));
            }
            let comment = comment(text);
            if !comment.is_empty() {
                w.bytes(NFTA_CHAIN_USERDATA, &comment);
            }
        });
    }

    /// Deletes a chain, which must be empty and unused.
    pub fn delete_chain(&mut self, name: &ChainName) {
        self.message(Item::Chain(name.clone()), NFT_MSG_DELCHAIN, NLM_F_REQUEST, |w, table| {
            w.text(NFTA_CHAIN_TABLE, table);
            w.text(NFTA_CHAIN_NAME, &name.0);
        });
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, name: &ChainName) {
        self.delete_rules(name, None);
    }

    /// Deletes one rule.
    pub fn delete_rule(&mut self, chain: &ChainName, handle: u64) {
        self.delete_rules(chain, Some(handle));
    }

    fn delete_rules(&mut self, chain: &ChainName, handle: Option<u64>) {
        self.message(Item::Chain(chain.clone()), NFT_MSG_DELRULE, NLM_F_REQUEST, |w, table| {
            w.text(NFTA_RULE_TABLE, table);
            w.text(NFTA_RULE_CHAIN, &chain.0);
            if let Some(handle) = handle {
                w.be64(NFTA_RULE_HANDLE, handle);
            }
        });
    }

    /// Appends a rule.
    pub fn append_rule(&mut self, chain: &ChainName, rule: &RuleBody) {
        self.add_rule(chain, rule, Place::End);
    }

    /// Inserts a rule before another one.
    pub fn insert_rule(&mut self, chain: &ChainName, rule: &RuleBody, before: u64) {
        self.add_rule(chain, rule, Place::Before(before));
    }

    fn add_rule(&mut self, chain: &ChainName, rule: &RuleBody, place: Place) {
        let flags = match place {
            Place::End => CREATE | NLM_F_APPEND,
            Place::Before(_) => CREATE,
        };
        self.message(Item::Chain(chain.clone()), NFT_MSG_NEWRULE, flags, |w, table| {
            w.text(NFTA_RULE_TABLE, table);
            w.text(NFTA_RULE_CHAIN, &chain.0);
            if let Place::Before(handle) = place {
                w.be64(NFTA_RULE_POSITION, handle);
            }
            w.nest(NFTA_RULE_EXPRESSIONS, |w| rule.exprs.iter().for_each(|e| expr::write(w, e)));
            if !rule.userdata.is_empty() {
                w.bytes(NFTA_RULE_USERDATA, &rule.userdata);
            }
        });
    }
}

/// The hook's number for the `inet` family.
pub(crate) fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Input => NF_INET_LOCAL_IN,
        Hook::Forward => NF_INET_FORWARD,
        Hook::PostroutingNat => NF_INET_POST_ROUTING,
    }
}

/// The type of a base chain at the hook.
pub(crate) fn hook_type(hook: Hook) -> &'static str {
    match hook {
        Hook::Input | Hook::Forward => "filter",
        Hook::PostroutingNat => "nat",
    }
}

// === impl Batch: sets ===

impl Batch {
    /// Creates a set.
    pub fn add_set(&mut self, name: &SetName, shape: SetShape) {
        let spec = set::spec(shape);
        let id = self.messages.len() as u32 + 1;
        self.message(Item::Set(name.clone()), NFT_MSG_NEWSET, CREATE, |w, table| {
            w.text(NFTA_SET_TABLE, table);
            w.text(NFTA_SET_NAME, &name.0);
            w.be32(NFTA_SET_FLAGS, spec.flags);
            w.be32(NFTA_SET_KEY_TYPE, spec.key_type);
            w.be32(NFTA_SET_KEY_LEN, spec.key_len);
            if let Some(data_type) = spec.data_type {
                w.be32(NFTA_SET_DATA_TYPE, data_type);
                w.be32(NFTA_SET_DATA_LEN, 16);
            }
            w.be32(NFTA_SET_ID, id);
            let order = (set::key_order(shape) as u32).to_ne_bytes();
            w.bytes(NFTA_SET_USERDATA, &[&[NFTNL_UDATA_SET_KEYBYTEORDER, 4][..], &order].concat());
        });
    }

    /// Deletes a set, which must be unused.
    pub fn delete_set(&mut self, name: &SetName) {
        self.message(Item::Set(name.clone()), NFT_MSG_DELSET, NLM_F_REQUEST, |w, table| {
            w.text(NFTA_SET_TABLE, table);
            w.text(NFTA_SET_NAME, &name.0);
        });
    }

    /// Adds elements; one that is there already is no error.
    pub fn add_elements<'a>(
        &mut self,
        name: &SetName,
        shape: SetShape,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements(NFT_MSG_NEWSETELEM, CREATE, name, shape, elements, ELEMENTS_PER_MESSAGE);
    }

    /// Adds elements, each in a message of its own: every error is told, not only the first.
    pub fn add_elements_singly<'a>(
        &mut self,
        name: &SetName,
        shape: SetShape,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements(NFT_MSG_NEWSETELEM, CREATE, name, shape, elements, 1);
    }

    /// Deletes elements.
    pub fn delete_elements<'a>(
        &mut self,
        name: &SetName,
        shape: SetShape,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements(NFT_MSG_DELSETELEM, NLM_F_REQUEST, name, shape, elements, ELEMENTS_PER_MESSAGE);
    }

    fn elements<'a>(
        &mut self,
        message: u16,
        flags: u16,
        name: &SetName,
        shape: SetShape,
        elements: impl IntoIterator<Item = &'a Element>,
        per_message: usize,
    ) {
        let mut elements = elements.into_iter().peekable();
        while elements.peek().is_some() {
            let mut offsets = Vec::new();
            let start = self.writer.0.len();
            let chunk = elements.by_ref().take(per_message);
            self.message(Item::Set(name.clone()), message, flags, |w, table| {
                w.text(NFTA_SET_ELEM_LIST_TABLE, table);
                w.text(NFTA_SET_ELEM_LIST_SET, &name.0);
                w.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |w| {
                    for element in chunk {
                        offsets.push(((w.0.len() - start) as u32, element.clone()));
                        let (first, end) = set::keys(shape, element);
                        write_element(w, &first);
                        if let Some(end) = end {
                            write_element(w, &end);
                        }
                    }
                });
            });
            if let Some(last) = self.messages.last_mut() {
                last.elements = offsets;
            }
        }
    }

    /// Deletes elements that are none of ours.
    pub fn delete_raw_elements(&mut self, name: &SetName, raw: &[RawElement]) {
        for chunk in raw.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(Item::Set(name.clone()), NFT_MSG_DELSETELEM, NLM_F_REQUEST, |w, table| {
                w.text(NFTA_SET_ELEM_LIST_TABLE, table);
                w.text(NFTA_SET_ELEM_LIST_SET, &name.0);
                w.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |w| chunk.iter().for_each(|raw| write_element(w, raw)));
            });
        }
    }
}

fn write_element(w: &mut Writer, raw: &RawElement) {
    w.nest(NFTA_LIST_ELEM, |w| {
        if raw.is_end {
            w.be32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
        }
        w.value(NFTA_SET_ELEM_KEY, &raw.key);
        if let Some((code, chain)) = &raw.verdict {
            w.verdict(NFTA_SET_ELEM_DATA, *code, chain.as_deref());
        }
    });
}
