//! What is wrong now, as a value: set and clear, what has to be logged when, and what others are shown. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How many problems of one source are kept; the rest is counted.
pub(crate) const PER_SOURCE: usize = 64;

/// Lines that one problem may log within [`WINDOW`]; what is due beyond that is logged later, or never if it is no
/// longer true.
const LINES: usize = 4;
const WINDOW: Duration = Duration::from_mins(1);

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Something does not work, or will not when it is needed.
    Warning,
    /// Something is not as it was written, and nothing is lost by that.
    Notice,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// Makes [`Name`] with its text and severity.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $severity:ident,)*) => {
        /// What kind of problem it is: stable, for programs. `docs/troubleshooting.md` has a section for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Name {
            $($(#[$doc])* $name,)*
        }

        impl Name {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            pub(crate) fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }
        }
    };
}

names! {
    /// A pool and the addresses of Services.
    PoolOverlapsServices Warning,
    /// A pool and the nodes' network.
    PoolOverlapsNodes Warning,
    /// Two pools.
    PoolsOverlap Warning,
    /// A pool asks for something that this agent cannot do.
    PoolUnsupported Warning,
    /// The directory of CNI configurations is not there.
    CniDirectoryMissing Warning,
    /// Our configuration is not in it.
    CniConfigurationMissing Warning,
    /// Our configuration cannot be read, or is no longer ours.
    CniConfigurationInvalid Warning,
    /// Another network's configuration comes before ours.
    CniConfigurationShadowed Warning,
    /// An executable that the configuration names is not there.
    CniPluginMissing Warning,
    /// The runtime does not see the configuration that is there.
    CniConfigurationUnused Warning,
    /// The API server does not let us.
    PermissionMissing Warning,
    /// No word from the datastore.
    DatastoreUnreachable Warning,
    /// Somebody has locked it.
    DatastoreLocked Warning,
    /// A kind is not defined in the cluster.
    DefinitionMissing Warning,
    /// A kind is defined, by an older version.
    DefinitionOutdated Warning,
    /// The kinds are defined in the other API group.
    DefinitionsElsewhere Warning,
    /// The node's start does not come to its end.
    NodeNotStarted Warning,
    /// Something odd about this node.
    NodeOdd Notice,
    /// An object or a part of it is ignored.
    ObjectInvalid Warning,
    /// A setting changes nothing.
    SettingWithoutEffect Notice,
    /// The kernel refuses something.
    KernelRefuses Warning,
    /// Calico's own agent runs beside this one.
    PredecessorRuns Warning,
    /// What Calico's own agent left cannot be removed, or must not be yet.
    PredecessorStays Warning,
}

/// What a problem is about: two with the same are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) name: Name,
    /// `IPPool default-ipv4-ippool`.
    pub(crate) object: String,
    /// `spec.cidr`; empty if it is the whole object.
    pub(crate) field: String,
}

/// A problem as its finder tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: Key,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) fix: String,
}

impl Problem {
    pub(crate) fn new(name: Name, object: impl Into<String>, message: impl Into<String>) -> Self {
        let key = Key { name, object: object.into(), field: String::new() };
        Self { key, message: message.into(), fix: String::new() }
    }

    #[must_use]
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.key.field = field.into();
        self
    }

    #[must_use]
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}

/// A problem that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Active {
    pub(crate) problem: Problem,
    /// Since when, as the register was told the time.
    pub(crate) since: String,
}

/// Everything that is wrong, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Warnings first, then by name, object and field.
    pub(crate) problems: Vec<Active>,
    /// How many more there are.
    pub(crate) left_off: usize,
}

impl Snapshot {
    /// The problems that are no mere notices.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &Active> {
        self.problems.iter().filter(|active| active.problem.key.name.severity() == Severity::Warning)
    }
}

/// Something to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Appeared(Problem),
    Gone(Key),
}

/// The present, in two ways of telling it.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Since some beginning; never goes back.
    pub(crate) at: Duration,
    /// As people read it.
    pub(crate) text: String,
}

/// What was logged of a problem.
#[derive(Debug, Default)]
struct Told {
    there: bool,
    /// When its last lines were.
    lines: VecDeque<Duration>,
}

/// The register.
#[derive(Debug, Default)]
pub(crate) struct Register {
    sources: BTreeMap<&'static str, BTreeMap<Key, Active>>,
    left_off: BTreeMap<&'static str, usize>,
    told: BTreeMap<Key, Told>,
}

impl Register {
    /// All that a source finds now: what it does not name is over.
    pub(crate) fn replace(&mut self, source: &'static str, found: Vec<Problem>, now: &Moment) -> bool {
        let before = self.sources.remove(source).unwrap_or_default();
        let left_off_before = self.left_off.remove(source).unwrap_or_default();
        let mut wanted: BTreeMap<Key, Problem> = BTreeMap::new();
        for problem in found {
            wanted.entry(problem.key.clone()).or_insert(problem);
        }
        let left_off = wanted.len().saturating_sub(PER_SOURCE);
        let of: BTreeMap<Key, Active> = wanted
            .into_iter()
            .take(PER_SOURCE)
            .map(|(key, problem)| {
                let since = before.get(&key).map_or_else(|| now.text.clone(), |active| active.since.clone());
                (key, Active { problem, since })
            })
            .collect();
        let changed = of != before || left_off != left_off_before;
        self.sources.insert(source, of);
        if left_off > 0 {
            self.left_off.insert(source, left_off);
        }
        changed
    }

    /// What is to be logged now. To be asked after every change, and now and then.
    pub(crate) fn lines(&mut self, now: &Moment) -> Vec<Line> {
        let there: BTreeMap<&Key, &Problem> =
            self.sources.values().flatten().map(|(key, active)| (key, &active.problem)).collect();
        let mut lines = Vec::new();
        for (key, told) in &mut self.told {
            while told.lines.front().is_some_and(|at| *at + WINDOW <= now.at) {
                told.lines.pop_front();
            }
            let problem = there.get(key);
            if problem.is_some() == told.there || told.lines.len() >= LINES {
                continue;
            }
            told.there = problem.is_some();
            told.lines.push_back(now.at);
            lines.push(match problem {
                Some(problem) => Line::Appeared((*problem).clone()),
                None => Line::Gone(key.clone()),
            });
        }
        for (key, problem) in &there {
            if !self.told.contains_key(*key) {
                lines.push(Line::Appeared((*problem).clone()));
                self.told.insert((*key).clone(), Told { there: true, lines: [now.at].into() });
            }
        }
        // Of what is over, only what may have to be restrained is remembered.
        self.told.retain(|key, told| told.there || there.contains_key(key) || !told.lines.is_empty());
        lines
    }

    /// What others are shown.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut problems: BTreeMap<(Severity, &Key), &Active> = BTreeMap::new();
        for (key, active) in self.sources.values().flatten() {
            let kept = problems.entry((key.name.severity(), key)).or_insert(active);
            if active.since < kept.since {
                *kept = active;
            }
        }
        Snapshot {
            problems: problems.into_values().cloned().collect(),
            left_off: self.left_off.values().sum(),
        }
    }
}

#[cfg(test)]
mod tests;
