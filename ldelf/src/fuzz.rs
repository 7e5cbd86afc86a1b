//! Fuzz entry point of the loader.
//!
//! **Invariant:** exercises all code that reads an image.
extern crate alloc;

use crate::plan;
use alloc::vec;
use tally_abi::TeeUuid;

/// Plans and applies `data`, whose first 16 bytes are the UUID asked for.
///
/// # Panics
/// When a plan breaks one of its promises: that is a bug.
pub fn fuzz(data: &[u8]) {
    let Some((uuid, image)) = data.split_first_chunk::<16>() else {
        return;
    };
    let Ok(plan) = plan(image, TeeUuid::from_bytes(*uuid)) else {
        return;
    };
    let mut end = 0;
    for segment in plan.segments() {
        assert!(segment.address >= end && segment.end() <= plan.span);
        end = segment.end();
    }
    for pages in plan.protections() {
        assert!(pages.len > 0 && pages.address + pages.len <= plan.span);
    }
    let checked = plan.check_relocations();
    let mut memory = vec![0; plan.span as usize];
    assert_eq!(plan.apply(&mut memory, 1 << 30).is_ok(), checked.is_ok());
}
