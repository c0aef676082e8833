//! Kernel expressions as values: written into rules, read back from dumps, compared.

use crate::consts::*;
use crate::wire::{Attrs, Writer, be32, be64, text};
use smallvec::SmallVec;
use std::sync::Arc;

/// Immediate data of an expression.
pub type Data = SmallVec<[u8; 16]>;

/// A 32-bit register, 0 to 15. The kernel has two numberings of the same registers; this is the finer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reg(pub u8);

/// `NFT_REG32_00`.
const REG32: u32 = 8;

impl Reg {
    fn number(self) -> u32 {
        REG32 + u32::from(self.0)
    }

    /// `NFT_REG_1` to `NFT_REG_4` are groups of four 32-bit registers.
    fn from_number(number: u32) -> Option<Self> {
        match number {
            1..=4 => Some(Self((number as u8 - 1) * 4)),
            8..=23 => Some(Self((number - REG32) as u8)),
            _ => None,
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// Loads a property of the packet.
    Meta {
        /// `NFT_META_…`
        key: u32,
        /// Where to.
        dreg: Reg,
    },
    /// Sets a property of the packet.
    MetaSet {
        /// `NFT_META_…`
        key: u32,
        /// Where from.
        sreg: Reg,
    },
    /// Loads bytes of a header.
    Payload {
        /// `NFT_PAYLOAD_…`
        base: u32,
        /// First byte.
        offset: u32,
        /// How many.
        len: u32,
        /// Where to.
        dreg: Reg,
    },
    /// Goes on only if the comparison holds.
    Cmp {
        /// `NFT_CMP_…`
        op: u32,
        /// What.
        sreg: Reg,
        /// With what.
        data: Data,
    },
    /// Goes on only if the value is in (or not in) the range.
    Range {
        /// `NFT_RANGE_…`
        op: u32,
        /// What.
        sreg: Reg,
        /// First value.
        from: Data,
        /// Last value.
        to: Data,
    },
    /// `(value & mask) ^ xor`.
    Bitwise {
        /// Where from.
        sreg: Reg,
        /// Where to.
        dreg: Reg,
        /// Mask.
        mask: Data,
        /// Xor.
        xor: Data,
    },
    /// Loads a property of the connection.
    Ct {
        /// `NFT_CT_…`
        key: u32,
        /// Where to.
        dreg: Reg,
    },
    /// Goes on only if the value is in (or not in) a set.
    Lookup {
        /// The set.
        set: Arc<str>,
        /// What.
        sreg: Reg,
        /// Not in.
        inverted: bool,
    },
    /// Does what a map says about the value, if it is there.
    VerdictMap {
        /// The map.
        map: Arc<str>,
        /// What.
        sreg: Reg,
    },
    /// Decides.
    Verdict {
        /// `NF_…` or `NFT_…`
        code: i32,
        /// Target of a jump.
        chain: Option<Arc<str>>,
    },
    /// Counts. What it counted is no part of the value.
    Counter,
    /// Goes on only below a rate.
    Limit {
        /// Packets per unit.
        rate: u64,
        /// Seconds.
        unit: u64,
        /// Packets at once.
        burst: u32,
        /// `NFT_LIMIT_…`, 0 for packets.
        kind: u32,
        /// 1 inverts.
        flags: u32,
    },
    /// Writes to the kernel log.
    Log {
        /// Start of the line.
        prefix: Arc<str>,
        /// Severity.
        level: u32,
    },
    /// Source NAT to the outgoing interface's address.
    Masquerade {
        /// `NF_NAT_RANGE_…`
        flags: u32,
    },
    /// An expression, or a use of one, that we never write.
    Foreign(Arc<str>),
}

/// A rule without its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuleBody {
    /// What it does.
    pub exprs: Vec<Expr>,
    /// Opaque bytes kept with it; here the comment in libnftnl's form.
    pub userdata: Vec<u8>,
}

/// A rule as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRule {
    /// Its chain.
    pub chain: Arc<str>,
    /// Its number, unique in the table.
    pub handle: u64,
    /// What it is.
    pub body: RuleBody,
    /// Packets and bytes of its first counter.
    pub counter: Option<(u64, u64)>,
}

/// Writes one expression as a list element.
pub(crate) fn write(w: &mut Writer, expr: &Expr) {
    w.nest(NFTA_LIST_ELEM, |w| {
        w.text(NFTA_EXPR_NAME, name(expr));
        w.nest(NFTA_EXPR_DATA, |w| write_data(w, expr));
    });
}

fn name(expr: &Expr) -> &str {
    match expr {
        Expr::Meta { .. } | Expr::MetaSet { .. } => "meta",
        Expr::Payload { .. } => "payload",
        Expr::Cmp { .. } => "cmp",
        Expr::Range { .. } => "range",
        Expr::Bitwise { .. } => "bitwise",
        Expr::Ct { .. } => "ct",
        Expr::Lookup { .. } | Expr::VerdictMap { .. } => "lookup",
        Expr::Verdict { .. } => "immediate",
        Expr::Counter => "counter",
        Expr::Limit { .. } => "limit",
        Expr::Log { .. } => "log",
        Expr::Masquerade { .. } => "masq",
        Expr::Foreign(name) => name,
    }
}

fn write_data(w: &mut Writer, expr: &Expr) {
    match expr {
        Expr::Meta { key, dreg } => {
            w.be32(NFTA_META_DREG, dreg.number());
            w.be32(NFTA_META_KEY, *key);
        }
        Expr::MetaSet { key, sreg } => {
            w.be32(NFTA_META_KEY, *key);
            w.be32(NFTA_META_SREG, sreg.number());
        }
        Expr::Payload { base, offset, len, dreg } => {
            w.be32(NFTA_PAYLOAD_DREG, dreg.number());
            w.be32(NFTA_PAYLOAD_BASE, *base);
            w.be32(NFTA_PAYLOAD_OFFSET, *offset);
            w.be32(NFTA_PAYLOAD_LEN, *len);
        }
        Expr::Cmp { op, sreg, data } => {
            w.be32(NFTA_CMP_SREG, sreg.number());
            w.be32(NFTA_CMP_OP, *op);
            w.value(NFTA_CMP_DATA, data);
        }
        Expr::Range { op, sreg, from, to } => {
            w.be32(NFTA_RANGE_SREG, sreg.number());
            w.be32(NFTA_RANGE_OP, *op);
            w.value(NFTA_RANGE_FROM_DATA, from);
            w.value(NFTA_RANGE_TO_DATA, to);
        }
        Expr::Bitwise { sreg, dreg, mask, xor } => {
            w.be32(NFTA_BITWISE_SREG, sreg.number());
            w.be32(NFTA_BITWISE_DREG, dreg.number());
            w.be32(NFTA_BITWISE_LEN, mask.len() as u32);
            w.value(NFTA_BITWISE_MASK, mask);
            w.value(NFTA_BITWISE_XOR, xor);
        }
        Expr::Ct { key, dreg } => {
            w.be32(NFTA_CT_DREG, dreg.number());
            w.be32(NFTA_CT_KEY, *key);
        }
        Expr::Lookup { set, sreg, inverted } => {
            w.text(NFTA_LOOKUP_SET, set);
            w.be32(NFTA_LOOKUP_SREG, sreg.number());
            w.be32(NFTA_LOOKUP_FLAGS, if *inverted { NFT_LOOKUP_F_INV } else { 0 });
        }
        Expr::VerdictMap { map, sreg } => {
            w.text(NFTA_LOOKUP_SET, map);
            w.be32(NFTA_LOOKUP_SREG, sreg.number());
            w.be32(NFTA_LOOKUP_DREG, 0);
        }
        Expr::Verdict { code, chain } => {
            w.be32(NFTA_IMMEDIATE_DREG, 0);
            w.verdict(NFTA_IMMEDIATE_DATA, *code, chain.as_deref());
        }
        Expr::Counter | Expr::Foreign(_) => {}
        Expr::Limit { rate, unit, burst, kind, flags } => {
            w.be64(NFTA_LIMIT_RATE, *rate);
            w.be64(NFTA_LIMIT_UNIT, *unit);
            w.be32(NFTA_LIMIT_BURST, *burst);
            w.be32(NFTA_LIMIT_TYPE, *kind);
            w.be32(NFTA_LIMIT_FLAGS, *flags);
        }
        Expr::Log { prefix, level } => {
            w.text(NFTA_LOG_PREFIX, prefix);
            w.be32(NFTA_LOG_LEVEL, *level);
        }
        Expr::Masquerade { flags } => w.be32(NFTA_MASQ_FLAGS, *flags),
    }
}

/// Reads one list element.
pub(crate) fn read(element: &[u8]) -> (Expr, Option<(u64, u64)>) {
    let (mut kind, mut data) = ("", &[][..]);
    for (attr, content) in Attrs(element) {
        match attr {
            NFTA_EXPR_NAME => kind = text(content).unwrap_or_default(),
            NFTA_EXPR_DATA => data = content,
            _ => {}
        }
    }
    let found = Found::new(data);
    let expr = found.expr(kind).unwrap_or_else(|| Expr::Foreign(kind.into()));
    let counter = matches!(expr, Expr::Counter).then(|| {
        let value = |n| found.get(n).and_then(be64).unwrap_or_default();
        (value(NFTA_COUNTER_PACKETS), value(NFTA_COUNTER_BYTES))
    });
    (expr, counter)
}

/// The attributes of an expression, by type.
struct Found<'a>([Option<&'a [u8]>; 8]);

impl<'a> Found<'a> {
    fn new(data: &'a [u8]) -> Self {
        let mut found = [None; 8];
        for (attr, content) in Attrs(data) {
            if let Some(slot) = found.get_mut(usize::from(attr)) {
                *slot = Some(content);
            }
        }
        Self(found)
    }

    fn get(&self, attr: u16) -> Option<&'a [u8]> {
        *self.0.get(usize::from(attr))?
    }

    fn num(&self, attr: u16) -> Option<u32> {
        be32(self.get(attr)?)
    }

    fn reg(&self, attr: u16) -> Option<Reg> {
        Reg::from_number(self.num(attr)?)
    }

    fn text(&self, attr: u16) -> Option<Arc<str>> {
        Some(text(self.get(attr)?)?.into())
    }

    fn data(&self, attr: u16) -> Option<Data> {
        let (_, value) = Attrs(self.get(attr)?).find(|(kind, _)| *kind == NFTA_DATA_VALUE)?;
        Some(Data::from_slice(value))
    }

    /// The expression, unless it has something that ours never have.
    fn expr(&self, kind: &str) -> Option<Expr> {
        Some(match kind {
            "meta" => match self.reg(NFTA_META_SREG) {
                Some(sreg) => Expr::MetaSet { key: self.num(NFTA_META_KEY)?, sreg },
                None => Expr::Meta { key: self.num(NFTA_META_KEY)?, dreg: self.reg(NFTA_META_DREG)? },
            },
            "payload" if self.get(NFTA_PAYLOAD_SREG).is_none() => Expr::Payload {
                base: self.num(NFTA_PAYLOAD_BASE)?,
                offset: self.num(NFTA_PAYLOAD_OFFSET)?,
                len: self.num(NFTA_PAYLOAD_LEN)?,
                dreg: self.reg(NFTA_PAYLOAD_DREG)?,
            },
            "cmp" => Expr::Cmp {
                op: self.num(NFTA_CMP_OP)?,
                sreg: self.reg(NFTA_CMP_SREG)?,
                data: self.data(NFTA_CMP_DATA)?,
            },
            "range" => Expr::Range {
                op: self.num(NFTA_RANGE_OP)?,
                sreg: self.reg(NFTA_RANGE_SREG)?,
                from: self.data(NFTA_RANGE_FROM_DATA)?,
                to: self.data(NFTA_RANGE_TO_DATA)?,
            },
            "bitwise" if self.num(NFTA_BITWISE_OP).is_none_or(|op| op == 0) => Expr::Bitwise {
                sreg: self.reg(NFTA_BITWISE_SREG)?,
                dreg: self.reg(NFTA_BITWISE_DREG)?,
                mask: self.data(NFTA_BITWISE_MASK)?,
                xor: self.data(NFTA_BITWISE_XOR)?,
            },
            "ct" => Expr::Ct { key: self.num(NFTA_CT_KEY)?, dreg: self.reg(NFTA_CT_DREG)? },
            "lookup" => self.lookup()?,
            "immediate" if self.num(NFTA_IMMEDIATE_DREG) == Some(0) => {
                let (code, chain) = verdict(self.get(NFTA_IMMEDIATE_DATA)?)?;
                Expr::Verdict { code, chain: chain.map(Into::into) }
            }
            "counter" => Expr::Counter,
            "limit" => Expr::Limit {
                rate: be64(self.get(NFTA_LIMIT_RATE)?)?,
                unit: be64(self.get(NFTA_LIMIT_UNIT)?)?,
                burst: self.num(NFTA_LIMIT_BURST)?,
                kind: self.num(NFTA_LIMIT_TYPE)?,
                flags: self.num(NFTA_LIMIT_FLAGS)?,
            },
            "log" if self.get(NFTA_LOG_GROUP).is_none() && self.num(NFTA_LOG_FLAGS).unwrap_or(0) == 0 => {
                Expr::Log { prefix: self.text(NFTA_LOG_PREFIX)?, level: self.num(NFTA_LOG_LEVEL)? }
            }
            "masq" if self.get(NFTA_MASQ_REG_PROTO_MIN).is_none() => {
                Expr::Masquerade { flags: self.num(NFTA_MASQ_FLAGS).unwrap_or(0) }
            }
            _ => return None,
        })
    }

    fn lookup(&self) -> Option<Expr> {
        let (set, sreg) = (self.text(NFTA_LOOKUP_SET)?, self.reg(NFTA_LOOKUP_SREG)?);
        let flags = self.num(NFTA_LOOKUP_FLAGS).unwrap_or(0);
        match self.num(NFTA_LOOKUP_DREG) {
            None => Some(Expr::Lookup { set, sreg, inverted: flags & NFT_LOOKUP_F_INV != 0 }),
            Some(0) => Some(Expr::VerdictMap { map: set, sreg }),
            Some(_) => None,
        }
    }
}

/// Reads a verdict and the chain it names out of wrapped data.
pub(crate) fn verdict(data: &[u8]) -> Option<(i32, Option<&str>)> {
    let (_, inner) = Attrs(data).find(|(kind, _)| *kind == NFTA_DATA_VERDICT)?;
    let (mut code, mut chain) = (None, None);
    for (attr, content) in Attrs(inner) {
        match attr {
            NFTA_VERDICT_CODE => code = be32(content).map(u32::cast_signed),
            NFTA_VERDICT_CHAIN => chain = text(content),
            _ => {}
        }
    }
    Some((code?, chain))
}
