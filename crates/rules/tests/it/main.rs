//! Tests of the renderer.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

mod build;
mod giving_up;
mod golden;
mod incremental;
