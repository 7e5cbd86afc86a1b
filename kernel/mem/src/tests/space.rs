//! Mapping, unmapping, protecting.

use super::{
    ASID, OWNER, PAGE, account, anywhere, fail_every_request, normal_pages, plus, protect, state,
    with_space, with_space_of, zeroed,
};
use crate::access::FaultError;
use crate::addr::{PhysAddr, PhysPage, UserVa};
use crate::machine::{Access, SecureMemory};
use crate::mem::Mem;
use crate::owner::OwnerId;
use crate::pages::{PageError, PageUse};
use crate::quota::Quota;
use crate::region::{MAX_REGIONS, Place, Prot, RegionKind, WINDOW_END, WINDOW_START};
use crate::space::{AddressSpace, SpaceError, Target};
use crate::testing::{Flush, NORMAL_BASE, SECURE_BASE, TestMachine};
use tally_abi::TeeResult;

#[test]
fn a_space_takes_one_page_and_gives_it_back() {
    with_space(|space, mem| {
        assert_eq!(space.charged_pages(), 1);
        assert_eq!(mem.pages.owned_by(OWNER), 1);
        assert_eq!(space.root().asid, ASID);
    });
}

#[test]
fn a_space_that_gets_no_page_takes_none() {
    let machine = TestMachine::new(1, 0);
    let mut pages = machine.page_allocator();
    let taken = pages.alloc(PageUse::Snapshot, OwnerId::KERNEL).unwrap();
    let before = account(&pages);
    let refused = AddressSpace::new(
        &mut Mem::new(&mut pages, &machine),
        ASID,
        OWNER,
        Quota::alone(9),
        0,
    );
    assert_eq!(refused.err(), Some(SpaceError::OutOfMemory));
    assert_eq!(account(&pages), before);
    pages.free(taken).unwrap();
}

#[test]
fn zeroed_memory_is_promised_when_mapped_and_populated_when_touched() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Segment, 3);
        let figures = space.figures();
        assert_eq!((figures.own_pages, figures.promised_pages), (0, 3));

        assert_eq!(space.fault(mem, plus(va, PAGE + 5), Access::Write), Ok(()));
        let figures = space.figures();
        assert_eq!((figures.own_pages, figures.promised_pages), (1, 2));
        let mut bytes = [0xff; 16];
        mem.machine
            .user_load(space.root(), va.0 + PAGE, &mut bytes)
            .unwrap();
        assert_eq!(bytes, [0; 16]);
        assert!(
            mem.machine
                .user_load(space.root(), va.0, &mut bytes)
                .unwrap_err()
                .translation
        );
    });
}

#[test]
fn placements_have_unmapped_pages_around_them() {
    with_space(|space, mem| {
        for random in 0..8 {
            let place = Place::random(random * 0x1_0001);
            space
                .map_zero(mem, RegionKind::Segment, PAGE, Prot::READ, place)
                .unwrap();
        }
        let mut last = WINDOW_START.0;
        for region in space.regions() {
            assert!(region.va().0 > last, "{region:?}");
            last = region.va().0 + region.bytes();
            assert!(last <= WINDOW_END.0);
        }
    });
}

#[test]
fn small_spaces_share_tables() {
    with_space(|space, mem| {
        for _ in 0..6 {
            zeroed(space, mem, RegionKind::Segment, 2);
        }
        // The top, and at most two of each level below where a boundary is crossed.
        assert!(space.figures().table_pages <= 5, "{:?}", space.figures());
    });
}

#[test]
fn padding_is_kept_for_fixed_places_and_for_nothing_else() {
    with_space(|space, mem| {
        let padded = Place::Anywhere {
            random: 9,
            pad_before: 2 * PAGE,
            pad_after: 4 * PAGE,
        };
        let first = space
            .map_zero(mem, RegionKind::Segment, PAGE, Prot::READ_WRITE, padded)
            .unwrap();
        let mut map = |mem: &mut Mem<'_, TestMachine>, at: u64, pages: u64| {
            let place = Place::At(UserVa(at));
            let len = pages * PAGE;
            space.map_zero(mem, RegionKind::Segment, len, Prot::READ_WRITE, place)
        };
        assert_eq!(map(mem, first.0 + PAGE, 2), Ok(plus(first, PAGE)));
        assert_eq!(
            map(mem, first.0 - 2 * PAGE, 2),
            Ok(UserVa(first.0 - 2 * PAGE))
        );
        assert_eq!(map(mem, first.0, 1), Err(SpaceError::Overlap));
        assert_eq!(map(mem, first.0 + 2 * PAGE, 3), Err(SpaceError::Overlap));
        assert_eq!(map(mem, first.0 + 3 * PAGE, 3), Err(SpaceError::NoSpace));
        assert_eq!(map(mem, first.0 - 3 * PAGE, 1), Err(SpaceError::NoSpace));
        assert_eq!(
            map(mem, first.0 + 3 * PAGE + 1, 1),
            Err(SpaceError::BadRange)
        );
        assert_eq!(map(mem, 0, 1), Err(SpaceError::BadRange));

        let elsewhere = zeroed(space, mem, RegionKind::Stack, 1);
        assert!(elsewhere.0 > first.0 + 5 * PAGE || elsewhere.0 < first.0 - 3 * PAGE);
    });
}

#[test]
fn padding_outlives_the_mapping_it_came_with() {
    with_space(|space, mem| {
        let padded = Place::Anywhere {
            random: 1,
            pad_before: 0,
            pad_after: 4 * PAGE,
        };
        let va = space
            .map_zero(mem, RegionKind::Segment, PAGE, Prot::READ, padded)
            .unwrap();
        let at = Place::At(plus(va, 2 * PAGE));
        space
            .map_zero(mem, RegionKind::Segment, PAGE, Prot::READ, at)
            .unwrap();
        space.unmap(mem, va, PAGE).unwrap();
        let again = space.map_zero(mem, RegionKind::Segment, PAGE, Prot::READ, Place::At(va));
        assert_eq!(again, Ok(va));
    });
}

#[test]
fn sizes_that_no_space_has_are_refused() {
    with_space(|space, mem| {
        let before = state(space, mem);
        for (bytes, error) in [
            (0, SpaceError::BadRange),
            (u64::MAX, SpaceError::NoSpace),
            (WINDOW_END.0 - WINDOW_START.0, SpaceError::QuotaExceeded),
            (WINDOW_END.0 - WINDOW_START.0 + 1, SpaceError::NoSpace),
        ] {
            let map = space.map_zero(mem, RegionKind::Stack, bytes, Prot::READ, anywhere());
            assert_eq!(map, Err(error), "{bytes:#x}");
        }
        let padded = Place::Anywhere {
            random: 0,
            pad_before: u64::MAX,
            pad_after: 0,
        };
        let map = space.map_zero(mem, RegionKind::Stack, PAGE, Prot::READ, padded);
        assert_eq!(map, Err(SpaceError::NoSpace));
        assert_eq!(state(space, mem), before);
    });
}

#[test]
fn more_regions_than_there_is_room_for_are_refused() {
    with_space_of(120, |space, mem| {
        let first = zeroed(space, mem, RegionKind::Segment, 3);
        let mut map = |space: &mut AddressSpace| {
            space.map_normal(mem, normal_pages(0, 1), 1, 0, Prot::READ, anywhere())
        };
        for _ in 1..MAX_REGIONS {
            map(space).unwrap();
        }
        let regions = space.regions().to_vec();
        assert_eq!(map(space), Err(SpaceError::TooManyRegions));
        let before = state(space, mem);
        let middle = plus(first, PAGE);
        assert_eq!(
            space.unmap(mem, middle, PAGE),
            Err(SpaceError::TooManyRegions)
        );
        let protect = protect(space, mem, middle, PAGE, Prot::READ);
        assert_eq!(protect, Err(SpaceError::TooManyRegions));
        assert_eq!(state(space, mem), before);
        assert_eq!(space.regions(), regions);
    });
}

#[test]
fn the_quota_counts_promised_pages_and_tables() {
    with_space_of(8, |space, mem| {
        let before = state(space, mem);
        let mut map = |pages: u64| {
            space.map_zero(
                mem,
                RegionKind::Stack,
                pages * PAGE,
                Prot::READ_WRITE,
                anywhere(),
            )
        };
        assert_eq!(map(8), Err(SpaceError::QuotaExceeded));
        assert_eq!(map(6), Err(SpaceError::QuotaExceeded));
        assert_eq!(state(space, mem), before);
        zeroed(space, mem, RegionKind::Stack, 5);
        assert_eq!(space.charged_pages(), 8);

        let before = state(space, mem);
        let random = 7;
        let heap = space.heap_reserve(mem, 1 << 30, random).unwrap();
        assert_eq!(space.heap_grow(mem, 1), Err(SpaceError::QuotaExceeded));
        space.unmap(mem, heap, 1 << 30).unwrap();
        assert_eq!(state(space, mem), before);
    });
}

#[test]
fn whichever_allocation_fails_a_mapping_leaves_no_trace() {
    with_space_of(100, |space, mem| {
        let failed = fail_every_request(space, mem, |space, mem| {
            let len = 20 * PAGE;
            space
                .map_zero(mem, RegionKind::Segment, len, Prot::READ, anywhere())
                .map(drop)
        });
        assert!(failed >= 3, "the promise and two tables, not {failed}");
        let far = Place::Anywhere {
            random: 0,
            pad_before: 1 << 30,
            pad_after: 0,
        };
        let failed = fail_every_request(space, mem, |space, mem| {
            space
                .map_normal(mem, normal_pages(0, 3), 3, 9, Prot::READ, far)
                .map(drop)
        });
        assert!(failed >= 2, "two tables, not {failed}");
        space.heap_reserve(mem, 1 << 22, 3).unwrap();
        fail_every_request(space, mem, |space, mem| {
            space.heap_grow(mem, 9 * PAGE).map(drop)
        });
        let far = Place::Anywhere {
            random: 0,
            pad_before: 1 << 31,
            pad_after: 0,
        };
        let page = mem.pages.alloc(PageUse::Snapshot, OwnerId(9)).unwrap();
        fail_every_request(space, mem, |space, mem| {
            let kind = RegionKind::Image;
            space
                .map_borrowed(mem, kind, [page], 1, Prot::READ, far)
                .map(drop)
        });
        while let Some(region) = space.regions().first().copied() {
            space.unmap(mem, region.va(), region.bytes()).unwrap();
        }
        assert_eq!(space.charged_pages(), 1);
        mem.pages.free(page).unwrap();
    });
}

#[test]
fn a_mapping_over_several_tables_is_undone_whole() {
    // 1,100 pages of 4 KiB cross at least two boundaries of 2 MiB.
    let machine = TestMachine::new(12, 4);
    let mut pages = machine.page_allocator();
    let before = account(&pages);
    let mem = &mut Mem::new(&mut pages, &machine);
    let mut space = AddressSpace::new(mem, ASID, OWNER, Quota::alone(100), 77).unwrap();
    let count = if cfg!(miri) { 520 } else { 1_100 };
    let frame = PhysAddr(NORMAL_BASE.0);
    let map = |space: &mut AddressSpace, mem: &mut Mem<'_, TestMachine>, yields: u32| {
        let frames = (0..yields).map(|_| frame);
        space.map_normal(mem, frames, count, 0, Prot::READ, anywhere())
    };
    let quiet = state(&space, mem);
    assert_eq!(map(&mut space, mem, count - 1), Err(SpaceError::BadMemory));
    assert_eq!(state(&space, mem), quiet);
    let va = map(&mut space, mem, count).unwrap();
    assert_eq!(space.regions()[0].resident_bytes(), u64::from(count) * PAGE);
    assert_eq!(space.unmap(mem, va, u64::from(count) * PAGE), Ok(()));
    assert_eq!(machine.take_flushes().last(), Some(&Flush::Asid(ASID)));
    assert_eq!(state(&space, mem), quiet);
    space.destroy(mem);
    assert_eq!(account(&pages), before);
}

#[test]
fn borrowed_pages_are_shown_and_not_freed() {
    with_space(|space, mem| {
        let page = mem
            .pages
            .alloc(PageUse::LdelfImage, OwnerId::KERNEL)
            .unwrap();
        mem.machine.write_secure(page.addr(), b"code");
        let prot = Prot::READ_EXECUTE;
        let kind = RegionKind::LdelfCode;
        let va = space
            .map_borrowed(mem, kind, [page], 1, prot, anywhere())
            .unwrap();

        let mut bytes = [0; 4];
        mem.machine
            .user_load(space.root(), va.0, &mut bytes)
            .unwrap();
        assert_eq!(&bytes, b"code");
        assert!(
            mem.machine
                .user_translate(space.root(), va.0, Access::Execute)
                .is_ok()
        );
        assert!(mem.machine.user_store(space.root(), va.0, b"x").is_err());
        assert_eq!(mem.pages.owned_by(OwnerId::KERNEL), 1);
        assert_eq!(space.first_page(mem.machine, &space.regions()[0]), {
            Some(Target::Secure(page.addr()))
        });

        space.unmap(mem, va, PAGE).unwrap();
        assert_eq!(mem.pages.free(page), Ok(()));
    });
}

#[test]
fn memory_that_nobody_has_cannot_be_borrowed() {
    with_space(|space, mem| {
        let before = state(space, mem);
        let free = PhysPage::containing(SECURE_BASE).offset(99);
        let outside = PhysPage::containing(NORMAL_BASE);
        for page in [free, outside] {
            let kind = RegionKind::Image;
            let refused = space.map_borrowed(mem, kind, [page], 1, Prot::READ, anywhere());
            assert_eq!(refused, Err(SpaceError::BadMemory));
        }
        assert_eq!(state(space, mem), before);
    });
}

#[test]
fn memory_that_is_not_the_normal_worlds_is_not_mapped_as_such() {
    with_space(|space, mem| {
        let before = state(space, mem);
        for (pa, prot, offset, error) in [
            (SECURE_BASE.0, Prot::READ, 0, SpaceError::BadMemory),
            (
                NORMAL_BASE.0 + 32 * PAGE,
                Prot::READ,
                0,
                SpaceError::BadMemory,
            ),
            (NORMAL_BASE.0 + 8, Prot::READ, 0, SpaceError::BadMemory),
            (!0xfff, Prot::READ, 0, SpaceError::BadMemory),
            (NORMAL_BASE.0, Prot::READ_EXECUTE, 0, SpaceError::Protection),
            (NORMAL_BASE.0, Prot::READ, 4096, SpaceError::BadRange),
        ] {
            let frames = [NORMAL_BASE, PhysAddr(pa)];
            let refused = space.map_normal(mem, frames, 2, offset, prot, anywhere());
            assert_eq!(refused, Err(error), "{pa:#x}");
        }
        assert_eq!(state(space, mem), before);
    });
}

#[test]
fn scattered_pages_of_the_normal_world_appear_in_a_row() {
    with_space(|space, mem| {
        let frames = [5, 2, 7].map(|page| PhysAddr(NORMAL_BASE.0 + page * PAGE));
        let va = space
            .map_normal(mem, frames, 3, 0x10, Prot::READ_WRITE, anywhere())
            .unwrap();
        assert_eq!(va.page_offset(), 0x10);
        let len = 2 * PAGE;
        mem.machine
            .user_store(space.root(), va.0 + len, b"here")
            .unwrap();
        let pa = PhysAddr(NORMAL_BASE.0 + 7 * PAGE + 0x10);
        assert_eq!(
            space.translate(mem, plus(va, len), Access::Read),
            Ok(Target::Normal(pa))
        );
        let mut bytes = [0; 4];
        assert!(crate::machine::NormalMemory::read_normal(
            mem.machine,
            pa,
            &mut bytes
        ));
        assert_eq!(&bytes, b"here");
        assert!(!space.is_private(va, 1));
        assert_eq!(space.charged_pages(), space.figures().table_pages);
    });
}

#[test]
fn unmapping_frees_flushes_and_takes_promises_back() {
    with_space(|space, mem| {
        let quiet = state(space, mem);
        let va = zeroed(space, mem, RegionKind::Segment, 4);
        space.fault(mem, va, Access::Read).unwrap();
        mem.machine.user_load(space.root(), va.0, &mut [0]).unwrap();
        mem.machine.take_flushes();
        space.unmap(mem, va, 4 * PAGE).unwrap();
        let flushes: Vec<_> = (0..4)
            .map(|page| Flush::Page(ASID, va.0 + page * PAGE))
            .collect();
        assert_eq!(mem.machine.take_flushes(), flushes);
        assert_eq!(state(space, mem), quiet);
        assert!(mem.machine.user_load(space.root(), va.0, &mut [0]).is_err());
        assert_eq!(
            space.fault(mem, va, Access::Read),
            Err(FaultError::NotMapped)
        );
    });
}

#[test]
fn a_part_unmapped_from_the_middle_leaves_both_ends() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Segment, 5);
        for page in [0, 2, 4] {
            space
                .fault(mem, plus(va, page * PAGE), Access::Read)
                .unwrap();
        }
        space.unmap(mem, plus(va, 2 * PAGE), PAGE).unwrap();
        let shape: Vec<_> = space
            .regions()
            .iter()
            .map(|region| {
                (
                    region.va().0 - va.0,
                    region.bytes(),
                    region.resident_bytes(),
                )
            })
            .collect();
        assert_eq!(shape, [(0, 2 * PAGE, PAGE), (3 * PAGE, 2 * PAGE, PAGE)]);
        assert_eq!(space.unmap(mem, va, 5 * PAGE), Err(SpaceError::NotMapped));
        assert_eq!(
            space.unmap(mem, plus(va, 2 * PAGE), PAGE),
            Err(SpaceError::NotMapped)
        );
    });
}

#[test]
fn code_becomes_executable_once_and_never_writable_again() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Segment, 3);
        space.write_user(mem, plus(va, PAGE), b"code").unwrap();
        mem.machine
            .user_load(space.root(), va.0 + PAGE, &mut [0])
            .unwrap();
        let both = Prot::READ_WRITE.union(Prot::EXECUTE);
        let mut protect =
            |mem: &mut Mem<'_, TestMachine>, prot| protect(space, mem, plus(va, PAGE), PAGE, prot);
        assert_eq!(protect(mem, both), Err(SpaceError::Protection));
        assert_eq!(protect(mem, Prot::READ_EXECUTE), Ok(()));
        assert_eq!(mem.machine.take_synced().len(), 1);
        for prot in [Prot::READ_WRITE, Prot::READ, both] {
            assert_eq!(protect(mem, prot), Err(SpaceError::Protection));
        }
        assert_eq!(protect(mem, Prot::EXECUTE), Ok(()), "as it is");

        assert!(
            mem.machine
                .user_translate(space.root(), va.0 + PAGE, Access::Execute)
                .is_ok()
        );
        assert!(
            mem.machine
                .user_store(space.root(), va.0 + PAGE, b"x")
                .is_err()
        );
        assert_eq!(space.regions().len(), 3);
        assert_eq!(
            space.fault(mem, va, Access::Execute),
            Err(FaultError::Denied)
        );
        assert_eq!(
            space.fault(mem, plus(va, PAGE), Access::Write),
            Err(FaultError::Denied)
        );
    });
}

#[test]
fn only_segments_change_their_protection() {
    with_space(|space, mem| {
        let page = mem.pages.alloc(PageUse::TaImage, OWNER).unwrap();
        let kind = RegionKind::Segment;
        let image = space
            .map_borrowed(mem, kind, [page], 1, Prot::READ, anywhere())
            .unwrap();
        let stack = zeroed(space, mem, RegionKind::Stack, 1);
        let frames = normal_pages(0, 1);
        let param = space
            .map_normal(mem, frames, 1, 0, Prot::READ, anywhere())
            .unwrap();
        for (va, prot) in [
            (image, Prot::READ_WRITE),
            (stack, Prot::READ_EXECUTE),
            (param, Prot::READ_WRITE),
        ] {
            assert_eq!(
                protect(space, mem, va, PAGE, prot),
                Err(SpaceError::Protection)
            );
        }
        space.unmap(mem, image, PAGE).unwrap();
        mem.pages.free(page).unwrap();
    });
}

#[test]
fn rights_taken_away_are_flushed_and_given_ones_reach_pages_touched_later() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Segment, 2);
        space.fault(mem, va, Access::Write).unwrap();
        mem.machine.user_store(space.root(), va.0, b"x").unwrap();
        mem.machine.take_flushes();
        protect(space, mem, va, 2 * PAGE, Prot::READ).unwrap();
        assert_eq!(mem.machine.take_flushes().len(), 2);
        assert!(
            !mem.machine
                .user_store(space.root(), va.0, b"x")
                .unwrap_err()
                .translation
        );
        space.fault(mem, plus(va, PAGE), Access::Read).unwrap();
        assert!(
            mem.machine
                .user_store(space.root(), va.0 + PAGE, b"x")
                .is_err()
        );
    });
}

#[test]
fn a_heap_grows_to_its_maximum_and_faults_beyond_what_was_committed() {
    with_space(|space, mem| {
        assert_eq!(space.heap_grow(mem, 1), Err(SpaceError::Heap));
        let va = space.heap_reserve(mem, 3 * PAGE, 11).unwrap();
        assert_eq!(space.heap_reserve(mem, PAGE, 11), Err(SpaceError::Heap));
        assert_eq!(
            space.fault(mem, va, Access::Write),
            Err(FaultError::NotMapped)
        );
        assert_eq!(space.heap_grow(mem, PAGE + 1), Ok(2 * PAGE));
        assert_eq!(space.fault(mem, plus(va, PAGE), Access::Write), Ok(()));
        let beyond = space.fault(mem, plus(va, 2 * PAGE), Access::Write);
        assert_eq!(beyond, Err(FaultError::NotMapped));
        assert_eq!(space.heap_grow(mem, 2 * PAGE), Err(SpaceError::Heap));
        assert_eq!(space.heap_grow(mem, PAGE), Ok(3 * PAGE));
        let heap = space.heap().unwrap();
        assert_eq!(
            (heap.va, heap.committed, heap.max),
            (va, 3 * PAGE, 3 * PAGE)
        );
        assert_eq!(space.unmap(mem, va, PAGE), Err(SpaceError::NotMapped));
    });
}

#[test]
fn pages_out_of_promises_never_fail_to_come() {
    let machine = TestMachine::new(10, 0);
    let mut pages = machine.page_allocator();
    let before = account(&pages);
    let mem = &mut Mem::new(&mut pages, &machine);
    let mut space = AddressSpace::new(mem, ASID, OWNER, Quota::alone(100), 5).unwrap();
    let va = zeroed(&mut space, mem, RegionKind::Stack, 4);
    let mut others = Vec::new();
    while let Ok(page) = mem.pages.alloc(PageUse::Snapshot, OwnerId(1)) {
        others.push(page);
    }
    for page in 0..4 {
        assert_eq!(
            space.fault(mem, plus(va, page * PAGE), Access::Write),
            Ok(())
        );
    }
    assert_eq!(
        mem.pages.alloc(PageUse::Snapshot, OwnerId(1)),
        Err(PageError::OutOfPages)
    );
    space.destroy(mem);
    others
        .iter()
        .for_each(|page| mem.pages.free(*page).unwrap());
    assert_eq!(account(&pages), before);
}

#[test]
fn errors_have_the_codes_that_callers_expect() {
    assert_eq!(
        TeeResult::from(SpaceError::QuotaExceeded),
        TeeResult::OUT_OF_MEMORY
    );
    assert_eq!(TeeResult::from(SpaceError::Protection), TeeResult::SECURITY);
    assert_eq!(
        TeeResult::from(SpaceError::NotMapped),
        TeeResult::BAD_PARAMETERS
    );
    assert_eq!(
        TeeResult::from(FaultError::Denied),
        TeeResult::ACCESS_DENIED
    );
}
