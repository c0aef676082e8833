//! Kubernetes' label selectors.

use crate::meta::{is_default, null_as_default};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `matchLabels` and `matchExpressions`, all of which must hold. Empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with these values.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub match_expressions: Vec<LabelExpression>,
}

/// One condition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelExpression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: String,
    /// The values of `In` and `NotIn`.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub values: Vec<String>,
}
