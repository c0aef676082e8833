//! Where settings come from, and in which order they win.
//!
//! The caller reads the environment and the file; here is only what their text means.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A source of settings; a later one wins over an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Nothing was set.
    Default,
    /// The FelixConfiguration of the whole cluster, and ClusterInformation.
    DatastoreGlobal,
    /// A FelixConfiguration that selects the node by its labels.
    DatastorePerSelector,
    /// The FelixConfiguration of the node, and its Node.
    DatastorePerHost,
    /// The configuration file.
    File,
    /// The process' environment.
    Environment,
    /// The agent itself, which found that this machine cannot do otherwise.
    Override,
}

impl Source {
    /// Known before the datastore can be read.
    pub fn is_local(self) -> bool {
        !matches!(self, Self::DatastoreGlobal | Self::DatastorePerSelector | Self::DatastorePerHost)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::DatastoreGlobal => "datastore (global)",
            Self::DatastorePerSelector => "datastore (per selector)",
            Self::DatastorePerHost => "datastore (per host)",
            Self::File => "configuration file",
            Self::Environment => "environment",
            Self::Override => "override",
        })
    }
}

/// A word that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no source of settings: write datastore_global, datastore_per_selector, datastore_per_host, file or environment"
)]
pub struct UnknownSource(String);

impl FromStr for Source {
    type Err = UnknownSource;

    fn from_str(text: &str) -> Result<Self, UnknownSource> {
        Ok(match text {
            "datastore_global" => Self::DatastoreGlobal,
            "datastore_per_selector" => Self::DatastorePerSelector,
            "datastore_per_host" => Self::DatastorePerHost,
            "file" => Self::File,
            "environment" => Self::Environment,
            "override" => Self::Override,
            _ => return Err(UnknownSource(text.to_owned())),
        })
    }
}

/// The settings of every source, as text by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<Source, BTreeMap<String, String>>);

impl Sources {
    /// Nothing set anywhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all that a source said. Empty values count as not set: to switch something off, write `none`.
    pub fn set(&mut self, source: Source, settings: impl IntoIterator<Item = (String, String)>) {
        let settings = settings.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        self.0.insert(source, settings);
    }

    /// Each source with its settings, the one that wins first.
    pub(crate) fn descending(&self) -> impl Iterator<Item = (Source, &BTreeMap<String, String>)> {
        self.0.iter().rev().map(|(source, settings)| (*source, settings))
    }
}

/// The settings in an environment: the variables that begin with `FELIX_`, in any case; names without it, in lower case.
pub fn from_environment<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    variables
        .into_iter()
        .filter_map(|(name, value)| {
            name.to_lowercase().strip_prefix("felix_").map(|name| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// What the settings ask of the machine.
pub trait Host {
    /// The machine's name, in lower case; empty if it has none.
    fn name(&self) -> String;
    /// Whether there is a file or directory at the path.
    fn exists(&self, path: &str) -> bool;
    /// The path of a program, beside our own or on the search path.
    fn find_program(&self, name: &str) -> Option<String>;
}

/// A machine that has every file: for defaults, and for answers that do not depend on the machine.
pub(crate) struct AnyHost;

impl Host for AnyHost {
    fn name(&self) -> String {
        "localhost".to_owned()
    }

    fn exists(&self, _path: &str) -> bool {
        true
    }

    fn find_program(&self, name: &str) -> Option<String> {
        Some(name.to_owned())
    }
}
