//! The quota of an address space: what it counts, what others of the same quota leave, and what a refusal tells.

use super::{OWNER, PAGE, anywhere, normal_pages, plus, with_space, with_space_of, zeroed};
use crate::mem::Mem;
use crate::pages::PageUse;
use crate::quota::Quota;
use crate::refused::{RefusedPages, Short};
use crate::region::{MAX_REGIONS, Place, Prot, RegionKind};
use crate::space::{AddressSpace, SpaceError};
use crate::testing::TestMachine;

/// So far from the others that it needs tables of its own.
const FAR: Place = Place::Anywhere {
    random: 0,
    pad_before: 1 << 30,
    pad_after: 0,
};

#[test]
fn the_most_that_was_charged_counts_memory_of_every_kind_and_begins_anew() {
    type Map = fn(&mut AddressSpace, &mut Mem<'_, TestMachine>) -> Result<u32, SpaceError>;
    // Each returns the pages of its own that it is charged for, tables apart.
    let kinds: [(&str, Map); 5] = [
        ("zeroed", |space, mem| {
            let kind = RegionKind::Segment;
            let mapped = space.map_zero(mem, kind, 3 * PAGE, Prot::READ_WRITE, FAR);
            mapped.map(|_| 3)
        }),
        ("lent", |space, mem| {
            let first = mem.pages.alloc_adjacent(2, PageUse::SecureBuffer, OWNER)?;
            let frames = [first, first.offset(1)];
            let kind = RegionKind::Buffer;
            space.map_lent(mem, kind, frames, 2, FAR).map(|_| 2)
        }),
        ("normal", |space, mem| {
            let pages = normal_pages(0, 2);
            let mapped = space.map_normal(mem, pages, 2, 0, Prot::READ, FAR);
            mapped.map(|_| 0)
        }),
        ("normal in steps", |space, mem| {
            let begun = space.begin_normal(mem, 2, 0, Prot::READ, FAR);
            begun.map(|_| 0)
        }),
        ("heap", |space, mem| {
            space.heap_reserve(mem, 1 << 30, 1)?;
            space.heap_grow(mem, 4 * PAGE).map(|_| 4)
        }),
    ];
    for (name, map) in kinds {
        with_space(|space, mem| {
            let tables = space.figures().table_pages;
            let own = map(space, mem).unwrap();
            let more = space.figures().table_pages - tables;
            assert!(more > 0, "{name}: tables");
            let most = 1 + own + more;
            assert_eq!(
                (space.charged_pages(), space.charged_max()),
                (most, most),
                "{name}"
            );
            // What is given back was there.
            let region = space.regions()[0];
            let lent = (name == "lent").then(|| space.first_page(mem.machine, &region));
            space.unmap(mem, region.va(), region.bytes()).unwrap();
            if let Some(Some(crate::space::Target::Secure(pa))) = lent {
                let first = crate::addr::PhysPage::containing(pa);
                for page in [first, first.offset(1)] {
                    mem.pages.free(page).unwrap();
                }
            }
            assert!(space.charged_pages() < most, "{name}");
            assert_eq!(space.charged_max(), most, "{name}");
            space.restart_charged_max();
            assert_eq!(space.charged_max(), space.charged_pages(), "{name}");
        });
    }
}

#[test]
fn what_is_lent_is_charged_until_it_is_back_and_was_the_most() {
    with_space_of(20, |space, mem| {
        let before = space.charged_pages();
        space.lend(mem, 7).unwrap();
        let most = before + 7;
        assert_eq!((space.charged_pages(), space.charged_max()), (most, most));
        let over = space.lend(mem, 20 - most + 1);
        assert_eq!(over, Err(SpaceError::QuotaExceeded));
        assert_eq!((space.charged_pages(), space.charged_max()), (most, most));
        space.take_back(7);
        assert_eq!((space.charged_pages(), space.charged_max()), (before, most));
    });
}

/// What is told of a quota of 20 pages of which others have 5.
fn of_twenty(wanted: u32, used: u32) -> Option<RefusedPages> {
    Some(RefusedPages {
        short: Short::Quota,
        owner: OWNER,
        wanted,
        used,
        size: 20,
        left: 20 - used,
    })
}

#[test]
fn what_others_have_is_off_the_quota_and_a_refusal_tells_of_both() {
    with_space_of(20, |space, mem| {
        let padded = Place::Anywhere {
            random: 9,
            pad_before: 0,
            pad_after: 30 * PAGE,
        };
        let kind = RegionKind::Segment;
        let map = |space: &mut AddressSpace, mem: &mut Mem<'_, TestMachine>, pages: u32, place| {
            let bytes = u64::from(pages) * PAGE;
            space.map_zero(mem, kind, bytes, Prot::READ_WRITE, place)
        };
        let first = map(space, mem, 2, padded).unwrap();
        let behind = Place::At(plus(first, 2 * PAGE));
        space.share_quota(5);
        let charged = space.charged_pages();
        assert_eq!((space.limit_pages(), space.quota_used()), (20, charged + 5));
        let left = 15 - charged;

        let refused = Err(SpaceError::QuotaExceeded);
        assert_eq!(map(space, mem, left + 1, behind), refused);
        let told = mem.pages.settle_refused();
        assert_eq!(told, of_twenty(left + 1, charged + 5));
        // There they would fit but for the tables, of which one is told.
        assert_eq!(map(space, mem, left, FAR), refused);
        let told = mem.pages.settle_refused();
        assert_eq!(told, of_twenty(left + 1, charged + 5));
        // As many as there are, and no page more.
        assert_eq!(map(space, mem, left, behind), Ok(plus(first, 2 * PAGE)));
        assert_eq!(mem.pages.settle_refused(), None);
        assert_eq!((space.charged_pages(), space.quota_used()), (15, 20));
        let end = Place::At(plus(first, u64::from(2 + left) * PAGE));
        assert_eq!(map(space, mem, 1, end), refused);
        assert_eq!(mem.pages.settle_refused(), of_twenty(1, 20));
        // Tables alone.
        let normal = space.map_normal(mem, normal_pages(0, 1), 1, 0, Prot::READ, FAR);
        assert_eq!(normal, refused);
        assert_eq!(mem.pages.settle_refused(), of_twenty(1, 20));
        let begun = space.begin_normal(mem, 1, 0, Prot::READ, FAR);
        assert_eq!(begun, refused);
        assert_eq!(mem.pages.settle_refused(), of_twenty(1, 20));

        // Others give theirs back, all but a page.
        space.share_quota(1);
        assert_eq!(map(space, mem, 5, end), refused);
        assert_eq!(mem.pages.settle_refused(), of_twenty(5, 16));
        assert!(map(space, mem, 4, end).is_ok());
        space.share_quota(0);
        assert_eq!(space.quota_used(), 19);
    });
}

#[test]
fn a_refused_region_tells_how_many_there_are() {
    with_space(|space, mem| {
        for _ in 0..MAX_REGIONS {
            let page = normal_pages(0, 1);
            let mapped = space.map_normal(mem, page, 1, 0, Prot::READ, anywhere());
            mapped.unwrap();
        }
        assert_eq!(mem.pages.settle_refused(), None);
        let told = Some(RefusedPages {
            short: Short::Regions,
            owner: OWNER,
            wanted: 1,
            used: 96,
            size: 96,
            left: 0,
        });
        let place = anywhere();
        let kind = RegionKind::Segment;
        let zero = space.map_zero(mem, kind, PAGE, Prot::READ, place);
        assert_eq!(zero, Err(SpaceError::TooManyRegions));
        assert_eq!(mem.pages.settle_refused(), told);
        let normal = space.map_normal(mem, normal_pages(0, 1), 1, 0, Prot::READ, place);
        assert_eq!(normal, Err(SpaceError::TooManyRegions));
        assert_eq!(mem.pages.settle_refused(), told);
        let begun = space.begin_normal(mem, 1, 0, Prot::READ, place);
        assert_eq!(begun, Err(SpaceError::TooManyRegions));
        assert_eq!(mem.pages.settle_refused(), told);
    });
}

#[test]
fn figures_are_by_kind_and_add_up_to_what_is_charged() {
    with_space(|space, mem| {
        zeroed(space, mem, RegionKind::Segment, 3);
        let stack = zeroed(space, mem, RegionKind::Stack, 2);
        let touched = space.fault(mem, stack, crate::machine::Access::Write);
        assert_eq!(touched, Ok(()));
        let pages = normal_pages(0, 4);
        let normal = space.map_normal(mem, pages, 4, 0, Prot::READ, anywhere());
        normal.unwrap();
        let figures = space.figures();
        let of = |kind: RegionKind| {
            let of = figures.kinds[kind as usize];
            (of.virtual_bytes, of.resident_bytes)
        };
        assert_eq!(of(RegionKind::Segment), (3 * PAGE, 0));
        assert_eq!(of(RegionKind::Stack), (2 * PAGE, PAGE));
        assert_eq!(of(RegionKind::Param), (4 * PAGE, 4 * PAGE));
        assert_eq!(of(RegionKind::Heap), (0, 0));
        assert_eq!((figures.own_pages, figures.promised_pages), (1, 4));
        assert_eq!(figures.charged_pages, 5 + figures.table_pages);
        assert_eq!(figures.limit_pages, 100);
    });
}

#[test]
fn a_space_whose_quota_others_have_gets_no_page() {
    let machine = TestMachine::new(4, 1);
    let mut pages = machine.page_allocator();
    let before = super::account(&pages);
    let mem = &mut Mem::new(&mut pages, &machine);
    let quota = Quota {
        pages: 5,
        by_others: 5,
    };
    let refused = AddressSpace::new(mem, super::ASID, OWNER, quota, 0);
    assert_eq!(refused.err(), Some(SpaceError::QuotaExceeded));
    let told = pages.settle_refused().unwrap();
    assert_eq!((told.short, told.used, told.size), (Short::Quota, 5, 5));
    assert_eq!(super::account(&pages), before);
}

#[test]
fn addresses_are_set_aside_for_as_many_pages_as_a_quota_has_and_none_more() {
    with_space_of(20, |space, mem| {
        assert_eq!(space.check_window(mem, 20), Ok(()));
        assert_eq!(mem.pages.settle_refused(), None);
        let refused = space.check_window(mem, 21);
        assert_eq!(refused, Err(SpaceError::QuotaExceeded));
        let told = mem.pages.settle_refused().unwrap();
        assert_eq!((told.wanted, told.size), (21, 20));
    });
}
