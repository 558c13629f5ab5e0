//! `snapshot_chunk` of crates/fuzz_targets, guided by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::run("snapshot_chunk", data));
