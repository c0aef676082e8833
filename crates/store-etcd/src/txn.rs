//! A commit as one of etcd's transactions.

use crate::messages::{
    COMPARE_EQUAL, COMPARE_MOD, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestKind,
    RequestOp, ResponseKind, ResponseOp, TxnRequest,
};
use crate::range;
use bytes::Bytes;
use std::time::Duration;
use tortie_store::{Entry, Op, Precondition, StoreError};

/// The transaction: all conditions compared, all writes done; or, if a condition fails, all conditional keys read.
/// `lease` gives the lease for a time to live.
pub(crate) fn request(ops: Vec<Op>, lease: impl Fn(Duration) -> i64) -> TxnRequest {
    let mut txn = TxnRequest::default();
    for op in ops {
        let key = Bytes::copy_from_slice(op.key().as_bytes());
        if let Some(expected) = expected(op.when()) {
            txn.compare.push(Compare {
                result: COMPARE_EQUAL,
                target: COMPARE_MOD,
                key: key.clone(),
                mod_revision: Some(range::signed(expected)),
            });
            let read = RangeRequest { key: key.clone(), ..RangeRequest::default() };
            txn.failure.push(RequestOp { request: Some(RequestKind::Range(read)) });
        }
        let request = match op {
            Op::Put { value, ttl, .. } => {
                RequestKind::Put(PutRequest { key, value, lease: ttl.map_or(0, &lease) })
            }
            Op::Delete { .. } => RequestKind::DeleteRange(DeleteRangeRequest { key }),
        };
        txn.success.push(RequestOp { request: Some(request) });
    }
    txn
}

/// The first key whose condition was not true, given the conditions in order and what was read for each.
pub(crate) fn conflict(
    conditions: &[(String, Precondition)],
    responses: Vec<ResponseOp>,
) -> Option<StoreError> {
    let conditional = conditions.iter().filter_map(|(key, when)| Some((key, expected(*when)?)));
    conditional.zip(responses).find_map(|((key, expected), response)| {
        let current = found(response);
        let actual = current.as_ref().map_or(0, |entry| entry.revision);
        (actual != expected).then(|| StoreError::Conflict { key: key.clone(), current })
    })
}

fn found(response: ResponseOp) -> Option<Entry> {
    match response.response? {
        ResponseKind::Range(range) => range.kvs.into_iter().next().and_then(range::entry),
        ResponseKind::Put(_) | ResponseKind::DeleteRange(_) => None,
    }
}

/// The revision that the key must have; etcd gives 0 to a key that is not there.
fn expected(when: Precondition) -> Option<u64> {
    match when {
        Precondition::Any => None,
        Precondition::Absent => Some(0),
        Precondition::Revision(revision) => Some(revision),
    }
}

/// Seconds of a lease, at least as long as asked for.
pub(crate) fn lease_seconds(ttl: Duration) -> i64 {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    range::signed(seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{KeyValue, RangeResponse};
    use prost::Message;

    #[test]
    fn an_absent_key_is_compared_with_zero_on_the_wire() {
        let when = Precondition::Absent;
        let op = Op::Put { key: "/a".into(), value: Bytes::from_static(b"v"), when, ttl: None };
        let txn = request(vec![op], |_| 0);
        // target MOD = 2, key, and mod_revision present although it is 0.
        assert_eq!(txn.compare[0].encode_to_vec(), [0x10, 2, 0x1a, 2, b'/', b'a', 0x30, 0]);
    }

    #[test]
    fn the_first_failed_condition_is_named() {
        let conditions = [
            ("/any".to_owned(), Precondition::Any),
            ("/right".to_owned(), Precondition::Revision(4)),
            ("/wrong".to_owned(), Precondition::Absent),
        ];
        let read = |kvs| ResponseOp {
            response: Some(ResponseKind::Range(RangeResponse { kvs, ..RangeResponse::default() })),
        };
        let kv = |key: &'static str, mod_revision| KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            mod_revision,
            value: Bytes::from_static(b"v"),
        };
        let responses = vec![read(vec![kv("/right", 4)]), read(vec![kv("/wrong", 9)])];
        match conflict(&conditions, responses) {
            Some(StoreError::Conflict { key, current: Some(current) }) => {
                assert_eq!((key.as_str(), current.revision), ("/wrong", 9));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lease_is_never_shorter_than_asked_for() {
        let cases = [(1, 1), (999, 1), (1000, 1), (1001, 2), (90_000, 90)];
        for (millis, seconds) in cases {
            assert_eq!(lease_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
