//! From the settings of all sources to one configuration, and what was wrong on the way.
//!
//! Every setting is looked at, those that lose too, so that all mistakes come to light at once.

use crate::parse::{ParseError, parse};
use crate::table::find;
use crate::{Host, PARAMETERS, Parameter, Source, Sources, Value};
use std::collections::BTreeMap;

/// The configuration in force: a value for every parameter, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// One for each of [`PARAMETERS`], in its order.
    settings: Vec<Setting>,
}

/// One parameter's value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value in force.
    pub value: Value,
    /// The source that set it.
    pub source: Source,
    /// What the source said; nothing for a default.
    pub raw: Option<String>,
}

/// Something wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is no value of this parameter.
    #[error("{parameter} from the {origin} cannot be {raw:?}{}", if *fatal { "" } else { "; its default is used" })]
    Unparsable {
        /// The parameter.
        parameter: &'static str,
        /// Who set it.
        origin: Source,
        /// The text.
        raw: String,
        /// Whether the agent must stop.
        fatal: bool,
        /// What is wrong with it.
        #[source]
        reason: ParseError,
    },
    /// `none` for a parameter that needs a value.
    #[error("{parameter} from the {origin} cannot be \"none\": it needs a value")]
    NeedsValue {
        /// The parameter.
        parameter: &'static str,
        /// Who set it.
        origin: Source,
    },
    /// The datastore set what is needed to reach it.
    #[error("{parameter} from the {origin} is ignored: set it in the environment or the configuration file")]
    LocalOnly {
        /// The parameter.
        parameter: &'static str,
        /// Who set it.
        origin: Source,
    },
    /// There is no such parameter.
    #[error("{name:?} from the {origin} is ignored: there is no parameter of this name, is it misspelt?")]
    Unknown {
        /// The name as given.
        name: String,
        /// Who set it.
        origin: Source,
    },
}

impl Problem {
    /// Whether the agent must not run with it.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::NeedsValue { .. } | Self::Unparsable { fatal: true, .. })
    }
}

impl Config {
    /// Settles every parameter. With a fatal problem, that source's bad settings and all settings of weaker sources stay
    /// out of the configuration, which is then good for nothing but looking at.
    pub fn resolve(sources: &Sources, host: &dyn Host) -> (Self, Vec<Problem>) {
        let mut config = Self::defaults(host);
        let mut problems = Vec::new();
        for (source, settings) in sources.descending() {
            let halted = problems.iter().any(Problem::is_fatal);
            for (name, raw) in settings {
                let Some((place, parameter)) = find(name).and_then(|i| Some((i, PARAMETERS.get(i)?))) else {
                    problems.push(Problem::Unknown { name: name.clone(), origin: source });
                    continue;
                };
                let Some(value) = read(parameter, source, raw, host, &mut problems) else { continue };
                if let Some(setting) = config.settings.get_mut(place)
                    && setting.source <= source
                    && !halted
                {
                    *setting = Setting { value, source, raw: Some(raw.clone()) };
                }
            }
        }
        (config, problems)
    }

    /// Every parameter at its default, the host's name from the machine.
    pub fn defaults(host: &dyn Host) -> Self {
        let settings = PARAMETERS
            .iter()
            .map(|parameter| Setting {
                value: match parameter.name {
                    "FelixHostname" => Value::Text(host.name()),
                    _ => parameter.default_value(),
                },
                source: Source::Default,
                raw: None,
            })
            .collect();
        Self { settings }
    }

    /// A parameter's setting by its name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        find(name).and_then(|place| self.settings.get(place))
    }

    /// Every parameter with its setting.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Parameter, &Setting)> {
        PARAMETERS.iter().zip(&self.settings)
    }

    /// Names of the parameters whose values differ.
    pub fn changed_since(&self, old: &Self) -> Vec<&'static str> {
        self.iter()
            .zip(&old.settings)
            .filter(|((_, new), old)| new.value != old.value)
            .map(|((parameter, _), _)| parameter.name)
            .collect()
    }

    /// The settings that are no defaults, as text by name.
    pub fn raw(&self) -> BTreeMap<&'static str, &str> {
        self.iter()
            .filter_map(|(parameter, setting)| Some((parameter.name, setting.raw.as_deref()?)))
            .collect()
    }

    pub(crate) fn at(&self, place: usize) -> &Value {
        self.settings.get(place).map_or(&Value::Nothing, |setting| &setting.value)
    }
}

/// The value that a source gives a parameter; nothing if it must not give one.
fn read(
    parameter: &'static Parameter,
    origin: Source,
    raw: &str,
    host: &dyn Host,
    problems: &mut Vec<Problem>,
) -> Option<Value> {
    if parameter.local && !origin.is_local() {
        problems.push(Problem::LocalOnly { parameter: parameter.name, origin });
        return None;
    }
    if raw.eq_ignore_ascii_case("none") {
        if parameter.required {
            problems.push(Problem::NeedsValue { parameter: parameter.name, origin });
            return None;
        }
        return Some(parameter.kind.zero());
    }
    match parse(&parameter.kind, raw, host) {
        Ok(value) => Some(value),
        Err(reason) => {
            let fatal = parameter.fatal;
            problems.push(Problem::Unparsable {
                parameter: parameter.name,
                origin,
                raw: raw.to_owned(),
                fatal,
                reason,
            });
            (!fatal).then(|| parameter.default_value())
        }
    }
}
