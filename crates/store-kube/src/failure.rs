//! What the API server's refusals mean.

use crate::config::ConfigError;
use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use std::time::Duration;
use tortie_causes::chain;
use tortie_store::StoreError;

/// How long to wait where the server says "later" and not when.
const LATER: Duration = Duration::from_secs(1);

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The object is not there, or its namespace.
    NotFound(String),
    /// The server knows no such kind of object.
    NoKind,
    /// The object is not at the revision that was asked for.
    Conflict(String),
    /// The object is there already.
    Exists,
    /// Forgotten history was asked for.
    Expired(String),
    /// We may not do this.
    Denied(String),
    /// The server does not know us.
    Unknown(String),
    /// The server is busy and wants to be asked later.
    Busy { after: Duration, text: String },
    /// The request is wrong.
    Invalid(String),
    /// The request never left: another attempt is harmless.
    NotSent(String),
    /// The server cannot answer now. The request may have been carried out.
    Away(String),
    /// The answer makes no sense.
    Corrupt(String),
}

/// Kubernetes' `Status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    kind: String,
    message: String,
    reason: String,
    code: u16,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    kind: String,
    retry_after_seconds: u64,
}

impl Failure {
    /// From an answer that is no success.
    pub(crate) fn of(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let status = serde_json::from_slice::<Status>(body).ok().filter(|status| status.kind == "Status");
        let known = status.is_some();
        let mut status = status.unwrap_or_default();
        if status.message.is_empty() {
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default();
            status.message = format!("{code}: {}", line.chars().take(200).collect::<String>());
        }
        status.code = code.as_u16();
        let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        status.failure(known, header.map(Duration::from_secs))
    }

    /// From the object of an `ERROR` event of a watch.
    pub(crate) fn of_event(status: Status) -> Self {
        status.failure(true, None)
    }

    pub(crate) fn config(error: &ConfigError) -> Self {
        Self::NotSent(chain(error))
    }

    /// In the words of the port. `doing` is for messages.
    pub(crate) fn into_store(self, endpoint: &str, doing: &str) -> StoreError {
        let (endpoint, doing) = (endpoint.to_owned(), doing.to_owned());
        match self {
            Self::Denied(reason) => StoreError::Denied { endpoint, doing, reason },
            Self::Unknown(reason) => {
                let reason = format!("{reason}; the token or the certificate may be wrong or expired");
                StoreError::Denied { endpoint, doing, reason }
            }
            Self::Invalid(reason) | Self::NotFound(reason) | Self::Conflict(reason) => {
                StoreError::Invalid { doing, reason }
            }
            Self::NoKind => {
                let reason =
                    "the API server does not know this kind; its CustomResourceDefinition is not installed";
                StoreError::Invalid { doing, reason: reason.to_owned() }
            }
            Self::Exists => StoreError::Invalid { doing, reason: "it exists already".to_owned() },
            Self::Expired(reason)
            | Self::NotSent(reason)
            | Self::Away(reason)
            | Self::Busy { text: reason, .. } => StoreError::Unavailable { endpoint, doing, reason },
            Self::Corrupt(reason) => StoreError::Corrupt { endpoint, reason: format!("{doing}: {reason}") },
        }
    }
}

impl Status {
    fn failure(self, known: bool, header: Option<Duration>) -> Failure {
        let text = self.message;
        let told = self.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0);
        let after = header.or(told.map(Duration::from_secs));
        match self.code {
            404 if known && self.details.is_some_and(|d| !d.kind.is_empty()) => Failure::NotFound(text),
            404 => Failure::NoKind,
            409 if self.reason == "AlreadyExists" => Failure::Exists,
            409 => Failure::Conflict(text),
            410 => Failure::Expired(text),
            401 => Failure::Unknown(text),
            403 => Failure::Denied(text),
            429 => Failure::Busy { after: after.unwrap_or(LATER), text },
            400..=499 => Failure::Invalid(text),
            // The server's etcd cannot do it (streamed lists before 3.4.31): no use in another attempt.
            500 if text.contains("required storage feature") => Failure::Invalid(text),
            _ => match after {
                Some(after) => Failure::Busy { after, text },
                None => Failure::Away(text),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(code: u16, body: serde_json::Value) -> Failure {
        Failure::of(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), body.to_string().as_bytes())
    }

    #[test]
    fn refusals_are_sorted_by_what_can_be_done_about_them() {
        let status = |reason: &str, details| json!({"kind": "Status", "message": "m", "reason": reason, "details": details});
        let text = || "m".to_owned();
        assert_eq!(
            of(404, status("NotFound", json!({"kind": "pods", "name": "p"}))),
            Failure::NotFound(text())
        );
        assert_eq!(of(404, status("NotFound", json!({}))), Failure::NoKind);
        assert_eq!(of(404, json!("404 page not found")), Failure::NoKind);
        assert_eq!(of(409, status("AlreadyExists", json!({}))), Failure::Exists);
        assert_eq!(of(409, status("Conflict", json!({}))), Failure::Conflict(text()));
        assert_eq!(of(410, status("Expired", json!({}))), Failure::Expired(text()));
        assert_eq!(of(422, status("Invalid", json!({}))), Failure::Invalid(text()));
        let busy = |seconds| Failure::Busy { after: Duration::from_secs(seconds), text: text() };
        assert_eq!(of(429, status("TooManyRequests", json!({"retryAfterSeconds": 7}))), busy(7));
        assert_eq!(of(429, status("TooManyRequests", json!({}))), busy(1));
        assert_eq!(of(504, status("Timeout", json!({"retryAfterSeconds": 2}))), busy(2));
        assert_eq!(of(500, status("InternalError", json!({}))), Failure::Away(text()));
        let feature = "the required storage feature RequestWatchProgress is disabled";
        let old = json!({"kind": "Status", "message": feature});
        assert_eq!(of(500, old), Failure::Invalid(feature.to_owned()));
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "3".parse().unwrap());
        let after = Failure::of(StatusCode::SERVICE_UNAVAILABLE, &headers, b"overloaded\n");
        assert!(
            matches!(&after, Failure::Busy { after, text } if after.as_secs() == 3 && text.contains("overloaded"))
        );
    }
}
