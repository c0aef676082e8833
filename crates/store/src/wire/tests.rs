//! Messages survive the way over the wire, and nonsense is refused.

use super::*;
use crate::port::Precondition;
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn precondition() -> impl Strategy<Value = Precondition> {
    prop_oneof![
        Just(Precondition::Any),
        Just(Precondition::Absent),
        any::<u64>().prop_map(Precondition::Revision)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let ttl =
        proptest::option::of((any::<u64>(), 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n)));
    prop_oneof![
        (".{0,9}", bytes(), precondition(), ttl).prop_map(|(key, value, when, ttl)| Op::Put {
            key,
            value,
            when,
            ttl
        }),
        (".{0,9}", precondition()).prop_map(|(key, when)| Op::Delete { key, when }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any::<u32>().prop_map(|version| Request::Hello { version }),
        ".{0,20}".prop_map(|key| Request::Get { key }),
        ".{0,20}".prop_map(|prefix| Request::List { prefix }),
        vec(op(), 0..5).prop_map(|ops| Request::Commit { ops }),
        (".{0,20}", any::<u64>()).prop_map(|(prefix, revision)| Request::Watch { prefix, revision }),
        any::<u32>().prop_map(|items| Request::Grant { items }),
        Just(Request::Cancel),
        Just(Request::Status),
        any::<u64>().prop_map(|revision| Request::Compact { revision }),
        ".{0,20}".prop_map(|path| Request::Backup { path }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    (".{0,20}", bytes(), any::<u64>()).prop_map(|(key, value, revision)| Entry {
        key: key.into(),
        value,
        revision,
    })
}

fn error() -> impl Strategy<Value = StoreError> {
    let text = || ".{0,20}";
    prop_oneof![
        (text(), proptest::option::of(entry()))
            .prop_map(|(key, current)| StoreError::Conflict { key, current }),
        any::<(u64, u64)>().prop_map(|(requested, oldest)| StoreError::Compacted { requested, oldest }),
        (text(), text(), text()).prop_map(|(endpoint, doing, reason)| StoreError::Unavailable {
            endpoint,
            doing,
            reason
        }),
        (text(), text(), text()).prop_map(|(endpoint, doing, reason)| StoreError::Denied {
            endpoint,
            doing,
            reason
        }),
        (text(), text()).prop_map(|(doing, reason)| StoreError::Invalid { doing, reason }),
        (text(), text()).prop_map(|(endpoint, reason)| StoreError::Corrupt { endpoint, reason }),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    let event = prop_oneof![
        entry().prop_map(Event::Put),
        (".{0,20}", any::<u64>()).prop_map(|(key, revision)| Event::Delete { key: key.into(), revision }),
    ];
    prop_oneof![
        proptest::option::of(entry()).prop_map(Response::Entry),
        (vec(entry(), 0..5), any::<u64>(), any::<bool>())
            .prop_map(|(entries, revision, last)| Response::Part { entries, revision, last }),
        any::<u64>().prop_map(Response::Revision),
        vec(event, 0..5).prop_map(Response::Events),
        any::<u64>().prop_map(Response::Progress),
        any::<[u64; 8]>().prop_map(|n| Response::Status(Status {
            revision: n[0],
            compacted: n[1],
            keys: n[2],
            log: n[3],
            watches: n[4],
            commits: n[5],
            batches: n[6],
            conflicts: n[7],
        })),
        error().prop_map(Response::Error),
    ]
}

/// The only frame of what was read, without its length field.
fn unframed(frame: &[u8]) -> Bytes {
    let mut read = BytesMut::from(frame);
    let frame = split_frame(&mut read).unwrap().unwrap();
    assert!(read.is_empty());
    frame
}

proptest! {
    #[test]
    fn requests_come_back(id: u64, request in request()) {
        let frame = request.encode(id);
        prop_assert_eq!(Request::decode(unframed(&frame)), Ok((id, request)));
    }

    #[test]
    fn responses_come_back(id: u64, response in response()) {
        let frame = response.encode(id);
        let (found, back) = Response::decode(unframed(&frame)).unwrap();
        prop_assert_eq!(found, id);
        prop_assert_eq!(format!("{back:?}"), format!("{response:?}"));
    }

    #[test]
    fn a_message_cut_off_or_followed_by_more_is_refused(request in request(), more in 1..9usize) {
        let frame = unframed(&request.encode(1));
        for length in 0..frame.len() {
            prop_assert!(Request::decode(frame.slice(..length)).is_err());
        }
        let longer: Vec<u8> = frame.iter().copied().chain(std::iter::repeat_n(0, more)).collect();
        prop_assert!(Request::decode(longer.into()).is_err());
    }

    #[test]
    fn any_bytes_are_survived(noise in vec(any::<u8>(), 0..200), kind in 0..12u8) {
        let mut frame = vec![0; 8];
        frame.push(kind);
        frame.extend(noise);
        let _ = Request::decode(frame.clone().into());
        let _ = Response::decode(frame.clone().into());
        let _ = split_frame(&mut BytesMut::from(&frame[9..]));
    }

    #[test]
    fn frames_are_found_wherever_the_stream_is_cut(requests in vec(request(), 1..6), step in 1..50usize) {
        let stream: Vec<u8> = requests.iter().flat_map(|request| request.encode(7)).collect();
        let (mut read, mut found) = (BytesMut::new(), Vec::new());
        for part in stream.chunks(step) {
            read.extend_from_slice(part);
            while let Some(frame) = split_frame(&mut read).unwrap() {
                found.push(Request::decode(frame).unwrap().1);
            }
        }
        prop_assert_eq!(found, requests);
    }

    #[test]
    fn a_list_in_parts_is_the_list(sizes in vec(0..LIST_PART / 2, 0..12)) {
        let entries: Vec<Entry> = sizes
            .iter()
            .map(|size| Entry { key: size.to_string().into(), value: vec![1; *size].into(), revision: 3 })
            .collect();
        let mut back = Vec::new();
        let frames = Response::encode_list(5, &entries, 9);
        for (n, frame) in frames.iter().enumerate() {
            prop_assert!(frame.len() < 2 * LIST_PART);
            match Response::decode(unframed(frame)) {
                Ok((5, Response::Part { entries, revision: 9, last })) => {
                    prop_assert_eq!(last, n + 1 == frames.len());
                    back.extend(entries);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(back, entries);
    }
}

#[test]
fn a_frame_that_claims_too_much_is_refused_at_once() {
    let mut read = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
    assert!(split_frame(&mut read).is_err());
}
