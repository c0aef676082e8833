//! The expression tree: canonical text, evaluation, renaming.

use crate::Labels;
use std::fmt;
use std::sync::Arc;

/// An expression, for those who compile selectors to something else. Display is the canonical text.
#[derive(Debug)]
pub enum Expr {
    /// True.
    All,
    /// True; another spelling, which means more to the validation of namespace selectors.
    Global,
    /// The label exists.
    Has(Arc<str>),
    /// A label against one value.
    Compare(Arc<str>, Compare, Arc<str>),
    /// A label against a set of values.
    In {
        /// The label.
        label: Arc<str>,
        /// `not in`: true also without the label.
        negated: bool,
        /// The values.
        values: Values,
    },
    /// Negation.
    Not(Box<Expr>),
    /// All of two or more.
    And(Vec<Expr>),
    /// Any of two or more.
    Or(Vec<Expr>),
}

/// Comparison of a label with one value. All but `Ne` are false without the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `contains`
    Contains,
    /// `starts with`
    StartsWith,
    /// `ends with`
    EndsWith,
}

/// Sorted, unique values.
#[derive(Clone, Debug)]
pub struct Values(Box<[Arc<str>]>);

impl Values {
    pub(crate) fn new(mut values: Vec<Arc<str>>) -> Self {
        values.sort_unstable();
        values.dedup();
        Self(values.into_boxed_slice())
    }

    /// The values, sorted.
    pub fn as_slice(&self) -> &[Arc<str>] {
        &self.0
    }

    fn contains(&self, value: &str) -> bool {
        self.0.binary_search_by(|v| (**v).cmp(value)).is_ok()
    }
}

impl Expr {
    pub(crate) fn evaluate(&self, labels: &(impl Labels + ?Sized)) -> bool {
        match self {
            Self::All | Self::Global => true,
            Self::Has(label) => labels.get(label).is_some(),
            Self::Compare(label, op, value) => op.holds(labels.get(label), value),
            Self::In { label, negated, values } => {
                labels.get(label).is_some_and(|v| values.contains(v)) != *negated
            }
            Self::Not(operand) => !operand.evaluate(labels),
            Self::And(operands) => operands.iter().all(|n| n.evaluate(labels)),
            Self::Or(operands) => operands.iter().any(|n| n.evaluate(labels)),
        }
    }

    pub(crate) fn map_labels(&self, rename: &mut impl FnMut(&str) -> String) -> Self {
        match self {
            Self::All => Self::All,
            Self::Global => Self::Global,
            Self::Has(label) => Self::Has(rename(label).into()),
            Self::Compare(label, op, value) => Self::Compare(rename(label).into(), *op, value.clone()),
            Self::In { label, negated, values } => {
                Self::In { label: rename(label).into(), negated: *negated, values: values.clone() }
            }
            Self::Not(operand) => Self::Not(Box::new(operand.map_labels(rename))),
            Self::And(operands) => Self::And(operands.iter().map(|n| n.map_labels(rename)).collect()),
            Self::Or(operands) => Self::Or(operands.iter().map(|n| n.map_labels(rename)).collect()),
        }
    }

    pub(crate) fn visit_labels(&self, visit: &mut impl FnMut(&str)) {
        match self {
            Self::All | Self::Global => {}
            Self::Has(label) | Self::Compare(label, ..) | Self::In { label, .. } => visit(label),
            Self::Not(operand) => operand.visit_labels(visit),
            Self::And(operands) | Self::Or(operands) => operands.iter().for_each(|n| n.visit_labels(visit)),
        }
    }
}

impl Compare {
    /// True if a label of this value (or no label) passes.
    pub fn holds(self, actual: Option<&str>, value: &str) -> bool {
        match self {
            Self::Eq => actual == Some(value),
            Self::Ne => actual != Some(value),
            Self::Contains => actual.is_some_and(|v| v.contains(value)),
            Self::StartsWith => actual.is_some_and(|v| v.starts_with(value)),
            Self::EndsWith => actual.is_some_and(|v| v.ends_with(value)),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Contains => "contains",
            Self::StartsWith => "starts with",
            Self::EndsWith => "ends with",
        }
    }
}

/// A string in double quotes, or in single ones if it contains a double one (it cannot contain both).
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}

/// The canonical text.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::Global => f.write_str("global()"),
            Self::Has(label) => write!(f, "has({label})"),
            Self::Compare(label, op, value) => write!(f, "{label} {} {}", op.text(), Quoted(value)),
            Self::In { label, negated, values } => {
                write!(f, "{label} {} {{", if *negated { "not in" } else { "in" })?;
                for (i, value) in values.as_slice().iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Quoted(value))?;
                }
                f.write_str("}")
            }
            Self::Not(operand) => write!(f, "!{operand}"),
            Self::And(operands) => write_joined(f, operands, " && "),
            Self::Or(operands) => write_joined(f, operands, " || "),
        }
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, operands: &[Expr], separator: &str) -> fmt::Result {
    f.write_str("(")?;
    for (i, operand) in operands.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{operand}")?;
    }
    f.write_str(")")
}
