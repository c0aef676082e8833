//! Hands bytes to the entry `documents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tortie_fuzz_entries::documents(bytes));
