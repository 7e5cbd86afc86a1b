//! The kernel's reads and writes of a TA's memory.

use super::{OWNER, PAGE, anywhere, normal_pages, plus, state, with_space, zeroed};
use crate::access::FaultError;
use crate::addr::{PAGE_SIZE, PhysAddr, UserVa};
use crate::machine::{Access, SecureMemory};
use crate::pages::PageUse;
use crate::region::{Place, Prot, RegionKind, WINDOW_END};
use crate::space::Target;
use crate::stack_pattern;
use crate::testing::NORMAL_BASE;

#[test]
fn what_is_written_across_pages_is_read_back_by_the_ta_and_by_us() {
    with_space(|space, mem| {
        let va = plus(zeroed(space, mem, RegionKind::Stack, 3), PAGE - 3);
        let data: Vec<u8> = (0..PAGE as usize + 9).map(|byte| byte as u8).collect();
        space.write_user(mem, va, &data).unwrap();
        let mut ours = vec![0; data.len()];
        space.read_user(mem.machine, va, &mut ours).unwrap();
        assert_eq!(ours, data);
        let mut theirs = vec![0; 16];
        mem.machine
            .user_load(space.root(), va.0, &mut theirs)
            .unwrap();
        assert_eq!(theirs, data[..16]);
        assert_eq!(space.figures().own_pages, 3);
    });
}

#[test]
fn a_write_that_does_not_fit_writes_nothing() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Stack, 2);
        let before = state(space, mem);
        let refused = space.write_user(mem, plus(va, PAGE), &[1; PAGE as usize + 1]);
        assert_eq!(refused, Err(FaultError::NotMapped));
        assert_eq!(state(space, mem), before);
    });
}

#[test]
fn reading_populates_nothing() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Heap, 3);
        space.write_user(mem, plus(va, PAGE + 4), &[9]).unwrap();
        let before = state(space, mem);
        let mut bytes = vec![0xff; 3 * PAGE as usize];
        assert!(space.peek(mem.machine, va, &mut bytes));
        assert_eq!(bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>(), 9);
        assert!(!space.peek(mem.machine, plus(va, 1), &mut bytes));
        assert_eq!(state(space, mem), before);
        assert_eq!(mem.pages.owned_by(OWNER), 1 + space.figures().table_pages);
    });
}

#[test]
fn a_poke_reaches_populated_pages_of_the_tas_own_only() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Heap, 2);
        assert!(!space.poke(mem.machine, va, &[7, 0]));
        space.fault(mem, va, Access::Read).unwrap();
        assert!(space.poke(mem.machine, plus(va, 8), &0x1234_u16.to_le_bytes()));
        assert!(!space.poke(mem.machine, plus(va, PAGE - 1), &[7, 0]));
        assert!(space.poke(mem.machine, plus(va, PAGE - 2), &[7, 0]));
        let mut bytes = [0; 2];
        assert!(space.peek(mem.machine, plus(va, 8), &mut bytes));
        assert_eq!(u16::from_le_bytes(bytes), 0x1234);

        let frames = normal_pages(0, 1);
        let param = space
            .map_normal(mem, frames, 1, 0, Prot::READ_WRITE, anywhere())
            .unwrap();
        assert!(!space.poke(mem.machine, param, &[7, 0]));
        assert!(!space.poke(mem.machine, UserVa(0), &[7, 0]));
    });
}

#[test]
fn access_is_checked_over_the_whole_range() {
    with_space(|space, mem| {
        let padded = Place::Anywhere {
            random: 3,
            pad_before: 0,
            pad_after: 2 * PAGE,
        };
        let kind = RegionKind::Segment;
        let va = space.map_zero(mem, kind, PAGE, Prot::READ, padded).unwrap();
        let next = Place::At(plus(va, PAGE));
        space
            .map_zero(mem, kind, PAGE, Prot::READ_WRITE, next)
            .unwrap();

        for (from, len, access, expected) in [
            (0, 2 * PAGE, Access::Read, Ok(())),
            (0, 2 * PAGE, Access::Write, Err(FaultError::Denied)),
            (PAGE, PAGE, Access::Write, Ok(())),
            (PAGE, PAGE, Access::Execute, Err(FaultError::Denied)),
            (0, 2 * PAGE + 1, Access::Read, Err(FaultError::NotMapped)),
            (2 * PAGE, 0, Access::Write, Ok(())),
            (2 * PAGE, 1, Access::Read, Err(FaultError::NotMapped)),
            (0, u64::MAX, Access::Read, Err(FaultError::NotMapped)),
            (
                0,
                u64::MAX - va.0 + 1,
                Access::Read,
                Err(FaultError::NotMapped),
            ),
        ] {
            let result = space.check_access(plus(va, from), len, access);
            assert_eq!(result, expected, "{from:#x} {len:#x} {access:?}");
        }
        for wild in [
            0,
            u64::MAX,
            WINDOW_END.0,
            1 << 40,
            va.0 + (1 << 39),
            va.0 | 1 << 63,
        ] {
            let result = space.check_access(UserVa(wild), 1, Access::Read);
            assert_eq!(result, Err(FaultError::NotMapped), "{wild:#x}");
            assert!(space.region_at(UserVa(wild)).is_none());
        }
    });
}

#[test]
fn only_parameters_are_not_private() {
    with_space(|space, mem| {
        let stack = zeroed(space, mem, RegionKind::Stack, 1);
        let frames = normal_pages(1, 2);
        let param = space
            .map_normal(mem, frames, 2, 0, Prot::READ, anywhere())
            .unwrap();
        assert!(space.is_private(stack, PAGE));
        assert!(!space.is_private(param, 1));
        assert!(!space.is_private(UserVa(param.0 - 1), 2));
        assert!(space.is_private(plus(param, 2 * PAGE), 1));
        assert!(!space.is_private(stack, u64::MAX));
    });
}

#[test]
fn words_are_read_of_one_populated_page_of_the_tas_own() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Heap, 2);
        let data: Vec<u8> = (0..PAGE).map(|byte| (byte / 8) as u8).collect();
        space.write_user(mem, va, &data).unwrap();
        let param = space
            .map_normal(mem, normal_pages(0, 1), 1, 0, Prot::READ, anywhere())
            .unwrap();
        for (at, expected) in [
            (va, Some([0; 8])),
            (plus(va, 40), Some([5; 8])),
            (plus(va, PAGE - 16), Some([0xfe; 8])),
            (plus(va, PAGE - 8), None),
            (plus(va, PAGE), None),
            (param, None),
            (UserVa(0), None),
        ] {
            let mut words = [0x77; 2];
            let is_read = space.peek_words(mem.machine, at, &mut words);
            let first = is_read.then(|| words[0].to_ne_bytes());
            assert_eq!(first, expected, "{at:?}");
            assert!(is_read || words == [0x77; 2], "{at:?}");
        }
    });
}

#[test]
fn an_address_is_as_far_into_its_page_in_ram_as_in_the_ta() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Segment, 2);
        assert_eq!(space.resident(mem.machine, va), None);
        let at = space.translate(mem, plus(va, 0x123), Access::Write);
        let Some(Target::Secure(page)) = space.resident(mem.machine, plus(va, PAGE - 1)) else {
            panic!("not there");
        };
        assert_eq!(at, Ok(Target::Secure(PhysAddr(page.0 + 0x123))));
        assert_eq!(space.resident(mem.machine, plus(va, PAGE)), None);
        assert_eq!(
            space.own_page(mem.machine, plus(va, 8)),
            Some(PhysAddr(page.0 + 8))
        );
    });
}

#[test]
fn a_page_of_a_stack_holds_the_pattern_and_others_zeros() {
    with_space(|space, mem| {
        for (kind, is_pattern) in [(RegionKind::Stack, true), (RegionKind::Heap, false)] {
            let va = zeroed(space, mem, kind, 1);
            let Ok(Target::Secure(pa)) = space.translate(mem, va, Access::Read) else {
                panic!("{kind:?}");
            };
            let page = crate::addr::PhysPage::containing(pa);
            let written = stack_pattern::first_written(mem.machine, page);
            assert_eq!(written.is_none(), is_pattern, "{kind:?}");
            let mut bytes = [0xff; PAGE_SIZE];
            mem.machine.read_secure(pa, &mut bytes);
            assert_eq!(bytes != [0; PAGE_SIZE], is_pattern, "{kind:?}");
        }
    });
}

#[test]
fn whatever_the_normal_world_may_change_is_not_secure() {
    with_space(|space, mem| {
        let page = mem.pages.alloc(PageUse::SecureBuffer, OWNER).unwrap();
        let buffer = space
            .map_lent(mem, RegionKind::Buffer, [page], 1, anywhere())
            .unwrap();
        let stack = zeroed(space, mem, RegionKind::Stack, 1);
        let passed_on = zeroed(space, mem, RegionKind::Param, 1);
        let shared = space
            .map_normal(mem, normal_pages(1, 2), 2, 0, Prot::READ, anywhere())
            .unwrap();
        for (va, len, is_secure) in [
            (stack, PAGE, true),
            (passed_on, PAGE, true),
            (buffer, PAGE, true),
            (shared, 1, false),
            (plus(shared, PAGE), PAGE, false),
            (plus(shared, 2 * PAGE - 1), 1, false),
            (plus(shared, 2 * PAGE), 1, true),
            (UserVa(shared.0 - 1), 1, true),
            (UserVa(shared.0 - 1), 2, false),
            (stack, u64::MAX, false),
        ] {
            assert_eq!(space.is_secure(va, len), is_secure, "{va:?} {len:#x}");
        }
        assert!(!space.is_private(buffer, 1));
        assert!(!space.is_private(plus(shared, 2 * PAGE - 1), 1));
        assert!(space.is_private(UserVa(shared.0 - 1), 1));
        space.unmap(mem, buffer, PAGE).unwrap();
        mem.pages.free(page).unwrap();
    });
}

#[test]
fn parameters_are_read_and_written_in_the_normal_world() {
    with_space(|space, mem| {
        let frames = normal_pages(3, 2);
        let va = space
            .map_normal(mem, frames, 2, 0xffe, Prot::READ_WRITE, anywhere())
            .unwrap();
        space.write_user(mem, va, b"text").unwrap();
        let mut bytes = [0; 4];
        let pa = crate::addr::PhysAddr(NORMAL_BASE.0 + 3 * PAGE + 0xffe);
        assert!(crate::machine::NormalMemory::read_normal(
            mem.machine,
            pa,
            &mut bytes
        ));
        assert_eq!(&bytes, b"text");
        bytes.fill(0);
        space.read_user(mem.machine, va, &mut bytes).unwrap();
        assert_eq!(&bytes, b"text");
    });
}
