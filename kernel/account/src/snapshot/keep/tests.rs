//! Tests of the snapshot store.

use super::{SnapshotError, Snapshots, Watchpoint};
use crate::snapshot::image::Image;
use tally_abi::TeeUuid;
use tally_mem::pages::PageAllocator;
use tally_mem::testing::TestMachine;
use tally_records::trigger;

const TA: TeeUuid = TeeUuid::from_u128(1);

fn of_heap(wanted: u64) -> Watchpoint {
    Watchpoint {
        trigger: trigger::HEAP,
        uuid: TA,
        wanted,
    }
}

/// Runs `test` with an allocator, and checks that all pages are back.
fn with(test: impl FnOnce(&mut Snapshots, &mut PageAllocator)) {
    let mut pages = TestMachine::new(8, 0).page_allocator();
    let free = pages.free_pages();
    test(&mut Snapshots::default(), &mut pages);
    assert_eq!(pages.check(), Ok(()));
    assert_eq!(pages.free_pages(), free);
}

#[test]
fn a_snapshot_that_is_being_taken_cannot_be_dropped() {
    with(|snapshots, pages| {
        let asked = snapshots.begin().unwrap();
        let watched = snapshots.arm(of_heap(10)).unwrap();
        assert_eq!(snapshots.meet(trigger::HEAP, TA, 11), Some(watched));
        for number in [asked, watched] {
            assert_eq!(snapshots.forget(pages, number), Err(SnapshotError::Busy));
            snapshots.taken(pages, number, 0, (Image::default(), 0));
            assert_eq!(snapshots.forget(pages, number), Ok(()));
            let again = snapshots.forget(pages, number);
            assert_eq!(again, Err(SnapshotError::NotFound));
        }
    });
}

#[test]
fn nothing_is_watched_for_once_no_watchpoint_waits() {
    with(|snapshots, pages| {
        assert!(!snapshots.watches());
        let [dropped, met] = [10, 20].map(|wanted| snapshots.arm(of_heap(wanted)).unwrap());
        assert!(snapshots.watches());
        assert_eq!(snapshots.forget(pages, dropped), Ok(()));
        assert!(snapshots.watches(), "one waits still");
        assert_eq!(snapshots.meet(trigger::HEAP, TA, 21), Some(met));
        assert!(!snapshots.watches());
        snapshots.taken(pages, met, 0, (Image::default(), 0));
        assert_eq!(snapshots.forget(pages, met), Ok(()));
        assert!(!snapshots.watches());
        let ended = snapshots.arm(of_heap(30)).unwrap();
        snapshots.ended(TA);
        assert!(!snapshots.watches());
        assert_eq!(snapshots.forget(pages, ended), Ok(()));
        assert!(!snapshots.watches());
    });
}

#[test]
fn a_heap_meets_a_watchpoint_when_it_rises_above_its_bytes_and_a_command_its_own() {
    with(|snapshots, pages| {
        let heap = snapshots.arm(of_heap(1000)).unwrap();
        assert_eq!(snapshots.meet(trigger::HEAP, TA, 1000), None);
        assert_eq!(snapshots.meet(trigger::HEAP, TA, 1001), Some(heap));
        let entry = Watchpoint {
            trigger: trigger::ENTRY,
            ..of_heap(7)
        };
        let entry = snapshots.arm(entry).unwrap();
        assert_eq!(snapshots.meet(trigger::ENTRY, TA, 8), None);
        assert_eq!(snapshots.meet(trigger::EXIT, TA, 7), None);
        let other = TeeUuid::from_u128(2);
        assert_eq!(snapshots.meet(trigger::ENTRY, other, 7), None);
        assert_eq!(snapshots.meet(trigger::ENTRY, TA, 7), Some(entry));
        snapshots.forget_all(pages);
    });
}
