//! Label selectors: the expressions by which policies choose endpoints and rules choose peers.
//!
//! ```text
//! expr  := and ('||' and)*          and := op ('&&' op)*
//! op    := '!'* (test | '(' expr ')')
//! test  := all() | global() | has(label) | label == str | label != str
//!        | label in {str, …} | label not in {str, …}
//!        | label contains str | label starts with str | label ends with str
//! label := [A-Za-z0-9_./-]{1,512}    str := "…" | '…' (no escapes)
//! ```
//!
//! The empty selector selects everything. `!=` and `not in` are true of things without the label.
//!
//! The canonical text of a selector names IP sets in the kernel and is therefore a compatibility surface: it is the
//! form that Calico gives it, byte for byte. This crate knows nothing of what is selected; see `labels` for that.

mod ast;
mod error;
mod labels;
mod parse;
mod restrict;
mod token;

pub use ast::{Compare, Expr, Values};
pub use error::{ParseError, Problem};
pub use labels::{Labels, Layered, NoLabels};
pub use restrict::{Restriction, Restrictions};
pub use token::{MAX_LABEL_LENGTH, Token, TokenKind, is_valid_label, tokenize};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha224};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// A parsed selector. Cheap to clone; equal, ordered and hashed by its canonical text.
#[derive(Clone)]
pub struct Selector(Arc<Inner>);

struct Inner {
    root: Expr,
    canonical: Box<str>,
    unique_id: OnceLock<Arc<str>>,
}

impl Selector {
    /// Parses a selector. Space and tab separate; the empty text is [`Selector::all`].
    ///
    /// Parentheses may nest 256 deep, so that hostile text cannot exhaust the stack.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text).map(Self::from_root)
    }

    /// `all()`: selects everything.
    pub fn all() -> Self {
        static ALL: OnceLock<Selector> = OnceLock::new();
        ALL.get_or_init(|| Self::from_root(Expr::All)).clone()
    }

    /// `!all()`: selects nothing.
    pub fn none() -> Self {
        static NONE: OnceLock<Selector> = OnceLock::new();
        NONE.get_or_init(|| Self::from_root(Expr::Not(Box::new(Expr::All)))).clone()
    }

    /// True if something with these labels is selected.
    pub fn evaluate(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.0.root.evaluate(labels)
    }

    /// The canonical text: spacing and quotes normalised, redundant parentheses gone, values of `in {…}` sorted and
    /// unique.
    ///
    /// It parses to a selector with the same meaning, and to itself except for one oddity of Calico that is kept
    /// because names in the kernel hang on it: `!(!has(a))` is written `!!has(a)`, which reads as `has(a)`.
    pub fn canonical(&self) -> &str {
        &self.0.canonical
    }

    /// The name of the IP set of what is selected: `s:` and the hash of the canonical text.
    pub fn unique_id(&self) -> String {
        self.unique_id_shared().to_string()
    }

    /// As [`Selector::unique_id`], computed once and shared.
    pub fn unique_id_shared(&self) -> Arc<str> {
        self.0.unique_id.get_or_init(|| unique_id("s", self.canonical()).into()).clone()
    }

    /// What labels must look like for the selector to match: necessary conditions per label, never sufficient ones.
    pub fn restrictions(&self) -> Restrictions {
        restrict::restrictions(&self.0.root)
    }

    /// The same selector over other label names, as `pcns.` + name for selectors of namespaces.
    ///
    /// The new names are not checked.
    pub fn map_labels(&self, mut rename: impl FnMut(&str) -> String) -> Self {
        Self::from_root(self.0.root.map_labels(&mut rename))
    }

    /// The same selector with `prefix` in front of each label name.
    pub fn with_label_prefix(&self, prefix: &str) -> Self {
        self.map_labels(|name| format!("{prefix}{name}"))
    }

    /// Label names that the selector mentions; with repetitions.
    pub fn visit_labels(&self, mut visit: impl FnMut(&str)) {
        self.0.root.visit_labels(&mut visit);
    }

    /// The expression.
    pub fn expr(&self) -> &Expr {
        &self.0.root
    }

    fn from_root(root: Expr) -> Self {
        let canonical = root.to_string().into_boxed_str();
        Self(Arc::new(Inner { root, canonical, unique_id: OnceLock::new() }))
    }
}

/// `<prefix>:` and the unpadded URL-safe base64 of the SHA-224 of `<prefix>:<content>`.
///
/// Calico names IP sets so: `s` for selectors, `n` for named ports, `svc` and `svcnoport` for services.
pub fn unique_id(prefix: &str, content: &str) -> String {
    let mut hash = Sha224::new();
    hash.update(prefix);
    hash.update(":");
    hash.update(content);
    format!("{prefix}:{}", BASE64_URL_SAFE_NO_PAD.encode(hash.finalize()))
}

// === impl Selector ===

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.canonical() == other.canonical()
    }
}

impl Eq for Selector {}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.canonical().cmp(other.canonical())
    }
}

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.canonical())
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({})", self.canonical())
    }
}

impl Default for Selector {
    fn default() -> Self {
        Self::all()
    }
}

impl FromStr for Selector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.canonical())
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
