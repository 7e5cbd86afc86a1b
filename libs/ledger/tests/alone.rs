//! The crate by itself: its examples, and what its README says of the format.
#![cfg(not(miri))]

#[expect(dead_code, reason = "the example's own entry")]
#[path = "../examples/global.rs"]
mod global;
#[expect(dead_code, reason = "the example's own entry")]
#[path = "../examples/read.rs"]
mod read;

use tally_ledger::{
    ALARM_HIT_OFFSET, ALARM_OFFSET, FAILURES_OFFSET, MAGIC, MARK_OFFSET, PEAK_OFFSET, VERSION,
};

#[test]
fn a_heap_is_read_from_its_snapshot() {
    let bytes = global::demonstrate().unwrap();
    let text = read::report(bytes).unwrap();
    for site in [
        "   30000 bytes in    1 blocks,  30000 at most, allocated at 0x1000\n",
        "     280 bytes in   10 blocks,    280 at most, allocated at 0x2000\n",
    ] {
        assert!(text.contains(site), "{text}");
    }
    assert_eq!(bytes[..8], MAGIC.to_le_bytes());
    assert_eq!(bytes[8..12], VERSION.to_le_bytes());
    bytes[8] += 1;
    assert_eq!(read::report(bytes), None, "another version");
}

#[test]
fn offsets_are_those_of_the_readme() {
    let readme = include_str!("../README.md");
    for (name, offset) in [
        ("failures", FAILURES_OFFSET),
        ("alarm hit", ALARM_HIT_OFFSET),
        ("alarm", ALARM_OFFSET),
        ("peak", PEAK_OFFSET),
        ("mark", MARK_OFFSET),
    ] {
        let row = format!("| {offset} | {name} |");
        assert!(readme.contains(&row), "no `{row}`");
    }
    assert!(readme.contains(&format!("version {VERSION}")));
}
