//! What can go wrong with an object.

use crate::resources::columns::go_text;
use serde_json::Value;
use std::fmt;
use tortie_api::v3::ResourceType;
use tortie_api::validate::Problem;
use tortie_store::StoreError;

/// How messages name an object: `NetworkPolicy(shop/web)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Kind.
    pub kind: &'static str,
    /// Namespace, empty if the kind has none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A problem with a field, and what the field holds: `error with field PeerIP = 'x' (spec.peerIP: ...)`, which begins
/// as Calico's messages do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongField {
    /// The problem.
    pub problem: Problem,
    /// The field's value as text; none if it is absent or no scalar.
    pub value: Option<String>,
}

/// Why something could not be done with an object.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It is not there.
    #[error("resource does not exist: {0} with error: <nil>")]
    NotFound(ObjectName),
    /// It is there.
    #[error("resource already exists: {0} with error: <nil>")]
    Exists(ObjectName),
    /// Somebody else changed it.
    #[error("update conflict: {object}: {}", conflict(given, found))]
    Conflict {
        /// The object.
        object: ObjectName,
        /// The version that was expected.
        given: String,
        /// The version that is stored, empty if unknown.
        found: String,
    },
    /// It may not be done.
    #[error("operation {operation} is not supported on {object}: {reason}")]
    Unsupported {
        /// What.
        operation: &'static str,
        /// The object.
        object: ObjectName,
        /// Why not.
        reason: String,
    },
    /// The object is wrong.
    #[error("{object} is not valid: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// The object.
        object: ObjectName,
        /// Everything that is wrong.
        problems: Vec<WrongField>,
    },
    /// What is stored makes no sense.
    #[error("{key} in the datastore cannot be read: {reason}")]
    Corrupt {
        /// Key.
        key: String,
        /// Why not.
        reason: String,
    },
    /// This machine has no source of random numbers.
    #[error("cannot make an identity for a new object")]
    Random(#[source] std::io::Error),
    /// The datastore.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn conflict(given: &str, found: &str) -> String {
    match (given, found) {
        ("", _) | (_, "") => "another writer changed it at the same time; try again".to_owned(),
        _ => format!(
            "resource version '{given}' is out of date (latest: {found}); get the object again and repeat the change"
        ),
    }
}

impl ClientError {
    pub(crate) fn unsupported(operation: &'static str, object: ObjectName, reason: &str) -> Self {
        Self::Unsupported { operation, object, reason: reason.to_owned() }
    }

    pub(crate) fn invalid(object: ObjectName, path: &str, message: &str) -> Self {
        let problem = Problem { path: path.to_owned(), message: message.to_owned() };
        Self::Invalid { object, problems: vec![WrongField { problem, value: None }] }
    }

    /// An object with problems.
    pub(crate) fn wrong(object: ObjectName, value: &Value, problems: Vec<Problem>) -> Self {
        let problems = problems.into_iter().map(|problem| WrongField::of(problem, value)).collect();
        Self::Invalid { object, problems }
    }

    pub(crate) fn corrupt(object: &ObjectName, reason: &str) -> Self {
        Self::Corrupt { key: object.to_string(), reason: reason.to_owned() }
    }
}

impl WrongField {
    fn of(problem: Problem, object: &Value) -> Self {
        let pointer = format!("/{}", problem.path.replace(['.', '['], "/").replace(']', ""));
        let value = match object.pointer(&pointer) {
            None | Some(Value::Null | Value::Object(_)) => None,
            Some(value) => Some(go_text(value)),
        };
        Self { problem, value }
    }
}

impl fmt::Display for WrongField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.problem.path.rsplit('.').next().unwrap_or("");
        // Go's name of the field.
        let name = match last {
            "" => return self.problem.fmt(f),
            "cidr" => "CIDR".to_owned(),
            _ => {
                let mut letters = last.chars();
                let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
                first + letters.as_str()
            }
        };
        match &self.value {
            Some(value) => write!(f, "error with field {name} = '{value}' ({})", self.problem),
            None => write!(f, "error with field {name} ({})", self.problem),
        }
    }
}

impl ObjectName {
    /// Names an object.
    pub fn new(kind: &ResourceType, namespace: &str, name: &str) -> Self {
        Self { kind: kind.kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if namespace.is_empty() {
            write!(f, "{kind}({name})")
        } else {
            write!(f, "{kind}({namespace}/{name})")
        }
    }
}
