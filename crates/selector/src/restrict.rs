//! Necessary conditions on labels, by which an index avoids evaluating selectors that cannot match.

use crate::ast::{Compare, Expr};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Restrictions per label; labels without any are absent.
pub type Restrictions = BTreeMap<Arc<str>, Restriction>;

/// What must be true of a label for the selector to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restriction {
    /// The label must exist.
    pub must_be_present: bool,
    /// The label must not exist.
    pub must_be_absent: bool,
    /// The label must have one of these values. `None` says nothing; an empty list says that nothing can match.
    pub must_have_one_of: Option<Vec<Arc<str>>>,
}

impl Restriction {
    /// False if no labels can satisfy it.
    pub fn satisfiable(&self) -> bool {
        !(self.must_be_present && self.must_be_absent)
            && self.must_have_one_of.as_ref().is_none_or(|values| !values.is_empty())
    }

    fn present() -> Self {
        Self { must_be_present: true, ..Self::default() }
    }

    fn and(self, other: Self) -> Self {
        Self {
            must_be_present: self.must_be_present || other.must_be_present,
            must_be_absent: self.must_be_absent || other.must_be_absent,
            must_have_one_of: match (self.must_have_one_of, other.must_have_one_of) {
                (Some(mut a), Some(b)) => {
                    a.retain(|v| b.contains(v));
                    Some(a)
                }
                (a, b) => a.or(b),
            },
        }
    }

    /// `None` if nothing is known of the alternatives.
    fn or(self, other: &Self) -> Option<Self> {
        let must_be_present = self.must_be_present && other.must_be_present;
        let must_be_absent = self.must_be_absent && other.must_be_absent;
        let must_have_one_of = match (self.must_have_one_of, &other.must_have_one_of) {
            (Some(mut a), Some(b)) if must_be_present => {
                a.extend(b.iter().cloned());
                a.sort_unstable();
                a.dedup();
                Some(a)
            }
            _ => None,
        };
        (must_be_present || must_be_absent).then_some(Self {
            must_be_present,
            must_be_absent,
            must_have_one_of,
        })
    }
}

pub(crate) fn restrictions(node: &Expr) -> Restrictions {
    match node {
        Expr::All | Expr::Global | Expr::Compare(_, Compare::Ne, _) | Expr::In { negated: true, .. } => {
            Restrictions::new()
        }
        Expr::Has(label)
        | Expr::Compare(label, Compare::Contains | Compare::StartsWith | Compare::EndsWith, _) => {
            Restrictions::from([(label.clone(), Restriction::present())])
        }
        Expr::Compare(label, Compare::Eq, value) => one_of(label, vec![value.clone()]),
        // Calico knows nothing of the values of an empty set, and says so.
        Expr::In { label, values, .. } => one_of(label, values.as_slice().to_vec()),
        Expr::Not(operand) => match &**operand {
            Expr::Has(label) => {
                let absent = Restriction { must_be_absent: true, ..Restriction::default() };
                Restrictions::from([(label.clone(), absent)])
            }
            // The negation of a necessary condition is no necessary condition.
            _ => Restrictions::new(),
        },
        Expr::And(operands) => {
            let mut all = Restrictions::new();
            for (label, restriction) in operands.iter().flat_map(restrictions) {
                let merged = all.remove(&label).unwrap_or_default().and(restriction);
                all.insert(label, merged);
            }
            all
        }
        Expr::Or(operands) => operands.iter().map(restrictions).reduce(either).unwrap_or_default(),
    }
}

fn one_of(label: &Arc<str>, values: Vec<Arc<str>>) -> Restrictions {
    let must_have_one_of = (!values.is_empty()).then_some(values);
    Restrictions::from([(label.clone(), Restriction { must_have_one_of, ..Restriction::present() })])
}

fn either(a: Restrictions, b: Restrictions) -> Restrictions {
    a.into_iter().filter_map(|(label, r)| Some((label.clone(), r.or(b.get(&label)?)?))).collect()
}
