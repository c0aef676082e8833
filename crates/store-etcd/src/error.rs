//! What etcd's answers mean.

use std::error::Error;
use tonic::{Code, ConnectError, Status};
use tortie_causes::chain;

/// What to make of a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request never left: another attempt is harmless.
    NotSent(String),
    /// The member, or the cluster behind it, cannot answer now. The request may have been carried out.
    Away(String),
    /// The token is not valid any more.
    Token,
    /// The user may not do this, or is unknown.
    Denied(String),
    /// Forgotten history was asked for.
    Compacted,
    /// The request is wrong.
    Invalid(String),
    /// What was asked for is not there: this is not the etcd that we know.
    Foreign(String),
}

impl Failure {
    /// Sorts by code where the code is enough, and by etcd's own texts (`api/v3rpc/rpctypes/error.go`) where not.
    pub(crate) fn of(status: &Status) -> Self {
        let text = status.message();
        let said = || text.strip_prefix("etcdserver: ").unwrap_or(text).to_owned();
        if never_sent(status) {
            return Self::NotSent(chain(status.source().unwrap_or(status)));
        }
        match status.code() {
            Code::Unauthenticated if text.contains("invalid auth token") => Self::Token,
            Code::InvalidArgument if text.contains("revision of auth store is old") => Self::Token,
            Code::InvalidArgument if text.contains("user name is empty") => {
                Self::Denied("authentication is enabled there; give a user and a password".to_owned())
            }
            Code::InvalidArgument if text.contains("authentication failed") => Self::Denied(said()),
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied(said()),
            Code::OutOfRange if text.contains("has been compacted") => Self::Compacted,
            Code::ResourceExhausted if text.contains("space exceeded") => {
                Self::Away(format!("{}; compact and defragment it, then disarm its alarm", said()))
            }
            // Said by gRPC itself, before etcd has seen the request.
            Code::ResourceExhausted if text.contains("larger than max") => Self::Invalid(said()),
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::NotFound => {
                Self::Invalid(said())
            }
            Code::Unimplemented => Self::Foreign(format!("it does not know etcd v3's calls ({})", said())),
            _ => Self::Away(match status.source() {
                Some(source) => chain(source),
                None if text.is_empty() => status.code().to_string(),
                None => said(),
            }),
        }
    }
}

/// True if no connection could be made for the call.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_can_be_done_about_them() {
        let cases = [
            (Code::Unauthenticated, "etcdserver: invalid auth token", Failure::Token),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old", Failure::Token),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                Failure::Denied("permission denied".into()),
            ),
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", Failure::Compacted),
            (
                Code::InvalidArgument,
                "etcdserver: too many operations in txn request",
                Failure::Invalid("too many operations in txn request".into()),
            ),
            (Code::Unavailable, "etcdserver: leader changed", Failure::Away("leader changed".into())),
            (
                Code::DeadlineExceeded,
                "",
                Failure::Away("Deadline expired before operation could complete".into()),
            ),
        ];
        for (code, text, expected) in cases {
            let found = Failure::of(&Status::new(code, text));
            if text.is_empty() {
                assert!(matches!(&found, Failure::Away(text) if !text.is_empty()), "{found:?}");
            } else {
                assert_eq!(found, expected, "{text}");
            }
        }
    }
}
