//! Settings of a component from one declarative table: names, defaults, documentation, provenance.
//!
//! Every component has a table of [`Setting`]s. Values come from the environment. The table also prints the
//! documentation. Felix's parameters, which have more sources, are in `felix-config`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Where a value came from, lowest rank first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table's default.
    Default,
    /// The environment of the process.
    Environment,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Environment => "environment",
        })
    }
}

/// One line of a component's table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name in Calico's spelling, e.g. `HealthPort`; environment variable `FELIX_HEALTHPORT`, or as `env` says.
    pub name: &'static str,
    /// Environment variable, if it is not `FELIX_` + name.
    pub env: Option<&'static str>,
    /// Default as text.
    pub default: &'static str,
    /// What it does, one sentence.
    pub doc: &'static str,
}

/// A value that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting {name}={value:?} ({origin}): {reason}; the default is {default:?}")]
pub struct SettingError {
    /// Setting.
    pub name: &'static str,
    /// Text given.
    pub value: String,
    /// Where it came from.
    pub origin: Source,
    /// Why it is wrong.
    pub reason: String,
    /// The table's default.
    pub default: &'static str,
}

/// The settings of one component with their provenance.
#[derive(Clone, Debug)]
pub struct Settings {
    table: &'static [Setting],
    values: BTreeMap<&'static str, (Source, String)>,
}

impl Settings {
    /// Reads the environment through `get`. Names are matched without regard to case, as Calico does.
    pub fn load(table: &'static [Setting], environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let environment: BTreeMap<String, String> =
            environment.into_iter().map(|(k, v)| (k.to_ascii_uppercase(), v)).collect();
        let mut values = BTreeMap::new();
        for setting in table {
            let variable = setting.variable();
            match environment.get(&variable).filter(|v| !v.is_empty()) {
                Some(text) => values.insert(setting.name, (Source::Environment, text.clone())),
                None => values.insert(setting.name, (Source::Default, setting.default.to_owned())),
            };
        }
        Self { table, values }
    }

    /// The same from the environment of this process.
    pub fn from_process(table: &'static [Setting]) -> Self {
        Self::load(table, std::env::vars())
    }

    /// The value of the setting with this environment variable, if the environment sets it.
    pub fn variable(&self, variable: &str) -> Option<&str> {
        let setting = self.table.iter().find(|s| s.variable() == variable)?;
        let (source, text) = self.values.get(setting.name)?;
        (*source == Source::Environment).then_some(text.as_str())
    }

    /// The text of a setting.
    pub fn text(&self, name: &'static str) -> &str {
        self.values.get(name).map_or("", |(_, text)| text)
    }

    /// A parsed setting.
    pub fn get<T: FromStr>(&self, name: &'static str) -> Result<T, SettingError>
    where
        T::Err: fmt::Display,
    {
        let text = self.text(name);
        text.parse().map_err(|e: T::Err| self.error(name, e.to_string()))
    }

    /// A yes-or-no setting; accepts what Calico accepts.
    pub fn flag(&self, name: &'static str) -> Result<bool, SettingError> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "y" | "t" | "enabled" => Ok(true),
            "false" | "0" | "no" | "n" | "f" | "disabled" | "" => Ok(false),
            _ => Err(self.error(name, "expected true or false".to_owned())),
        }
    }

    /// An error about a setting.
    pub fn error(&self, name: &'static str, reason: String) -> SettingError {
        let (origin, value) = self.values.get(name).cloned().unwrap_or((Source::Default, String::new()));
        let default = self.table.iter().find(|s| s.name == name).map_or("", |s| s.default);
        SettingError { name, value, origin, reason, default }
    }

    /// All settings: (name, value, provenance).
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str, Source)> {
        self.values.iter().map(|(name, (source, text))| (*name, text.as_str(), *source))
    }
}

impl Setting {
    /// The environment variable in upper case.
    pub fn variable(&self) -> String {
        self.env.map_or_else(|| format!("FELIX_{}", self.name.to_ascii_uppercase()), str::to_owned)
    }
}

/// A duration as Go writes it: `90s`, `1m30s`, `250ms`, `1.5h`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    Duration::try_from_secs_f64(total).ok()
}

/// The table as Markdown.
pub fn document(table: &[Setting]) -> String {
    let mut text = String::from("| setting | environment | default | what it does |\n|---|---|---|---|\n");
    for s in table {
        text.push_str(&format!("| {} | `{}` | `{}` | {} |\n", s.name, s.variable(), s.default, s.doc));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Setting] = &[
        Setting { name: "HealthPort", env: None, default: "9099", doc: "Port." },
        Setting { name: "NodeName", env: Some("NODENAME"), default: "", doc: "Name." },
    ];

    fn env(pairs: &[(&str, &str)]) -> Settings {
        Settings::load(TABLE, pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn the_environment_wins_over_the_default() {
        let s = env(&[("felix_healthport", "1"), ("NODENAME", "n1")]);
        assert_eq!(s.get::<u16>("HealthPort"), Ok(1));
        assert_eq!((s.text("NodeName"), s.variable("NODENAME")), ("n1", Some("n1")));
        let s = env(&[("NODENAME", "")]);
        assert_eq!(s.get::<u16>("HealthPort"), Ok(9099));
        assert_eq!(
            (s.variable("FELIX_HEALTHPORT"), s.variable("NODENAME"), s.variable("X")),
            (None, None, None)
        );
    }

    #[test]
    fn durations() {
        for (text, seconds) in
            [("90s", 90.0), ("1m30s", 90.0), ("250ms", 0.25), ("1.5h", 5400.0), ("0s", 0.0)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in ["", "90", "s", "soon", "1.2.3s", "-1s", "1y"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn errors_name_value_and_origin() {
        let s = env(&[("FELIX_HEALTHPORT", "x")]);
        let e = s.get::<u16>("HealthPort").unwrap_err();
        assert!(e.to_string().contains("HealthPort") && e.to_string().contains("environment"), "{e}");
        assert!(s.flag("HealthPort").is_err());
    }
}
