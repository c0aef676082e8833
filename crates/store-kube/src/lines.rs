//! Lines of a stream of changes.

use crate::failure::Failure;
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::Value;

/// One change.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`.
    #[serde(rename = "type")]
    pub(crate) change: String,
    pub(crate) object: Value,
}

/// Takes the next whole line.
pub(crate) fn next(buffer: &mut BytesMut) -> Option<Result<Line, Failure>> {
    loop {
        let length = buffer.iter().position(|byte| *byte == b'\n')?;
        let line = buffer.split_to(length + 1);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let parsed = serde_json::from_slice(&line);
        return Some(parsed.map_err(|error| Failure::Corrupt(format!("a change is no JSON ({error})"))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_survive_any_cut(texts in proptest::collection::vec(".{0,9}", 0..6), cut in 1usize..40) {
            let mut stream = Vec::new();
            for text in &texts {
                stream.extend(serde_json::json!({"type": "ADDED", "object": text}).to_string().into_bytes());
                stream.extend(b"\n\n");
            }
            let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
            for part in stream.chunks(cut) {
                buffer.extend_from_slice(part);
                while let Some(line) = next(&mut buffer) {
                    seen.push(line.unwrap().object.as_str().unwrap().to_owned());
                }
            }
            prop_assert_eq!(seen, texts);
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for text in ["{}\n", "no\n", "{\"type\":\"ADDED\"}\n"] {
            assert!(next(&mut BytesMut::from(text)).unwrap().is_err(), "{text}");
        }
        assert!(next(&mut BytesMut::from("{\"type\":")).is_none());
    }
}
