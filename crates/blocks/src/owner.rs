//! Who a block belongs to.

use std::fmt;

/// The owner of a block; text form as in the datastore: `host:<node>` or `virtual:<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A node.
    Host(String),
    /// Something that is no node; `load-balancer` for addresses of services.
    Virtual(String),
}

impl Owner {
    /// The owner in its datastore form; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("host", name)) => Some(Self::Host(name.to_owned())),
            Some(("virtual", name)) => Some(Self::Virtual(name.to_owned())),
            _ => None,
        }
    }

    /// `host` or `virtual`, as in the keys of affinities.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Virtual(_) => "virtual",
        }
    }

    /// Name of the node or of the virtual owner.
    pub fn name(&self) -> &str {
        match self {
            Self::Host(name) | Self::Virtual(name) => name,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["host:n1", "virtual:load-balancer", "host:a:b"] {
            assert_eq!(Owner::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "n1", "pod:x"] {
            assert_eq!(Owner::parse(bad), None);
        }
    }
}
