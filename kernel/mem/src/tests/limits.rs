//! Limits: exactly at one, and a step before it.

use super::{ASID, OWNER, PAGE, anywhere, normal_pages, plus, protect, state, with_space, zeroed};
use crate::addr::UserVa;
use crate::machine::Access;
use crate::region::{
    MAX_REGIONS, Place, Prot, RegionKind, WINDOW_END, WINDOW_START, page_number, page_range,
    pages_of,
};
use crate::space::SpaceError;
use crate::testing::Flush;

/// Pages that one table of the last level names.
const TABLE_PAGES: u64 = 512;

#[test]
fn a_heap_that_grows_over_the_end_of_a_table_has_the_next_one() {
    with_space(|space, mem| {
        let first = zeroed(space, mem, RegionKind::Segment, 1);
        let to_boundary = TABLE_PAGES - (first.0 / PAGE) % TABLE_PAGES;
        let filler = Place::Anywhere {
            random: 0,
            pad_before: (to_boundary + TABLE_PAGES - 8) * PAGE - 4 * PAGE,
            pad_after: 0,
        };
        space
            .map_zero(mem, RegionKind::Segment, PAGE, Prot::READ, filler)
            .unwrap();
        let heap = space.heap_reserve(mem, 16 * PAGE, 0).unwrap();
        assert_eq!((heap.0 / PAGE) % TABLE_PAGES, TABLE_PAGES - 8);
        for grown in [8, 16] {
            assert_eq!(space.heap_grow(mem, 8 * PAGE), Ok(grown * PAGE));
            let last = plus(heap, (grown - 1) * PAGE);
            assert_eq!(space.fault(mem, last, Access::Write), Ok(()));
        }
    });
}

#[test]
fn few_pages_are_flushed_one_by_one_and_many_at_once() {
    with_space(|space, mem| {
        for (pages, flushes) in [(8, 8), (9, 1)] {
            let va = zeroed(space, mem, RegionKind::Segment, pages);
            mem.machine.take_flushes();
            space.unmap(mem, va, pages * PAGE).unwrap();
            let taken = mem.machine.take_flushes();
            assert_eq!(taken.len(), flushes);
            assert_eq!(taken.contains(&Flush::Asid(ASID)), flushes == 1);
        }
    });
}

#[test]
fn both_ends_that_are_left_need_room() {
    with_space(|space, mem| {
        let first = zeroed(space, mem, RegionKind::Segment, 3);
        for _ in 2..MAX_REGIONS {
            space
                .map_normal(mem, normal_pages(0, 1), 1, 0, Prot::READ, anywhere())
                .unwrap();
        }
        // One more region fits, two do not.
        let before = state(space, mem);
        let middle = protect(space, mem, plus(first, PAGE), PAGE, Prot::READ);
        assert_eq!(middle, Err(SpaceError::TooManyRegions));
        assert_eq!(state(space, mem), before);
        assert_eq!(protect(space, mem, first, PAGE, Prot::READ), Ok(()));
        assert_eq!(space.regions().len(), MAX_REGIONS);
    });
}

#[test]
fn what_is_lent_to_a_parameter_is_charged_to_the_lender_alone() {
    with_space(|space, mem| {
        let before = space.charged_pages() - space.figures().table_pages;
        let own = |space: &crate::space::AddressSpace| {
            space.charged_pages() - space.figures().table_pages - before
        };
        for (kind, charged) in [
            (RegionKind::Param, 0),
            (RegionKind::Segment, 3),
            (RegionKind::Stack, 3),
        ] {
            let va = zeroed(space, mem, kind, 3);
            assert_eq!(own(space), charged, "{kind:?}");
            space.fault(mem, va, Access::Write).unwrap();
            space.unmap(mem, va, 3 * PAGE).unwrap();
            assert_eq!(own(space), 0, "{kind:?}");
        }
        assert_eq!(space.owner(), OWNER);
    });
}

#[test]
fn pages_and_ranges_lie_in_the_window_to_its_first_and_last() {
    let (start, end) = (WINDOW_START.0, WINDOW_END.0);
    for (va, is_inside) in [
        (start - 1, false),
        (start, true),
        (end - 1, true),
        (end, false),
    ] {
        assert_eq!(page_number(UserVa(va)).is_some(), is_inside, "{va:#x}");
    }
    for (va, len, is_range) in [
        (start, PAGE, true),
        (start, end - start, true),
        (end - PAGE, PAGE, true),
        (start, 0, false),
        (start - PAGE, PAGE, false),
        (end - PAGE, 2 * PAGE, false),
        // Both ends at pages, not one of them.
        (start + 8, PAGE - 8, false),
        (start, PAGE + 8, false),
        (start, u64::MAX, false),
    ] {
        let range = page_range(UserVa(va), len);
        assert_eq!(range.is_ok(), is_range, "{va:#x} {len:#x}");
    }
    let all = (end - start) / PAGE;
    assert_eq!(pages_of(end - start), Ok(all as u32));
    assert_eq!(pages_of(end - start + 1), Err(SpaceError::NoSpace));
    assert_eq!((pages_of(1), pages_of(PAGE + 1)), (Ok(1), Ok(2)));
}

#[test]
fn behind_a_region_is_none() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Stack, 2);
        assert!(space.region_at(plus(va, 2 * PAGE - 1)).is_some());
        assert!(space.region_at(plus(va, 2 * PAGE)).is_none());
        assert!(space.region_at(UserVa(va.0 - 1)).is_none());
    });
}
