//! Lists by any cursor, in any room, while what they tell of comes and goes.

use super::*;
use tally_abi::pta::audit;
use tally_records::{
    BlockRow, ChunkRow, ClassRow, CommandRow, EndedRow, RegionRow, SiteRow, SuspectRow,
};

/// Room for any list of these tests.
const AMPLE: u64 = 60_000;

/// All rows, in parts of `room` rows. Where those of one step do not fit, the size that is told does.
fn in_parts<T: Record>(world: &World, session: u32, of: &Selector, room: u64) -> Vec<T> {
    let (mut rows, mut cursor) = (Vec::new(), 0);
    let mut bytes = room * size_of::<T>() as u64;
    loop {
        match part_of::<T>(world, session, of, cursor, bytes) {
            (TeeResult::SUCCESS, _, next, len) => {
                rows.extend(records::<T>(world, len));
                cursor = next;
                if cursor == 0 {
                    return rows;
                }
            }
            (result, _, _, needed) => {
                assert_eq!(result, TeeResult::SHORT_BUFFER);
                assert!(needed > bytes, "{needed} bytes do, and there are {bytes}");
                bytes = needed;
            }
        }
    }
}

/// The list is the same in whatever room.
fn is_whole_in_any_room<T: Record + PartialEq + std::fmt::Debug>(world: &World, session: u32) {
    for of in [Selector::ta(TA), Selector::TAS, Selector::ALL] {
        let whole: Vec<T> = in_parts(world, session, &of, AMPLE / size_of::<T>() as u64);
        assert!(!whole.is_empty());
        for room in [1, 2, 3, 4, 7, 16, 19, 24, 40] {
            let parts: Vec<T> = in_parts(world, session, &of, room);
            // What a question itself takes of the kernel's heap is never twice the same.
            if of == Selector::ALL {
                assert_eq!(parts.len(), whole.len(), "{} {room}", T::SECTION);
            } else {
                assert_eq!(parts, whole, "{} {room}", T::SECTION);
            }
        }
    }
}

#[test]
fn a_list_is_whole_in_whatever_room() {
    // Bug: of the rows of size classes those that had no room left were dropped, and the list ended well.
    with(inspect::UUID, |world, session| {
        let blocks = [16, 32, 64, 100, 200, 400, 1000];
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &blocks);
        let tas = [(); 2].map(|()| ta_with_pool(world, image.clone(), &[]));
        is_whole_in_any_room::<ClassRow>(world, session);
        is_whole_in_any_room::<BlockRow>(world, session);
        is_whole_in_any_room::<ChunkRow>(world, session);
        is_whole_in_any_room::<SiteRow>(world, session);
        for ta in tas {
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn one_row_comes_where_one_fits() {
    with(inspect::UUID, |world, session| {
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100; 3]);
        let ta = ta_with_pool(world, image, &[]);
        let size = size_of::<BlockRow>() as u64;
        let (result, _, next, len) =
            part_of::<BlockRow>(world, session, &Selector::ta(TA), 0, size);
        assert_eq!((result, len), (TeeResult::SUCCESS, size));
        assert_ne!(next, 0);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn any_cursor_is_answered() {
    // Bug: for regions, a cursor below the first TA's slot made a number wrap.
    with(inspect::UUID, |world, session| {
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[16, 400]);
        let ta = ta_with_pool(world, image, &[]);
        let sections = (0..40).chain([u32::MAX]);
        for section in sections {
            for cursor in [
                1,
                4095,
                1 << 31,
                1 << 32,
                (1 << 48) - 1,
                1 << 48,
                1 << 48 | 4096,
                2 << 48,
                1 << 56,
                2 << 56 | 1 << 32,
                0xffff << 48,
                1 << 63,
                u64::MAX,
            ] {
                for of in [
                    Selector::ALL,
                    Selector::KERNEL,
                    Selector::TAS,
                    Selector::ta(TA),
                ] {
                    goes_on(world, session, section, &of, cursor);
                }
            }
        }
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

/// A list of any section ends, or fails, from this cursor on.
fn goes_on(world: &World, session: u32, section: u32, of: &Selector, mut cursor: u64) {
    for _ in 0..100 {
        let params = [
            value(attr::VALUE_INOUT, section.into(), 0),
            selector(world, of),
            value(attr::VALUE_INOUT, cursor & 0xffff_ffff, cursor >> 32),
            out(4096),
        ];
        let reply = world.invoke(session, inspect::CMD_LIST, &params);
        let next = reply.params[2].b << 32 | reply.params[2].a;
        if reply.result != TeeResult::SUCCESS || next == 0 {
            return;
        }
        assert_ne!(next, cursor, "section {section} stays where it is");
        cursor = next;
    }
    panic!("section {section} has no end from {cursor:#x} on");
}

#[test]
fn an_instance_in_the_place_of_another_is_listed_from_its_start() {
    // Bug: the cursor was one of the earlier one's heap.
    with(inspect::UUID, |world, session| {
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100; 30]);
        let ta = ta_with_pool(world, image, &[]);
        let room = 10 * size_of::<BlockRow>() as u64;
        let (result, _, next, _) = part_of::<BlockRow>(world, session, &Selector::TAS, 0, room);
        assert_eq!(result, TeeResult::SUCCESS);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[10; 20]);
        let ta = ta_with_pool(world, image, &[]);
        let (_, _, end, len) = part_of::<BlockRow>(world, session, &Selector::TAS, next, AMPLE);
        assert_eq!((end, len), (0, 20 * size_of::<BlockRow>() as u64));
        // The list of one TA's heap is of that heap alone.
        let (_, _, next, _) = part_of::<BlockRow>(world, session, &Selector::ta(TA), 0, room);
        assert_ne!(next, 0);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[10; 20]);
        let ta = ta_with_pool(world, image, &[]);
        let (_, _, end, len) = part_of::<BlockRow>(world, session, &Selector::ta(TA), next, AMPLE);
        assert_eq!((end, len), (0, 0));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn commands_are_those_of_who_is_meant_and_none_is_passed_over() {
    // Bug: they went by their place, which changes when a TA's are forgotten; and only one selector was heeded.
    const OTHER: TeeUuid = TeeUuid::from_u128(0x99);
    with(inspect::UUID, |world, session| {
        world.install(OTHER, 0, 100);
        let tas = [TA, OTHER].map(|uuid| {
            let ta = world.opened(uuid);
            for command in 1..4 {
                let reply = world.invoke(ta, command, &[]);
                assert_eq!(reply.result, TeeResult::SUCCESS);
            }
            ta
        });
        let listed = |of: Selector| -> Vec<CommandRow> {
            in_parts(world, session, &of, AMPLE / size_of::<CommandRow>() as u64)
        };
        let all = listed(Selector::ALL);
        assert_eq!(listed(Selector::TAS), all);
        assert!(listed(Selector::KERNEL).is_empty());
        assert!(listed(Selector::ta(TeeUuid::from_u128(5))).is_empty());
        let others = listed(Selector::ta(OTHER));
        assert!(others.len() >= 3 && others.len() < all.len());
        assert!(others.iter().all(|row| row.uuid == OTHER));
        assert_eq!(listed(Selector::instance(OTHER, 1)), others);

        // Those that were told are forgotten; the rest is told.
        let told = all.len() - others.len();
        let room = (told * size_of::<CommandRow>()) as u64;
        let (_, _, next, len) = part_of::<CommandRow>(world, session, &Selector::ALL, 0, room);
        assert_eq!(records::<CommandRow>(world, len), all[..told]);
        let control = world.opened(audit::UUID);
        world.write(SELECTOR_AT, &TA.to_bytes());
        let forget = [
            memref(attr::TMEM_INPUT, SELECTOR_AT.0, 16, 0),
            value(attr::VALUE_INPUT, audit::ledger::CLEAR.into(), 0),
        ];
        let reply = world.invoke(control, audit::CMD_LEDGER, &forget);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        assert_eq!(world.close(control), TeeResult::SUCCESS);
        let (_, _, end, len) = part_of::<CommandRow>(world, session, &Selector::ALL, next, AMPLE);
        assert_eq!(end, 0);
        assert_eq!(records::<CommandRow>(world, len), others);
        for ta in tas {
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn a_mark_that_nobody_set_is_refused_whoever_is_meant() {
    with(inspect::UUID, |world, session| {
        for of in [Selector::ALL, Selector::TAS, Selector::KERNEL] {
            let of = of.since(500);
            let (result, ..) = part_of::<EndedRow>(world, session, &of, 0, AMPLE);
            assert_eq!(result, TeeResult::BAD_PARAMETERS);
            let (result, ..) = part_of::<LeakRecord>(world, session, &of, 0, AMPLE);
            assert_eq!(result, TeeResult::BAD_PARAMETERS);
        }
        let (result, ..) = part_of::<SuspectRow>(world, session, &Selector::ALL, 0, AMPLE);
        assert_eq!(result, TeeResult::SUCCESS);
        let (result, ..) = part_of::<RegionRow>(world, session, &Selector::ALL, 0, AMPLE);
        assert_eq!(result, TeeResult::SUCCESS);
    });
}
