//! A sound pool whose memory was overwritten, read from outside.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tally_ledger::fuzzing::read_damaged(data));
