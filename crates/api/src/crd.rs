//! The definitions of the kinds for Kubernetes' API server, and for people who ask what a field means.
//!
//! The tables in `crd/tables` say what an object may hold; manifests and explanations are made of them. A line is a
//! field, what stands deeper belongs to it:
//!
//! ```text
//! pattern NAME REGEX
//! type NAME object                      shared by several fields; `@NAME` where it is used
//! kind KIND SINGULAR PLURAL SCOPE GROUPS -- what it is for
//!   column TYPE PATH TITLE              what `kubectl get` shows
//!   short WORD…  select PATH  subresources  strict
//!   rule REASON MESSAGE                 a rule between fields; its expression stands below
//!   spec object
//!     [v1|v3] name[!] TYPE FACET… -- what it means       `!`: required
//!     nets list max=256 set             `[T]`, `{T}`: list or mapping of T; `*` gives an item facets of its own
//!       * string format=cidr
//! ```
//!
//! The structure is Calico's, so that its objects and ours are interchangeable; words are our own. Must not judge
//! objects: that is `validate`'s.

mod manifest;
mod table;
#[cfg(test)]
mod tests;

use serde_json::Value;
use std::sync::LazyLock;
use table::{Catalogue, Kind, Node};

/// A group of kinds in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `crd.projectcalico.org/v1`: where the API server of projectcalico.org/v3 stores.
    Storage,
    /// `projectcalico.org/v3`: stored as users write it.
    Native,
    /// `policy.networking.k8s.io/v1alpha2`: Kubernetes' own cluster-wide policy.
    Policy,
}

/// A field, or a whole object, as a table describes it.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    kind: &'static Kind,
    /// None is the whole object.
    node: Option<&'static Node>,
}

/// There is no such kind or field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The kind is not known.
    #[error("{kind:?} is no kind that can be explained; there are {}", known.join(", "))]
    Kind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The field is not known.
    #[error("{parent} has no field {field:?}{}", suggest(*similar, known))]
    Field {
        /// Path of the object.
        parent: String,
        /// What was asked for.
        field: String,
        /// A field with nearly that name.
        similar: Option<&'static str>,
        /// Its fields.
        known: Vec<&'static str>,
    },
}

fn suggest(similar: Option<&'static str>, known: &[&'static str]) -> String {
    match similar {
        Some(name) => format!("; did you mean {name:?}?"),
        None if known.is_empty() => "; it has no fields".to_owned(),
        None => format!("; it has {}", known.join(", ")),
    }
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let tables = [
        include_str!("crd/tables/policy.table"),
        include_str!("crd/tables/routing.table"),
        include_str!("crd/tables/addresses.table"),
        include_str!("crd/tables/settings.table"),
        include_str!("crd/tables/datastore.table"),
    ];
    Catalogue::read(&tables).expect("the tables are part of the program, and a test reads them")
});

/// The manifests of a group, in the order of their names.
pub fn manifests(group: Group) -> Vec<Value> {
    let mut kinds: Vec<&Kind> = CATALOGUE.kinds.iter().filter(|kind| kind.is_in(group)).collect();
    kinds.sort_by_key(|kind| &kind.plural);
    kinds.into_iter().map(|kind| manifest::render(&CATALOGUE, kind, group)).collect()
}

/// What the tables say of `KIND` or `KIND.path.to.field`; a kind may be any name that users have for it.
pub fn explain(path: &str) -> Result<Explained, ExplainError> {
    let mut parts = path.split('.').filter(|part| !part.is_empty());
    let word = parts.next().unwrap_or("");
    let mut at = Explained { kind: find(word)?, node: None };
    let mut parent = at.kind.name.clone();
    for part in parts {
        // Lists have no names for their items.
        let name = part.split('[').next().unwrap_or(part);
        let known: Vec<Explained> = at.fields();
        let next = known.iter().copied().find(|field| field.name() == name);
        at = next.ok_or_else(|| {
            let known: Vec<&'static str> = known.iter().map(|field| field.name()).collect();
            let similar = crate::validate::similar(name, known.iter().copied());
            ExplainError::Field { parent: parent.clone(), field: name.to_owned(), similar, known }
        })?;
        parent = format!("{parent}.{name}");
    }
    Ok(at)
}

fn find(word: &str) -> Result<&'static Kind, ExplainError> {
    let name = crate::v3::lookup(word).map_or(word, |kind| kind.kind);
    let is = |kind: &&Kind| {
        let names = [&kind.name, &kind.singular, &kind.plural];
        names.iter().any(|n| n.eq_ignore_ascii_case(name)) || kind.short.iter().any(|s| s == name)
    };
    CATALOGUE.kinds.iter().find(is).ok_or_else(|| ExplainError::Kind {
        kind: word.to_owned(),
        known: CATALOGUE.kinds.iter().map(|kind| kind.name.as_str()).collect(),
    })
}

// === impl Group ===

impl Group {
    /// All groups.
    pub const ALL: [Self; 3] = [Self::Storage, Self::Native, Self::Policy];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Storage => "crd.projectcalico.org",
            Self::Native => crate::v3::GROUP,
            Self::Policy => "policy.networking.k8s.io",
        }
    }

    /// Its version.
    pub fn version(self) -> &'static str {
        match self {
            Self::Storage => "v1",
            Self::Native => "v3",
            Self::Policy => "v1alpha2",
        }
    }
}

// === impl Explained ===

impl Explained {
    /// Name of the kind.
    pub fn kind(&self) -> &'static str {
        &self.kind.name
    }

    /// Group of the kind as users write it.
    pub fn group(&self) -> Group {
        if self.kind.is_in(Group::Policy) { Group::Policy } else { Group::Native }
    }

    /// Name of the field, or of the kind.
    pub fn name(&self) -> &'static str {
        self.node.map_or(&self.kind.name, |node| &node.name)
    }

    /// True if it must be there.
    pub fn is_required(&self) -> bool {
        self.node.is_some_and(|node| node.required)
    }

    /// Its type as people write it: `string`, `[]Object`, `map[string]string`.
    pub fn type_name(&self) -> String {
        self.node.map_or("Object".to_owned(), table::type_name)
    }

    /// What it is for; empty if nobody said.
    pub fn text(&self) -> &'static str {
        self.node.map_or(&self.kind.text, |node| &node.text)
    }

    /// What values it takes, in words.
    pub fn limits(&self) -> Vec<String> {
        self.node.map_or_else(Vec::new, |node| CATALOGUE.limits(node))
    }

    /// What the rules between its fields say.
    pub fn rules(&self) -> Vec<&'static str> {
        let rules = match self.node {
            Some(node) => &CATALOGUE.body(node).rules,
            None => &self.kind.rules,
        };
        rules.iter().map(|rule| rule.message.as_str()).collect()
    }

    /// The fields below.
    pub fn fields(&self) -> Vec<Self> {
        let nodes: Vec<&'static Node> = match self.node {
            Some(node) => CATALOGUE.fields(node),
            None => CATALOGUE.head.iter().chain(&self.kind.parts).collect(),
        };
        let wanted = |node: &&Node| node.only.is_none_or(|only| only == self.group());
        nodes.into_iter().filter(wanted).map(|node| Self { kind: self.kind, node: Some(node) }).collect()
    }
}
