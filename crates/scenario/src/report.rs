//! What came of scenarios, as a table, JSON or JUnit.

use crate::plan::{Expected, Observed, Plan, Probe, Step};
use crate::problem::Problem;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// JUnit's XML: a suite for each scenario, a case for each step.
    Junit,
}

/// What came of all scenarios.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they ran.
    pub scenarios: Vec<ScenarioReport>,
}

/// What came of one scenario.
#[derive(Clone, Debug)]
pub struct ScenarioReport {
    /// File.
    pub source: Arc<str>,
    /// Name; empty if the file could not be read.
    pub name: String,
    /// Its steps, up to the one that could not be executed.
    pub steps: Vec<StepReport>,
    /// What is wrong with the file.
    pub problems: Vec<Problem>,
    /// Why it could not be executed although the file is right.
    pub error: Option<String>,
}

/// What came of one step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Its name.
    pub name: String,
    /// Line of the file.
    pub line: u32,
    /// How many probes were sent.
    pub probes: usize,
    /// How many were to be skipped.
    pub skipped: usize,
    /// What was not as expected.
    pub differences: Vec<Difference>,
    /// How long it took.
    pub duration: Duration,
}

/// A probe that was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The probe.
    pub probe: Probe,
    /// What happened.
    pub observed: Observed,
    /// Who decided so, where that is known.
    pub reason: Option<String>,
}

impl Difference {
    /// A probe with another outcome than expected.
    pub fn new(probe: &Probe, observed: Observed, reason: Option<String>) -> Self {
        Self { probe: probe.clone(), observed, reason }
    }
}

impl StepReport {
    /// A step of which nothing is known yet.
    pub fn new(step: &Step) -> Self {
        Self {
            name: step.name.clone(),
            line: step.position.line,
            probes: 0,
            skipped: 0,
            differences: Vec::new(),
            duration: Duration::ZERO,
        }
    }

    fn is_as_expected(&self) -> bool {
        self.differences.is_empty()
    }
}

impl ScenarioReport {
    /// A scenario of which nothing is known yet.
    pub fn new(plan: &Plan) -> Self {
        let (source, name) = (plan.source.clone(), plan.name.clone());
        Self { source, name, steps: Vec::new(), problems: Vec::new(), error: None }
    }

    /// A file that could not be read.
    pub fn unreadable(source: &str, problems: Vec<Problem>) -> Self {
        Self { source: source.into(), name: String::new(), steps: Vec::new(), problems, error: None }
    }

    /// 0: all as expected; 1: a difference; 2: the file or the environment is wrong.
    pub fn exit_status(&self) -> u8 {
        if !self.problems.is_empty() || self.error.is_some() {
            2
        } else {
            u8::from(!self.steps.iter().all(StepReport::is_as_expected))
        }
    }

    fn total(&self, of: impl Fn(&StepReport) -> usize) -> usize {
        self.steps.iter().map(of).sum()
    }

    fn duration(&self) -> Duration {
        self.steps.iter().map(|s| s.duration).sum()
    }
}

impl Report {
    /// The worst of the scenarios'.
    pub fn exit_status(&self) -> u8 {
        self.scenarios.iter().map(ScenarioReport::exit_status).max().unwrap_or(0)
    }

    /// The whole text, with a last line break.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Table => self.table(),
            Format::Json => self.json(),
            Format::Junit => self.junit(),
        }
    }

    fn table(&self) -> String {
        let mut out = String::new();
        for scenario in &self.scenarios {
            scenario.table(&mut out);
        }
        let total = |of: fn(&StepReport) -> usize| self.scenarios.iter().map(|s| s.total(of)).sum::<usize>();
        let (probes, differences) = (total(|s| s.probes), total(|s| s.differences.len()));
        let wrong = self.scenarios.iter().filter(|s| s.exit_status() == 2).count();
        let _ = write!(out, "{}, {}", count(self.scenarios.len(), "scenario"), count(probes, "probe"));
        let _ = match (differences, wrong) {
            (0, 0) => writeln!(out, ": all as expected"),
            (differences, 0) => writeln!(out, ": {}", count(differences, "difference")),
            (differences, wrong) => {
                writeln!(out, ": {}, {wrong} could not be executed", count(differences, "difference"))
            }
        };
        out
    }

    fn json(&self) -> String {
        let scenarios: Vec<Value> = self.scenarios.iter().map(ScenarioReport::json).collect();
        let report = json!({"exitStatus": self.exit_status(), "scenarios": scenarios});
        format!("{report:#}\n")
    }

    fn junit(&self) -> String {
        let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
        for scenario in &self.scenarios {
            scenario.junit(&mut out);
        }
        out.push_str("</testsuites>\n");
        out
    }
}

// === one scenario ===

impl ScenarioReport {
    fn table(&self, out: &mut String) {
        let title = if self.name.is_empty() { String::new() } else { format!("{}  ", self.name) };
        let _ = writeln!(out, "{title}({})", self.source);
        let width = self.steps.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).max(4);
        if !self.steps.is_empty() {
            let _ =
                writeln!(out, "  {:<width$}  {:>7}  {:>11}  {:>9}", "STEP", "PROBES", "DIFFERENCES", "TIME");
        }
        for step in &self.steps {
            let (probes, differences, time) =
                (step.probes, step.differences.len(), milliseconds(step.duration));
            let _ = writeln!(out, "  {:<width$}  {probes:>7}  {differences:>11}  {time:>9}", step.name);
            for difference in &step.differences {
                let Difference { probe, observed, .. } = difference;
                let (expected, line) = (probe.expected, probe.line.line);
                let _ = writeln!(out, "    {probe}: expected {expected} (line {line}), got {observed}");
                if let Some(reason) = &difference.reason {
                    let _ = writeln!(out, "      {reason}");
                }
            }
        }
        for problem in &self.problems {
            let _ = writeln!(out, "  error: {problem}");
        }
        if let Some(error) = &self.error {
            let _ = writeln!(out, "  error: {error}");
        }
        out.push('\n');
    }

    fn json(&self) -> Value {
        let problem = |p: &Problem| {
            let (line, column) = (p.position.line, p.position.column);
            json!({"file": &*p.source, "line": line, "column": column, "message": p.message})
        };
        json!({
            "file": &*self.source,
            "name": self.name,
            "exitStatus": self.exit_status(),
            "probes": self.total(|s| s.probes),
            "differences": self.total(|s| s.differences.len()),
            "seconds": self.duration().as_secs_f64(),
            "steps": self.steps.iter().map(StepReport::json).collect::<Vec<_>>(),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "error": self.error,
        })
    }

    fn junit(&self, out: &mut String) {
        let name = if self.name.is_empty() { &*self.source } else { &self.name };
        let failures = self.steps.iter().filter(|s| !s.is_as_expected()).count();
        let errors = usize::from(self.exit_status() == 2);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" file=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{:.3}\">",
            xml(name),
            xml(&self.source),
            self.steps.len() + errors,
            self.duration().as_secs_f64(),
        );
        for step in &self.steps {
            let _ = write!(
                out,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                xml(name),
                xml(&step.name),
                step.duration.as_secs_f64()
            );
            if step.is_as_expected() {
                out.push_str("/>\n");
                continue;
            }
            let message =
                format!("{} of {}", count(step.differences.len(), "difference"), count(step.probes, "probe"));
            let _ = write!(out, ">\n      <failure message=\"{message}\">");
            for difference in &step.differences {
                let _ = write!(out, "{}", xml(&difference.line()));
                out.push('\n');
            }
            out.push_str("</failure>\n    </testcase>\n");
        }
        if errors > 0 {
            let mut texts: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
            texts.extend(self.error.clone());
            let _ = writeln!(
                out,
                "    <testcase classname=\"{}\" name=\"execution\">\n      <error message=\"it could not be executed\">{}</error>\n    </testcase>",
                xml(name),
                xml(&texts.join("\n"))
            );
        }
        out.push_str("  </testsuite>\n");
    }
}

impl StepReport {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "line": self.line,
            "probes": self.probes,
            "skipped": self.skipped,
            "seconds": self.duration.as_secs_f64(),
            "differences": self.differences.iter().map(Difference::json).collect::<Vec<_>>(),
        })
    }
}

impl Difference {
    /// One line of text.
    fn line(&self) -> String {
        let Self { probe, observed, reason } = self;
        let mut text =
            format!("{probe}: expected {} (line {}), got {observed}", probe.expected, probe.line.line);
        if let Some(reason) = reason {
            let _ = write!(text, ": {reason}");
        }
        text
    }

    fn json(&self) -> Value {
        let Self { probe, observed, reason } = self;
        json!({
            "from": probe.from.to_string(),
            "to": probe.to.to_string(),
            "port": probe.port.to_string(),
            "family": probe.family.to_string(),
            "expected": probe.expected.to_string(),
            "actual": observed.to_string(),
            "line": probe.line.line,
            "reason": reason,
        })
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to say other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "junit" => Ok(Self::Junit),
            _ => Err(format!("{text:?} is no format, expected table, json or junit")),
        }
    }
}

impl Expected {
    /// True if the probe is to be sent.
    pub fn is_sent(self) -> bool {
        self != Self::Skip
    }
}
