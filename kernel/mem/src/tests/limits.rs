//! What lies exactly at a limit, and a step before it.

use super::{ASID, OWNER, PAGE, anywhere, normal_pages, plus, protect, state, with_space, zeroed};
use crate::machine::Access;
use crate::region::{MAX_REGIONS, Place, Prot, RegionKind};
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
