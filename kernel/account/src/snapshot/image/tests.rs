//! Tests of a snapshot's memory.

use super::Image;
use crate::snapshot::keep::SnapshotError;
use tally_abi::pta::watch::MAX_BYTES;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::testing::TestMachine;

#[test]
fn a_snapshot_is_refused_more_than_it_may_take_however_much_memory_there_is() {
    let machine = TestMachine::new(2 * MAX_BYTES / PAGE_SIZE, 0);
    let mut pages = machine.page_allocator();
    let free = pages.free_pages();
    let mut image = Image::default();
    let refused = image.reserve(&mut pages, MAX_BYTES + 1);
    assert_eq!(refused, Err(SnapshotError::OutOfMemory));
    assert_eq!((image.room(), pages.free_pages()), (0, free));
    assert_eq!(image.reserve(&mut pages, MAX_BYTES), Ok(()));
    assert_eq!(image.room(), MAX_BYTES);
    image.free(&mut pages);
    assert_eq!(pages.check(), Ok(()));
    assert_eq!(pages.free_pages(), free);
}
