//! Lists of actions on a pool, checked against a model after each.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tally_ledger::fuzzing::run(data, 1));
