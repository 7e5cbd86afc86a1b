//! Lists of several TAs: each row is of who was meant, and none is left out.
//!
//! **Invariant:** every test compares the accounts before and after.

use super::*;
use tally_abi::pta::{MAX_FRAMES, vdec};
use tally_account::leaks::marks::{Ended, MAX_ENDED};
use tally_account::past::commands::MAX_ROWS;
use tally_account::past::unfreed_sites;
use tally_account::past::wrong_orders::{Event as Order, MAX_EVENTS, StackId};
use tally_core::guest_id::GuestId;
use tally_core::testing::world::Event;
use tally_mem::machine::Trap;
use tally_records::{
    BlockRow, ChunkRow, ClassRow, CommandRow, EndedRow, EventRow, HeldRow, RegionRow, SessionRow,
    SiteRow, SuspectRow, TaDetail, UnfreedRow, Who, event, held, pool_kind,
};

const OTHER: TeeUuid = TeeUuid::from_u128(0x78);

/// Runs `test` with a session to the TA and one to another.
fn with_two(test: impl FnOnce(&Arc<World>, [u32; 2])) {
    with(inspect::UUID, |world, _| {
        world.install(OTHER, 0, 100);
        let sessions = [TA, OTHER].map(|uuid| world.opened(uuid));
        test(world, sessions);
        for session in sessions {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

/// A list of everything is the lists of these selectors one after the other; it has rows of each.
fn is_made_of<T: Record>(world: &World, all: &Selector, parts: &[Selector]) {
    let mut rows = Vec::new();
    for part in parts {
        let of_part: Vec<T> = listed(world, part).unwrap();
        assert!(!of_part.is_empty(), "{part:?}");
        rows.extend(of_part);
    }
    let all: Vec<T> = listed(world, all).unwrap();
    assert_eq!(all.as_bytes(), rows.as_bytes());
}

#[test]
fn commands_and_sessions_are_those_of_the_ta_that_is_named() {
    with_two(|world, sessions| {
        for (session, command) in sessions.into_iter().zip([5, 6]) {
            let reply = world.invoke(session, command, &[]);
            assert_eq!(reply.result, TeeResult::SUCCESS);
        }
        for (uuid, session, command) in [(TA, sessions[0], 5), (OTHER, sessions[1], 6)] {
            let of = Selector::ta(uuid);
            let commands: Vec<CommandRow> = listed(world, &of).unwrap();
            assert!(commands.iter().all(|row| row.uuid == uuid));
            assert_eq!(commands.last().map(|row| row.command), Some(command));
            let sessions: Vec<SessionRow> = listed(world, &of).unwrap();
            let told: Vec<_> = sessions.iter().map(|row| (row.uuid, row.session)).collect();
            assert_eq!(told, [(uuid, session)]);
        }
        assert_eq!(
            listed::<SessionRow>(world, &Selector::TAS).unwrap().len(),
            2
        );
    });
}

#[test]
fn regions_of_all_tas_are_those_of_each() {
    with_two(|world, _| {
        // Where a TA lies is random: of several, some lie below the one before.
        let more = [(); 6].map(|()| world.opened(TA));
        let tas: Vec<TaDetail> = rows(world);
        let each: Vec<Selector> = tas
            .iter()
            .map(|ta| Selector::instance(ta.uuid, ta.instance))
            .collect();
        is_made_of::<RegionRow>(world, &Selector::TAS, &each);
        for session in more {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
        let [kernel, tas] = [Selector::KERNEL, Selector::TAS];
        is_made_of::<RegionRow>(world, &Selector::ALL, &[kernel, tas]);
    });
}

#[test]
fn regions_of_the_next_ta_come_whole_when_the_one_before_goes() {
    with(inspect::UUID, |world, session| {
        world.install(OTHER, 0, 100);
        // Where a TA lies is random: of several, some lie below the one before.
        for _ in 0..8 {
            let [first, second] = [TA, OTHER].map(|uuid| world.opened(uuid));
            let one_less = listed::<RegionRow>(world, &Selector::ta(TA)).unwrap().len() - 1;
            let room = (one_less * size_of::<RegionRow>()) as u64;
            let (result, _, cursor, len) =
                part_of::<RegionRow>(world, session, &Selector::TAS, 0, room);
            assert_eq!((result, len), (TeeResult::SUCCESS, room));
            assert_eq!(world.close(first), TeeResult::SUCCESS);
            let expected: Vec<RegionRow> = listed(world, &Selector::ta(OTHER)).unwrap();
            let (result, _, _, len) =
                part_of::<RegionRow>(world, session, &Selector::TAS, cursor, 8192);
            assert_eq!(result, TeeResult::SUCCESS);
            let rest: Vec<RegionRow> = records(world, len);
            assert_eq!(rest.as_bytes(), expected.as_bytes());
            assert_eq!(world.close(second), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn a_heap_that_makes_no_sense_or_is_dead_ends_no_list_of_those_behind_it() {
    with(inspect::UUID, |world, _| {
        let dead = ta_with_heap(world, &[0]);
        let damaged = ta_with_heap(world, &[0xa5; 4096]);
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100, 3000]);
        let sound = ta_with_pool(world, image, &[]);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(dead, 0, &[]).result, TeeResult::TARGET_DEAD);
        let tas: Vec<TaDetail> = listed(world, &Selector::TAS).unwrap();
        let each = [Selector::instance(TA, tas[2].instance)];
        is_made_of::<SiteRow>(world, &Selector::TAS, &each);
        is_made_of::<BlockRow>(world, &Selector::TAS, &each);
        is_made_of::<ChunkRow>(world, &Selector::TAS, &each);
        is_made_of::<ClassRow>(world, &Selector::TAS, &each);
        is_made_of::<LeakRecord>(world, &Selector::TAS, &each);
        for session in [dead, damaged, sound] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn a_list_of_all_is_empty_where_nobody_is_or_lives() {
    with(inspect::UUID, |world, _| {
        let memory = |of| {
            [
                listed::<RegionRow>(world, of).map(|rows| rows.len()),
                listed::<LeakRecord>(world, of).map(|rows| rows.len()),
                listed::<SuspectRow>(world, of).map(|rows| rows.len()),
            ]
        };
        let loaded = || {
            [
                listed::<TaDetail>(world, &Selector::TAS).map(|rows| rows.len()),
                listed::<SessionRow>(world, &Selector::TAS).map(|rows| rows.len()),
            ]
        };
        assert_eq!(memory(&Selector::TAS), [Ok(0); 3]);
        assert_eq!(loaded(), [Ok(0); 2]);
        let of_kernel = memory(&Selector::ALL);
        let ta = ta_with_heap(world, &[0]);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(loaded(), [Ok(1); 2]);
        assert_eq!(memory(&Selector::TAS), [Ok(0); 3]);
        assert_eq!(memory(&Selector::ALL), of_kernel);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_selector_of_another_length_is_refused() {
    with(inspect::UUID, |world, session| {
        let whole = selector(world, &Selector::ALL);
        for (len, expected) in [
            (31, TeeResult::BAD_PARAMETERS),
            (32, TeeResult::SUCCESS),
            (33, TeeResult::BAD_PARAMETERS),
            (64, TeeResult::BAD_PARAMETERS),
        ] {
            let params = [
                value(attr::VALUE_INOUT, MeminfoRow::SECTION.into(), 0),
                MsgParam { b: len, ..whole },
                value(attr::VALUE_INOUT, 0, 0),
                out(4096),
            ];
            let reply = world.invoke(session, inspect::CMD_LIST, &params);
            assert_eq!(reply.result, expected, "{len}");
        }
    });
}

#[test]
fn pools_tell_instances_apart_and_what_is_promised() {
    with(inspect::UUID, |world, _| {
        let sessions = [world.opened(TA), world.opened(TA)];
        let promised = u64::from(world.kernel.state().pages.promised_pages()) * 4096;
        let pools: Vec<PoolRow> = rows(world);
        assert_eq!(pools[1].kind, pool_kind::TA_MEMORY);
        assert!(promised > 0);
        assert_eq!(pools[1].pool.promised, promised);
        let tas: Vec<TaDetail> = rows(world);
        assert_ne!(tas[0].instance, tas[1].instance);
        let told = pools[2..].iter().map(|row| row.instance());
        assert!(told.eq(tas.iter().map(|ta| Some(ta.instance))));
        for session in sessions {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn memory_that_two_tas_and_the_normal_world_share_is_a_third_each_ones() {
    with_two(|world, [ta, other]| {
        let buffer = memref(attr::TMEM_INPUT, CLIENT.0 + 20 * 4096, 100, 0);
        world.ta(|_| Trap::ForeignInterrupt);
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, move |world| {
            let reply = world.invoke(other, 1, &[buffer]);
            assert_eq!(reply.result, TeeResult::SUCCESS);
        });
        world.on(Event::Interrupt, |world| {
            let tas: Vec<TaDetail> = rows(world);
            let parts: Vec<_> = tas.iter().map(|ta| (ta.shared, ta.pss - ta.uss)).collect();
            assert_eq!(parts, [(4096, 4096 / 3); 2]);
        });
        let reply = world.invoke(ta, 1, &[buffer]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
    });
}

#[test]
fn a_session_in_the_first_place_is_held_like_any_other() {
    let world = world(crate::ALL, Shown::default());
    world.install(TA, 0, 100);
    let before = world.accounts();
    let first = world.opened(stats::UUID);
    let ta = world.opened(TA);
    assert_eq!(world.close(first), TeeResult::SUCCESS);
    world.ta(|run| {
        let (uuid, out) = (run.stack(0), run.stack(16));
        run.store(uuid, vdec::UUID.as_bytes());
        run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
    });
    assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
    let in_first_place = {
        let state = world.kernel.state();
        let mut sessions = state.guest(GuestId::FIRST).sessions.iter();
        let (slot, session) = sessions.next().unwrap();
        assert_eq!(slot, 0);
        session.id
    };
    let rows: Vec<HeldRow> = rows(&world);
    let told: Vec<_> = rows.iter().map(|row| (row.kind, row.handle)).collect();
    assert_eq!(told, [(held::SESSION, in_first_place)]);
    assert_eq!((rows[0].who.ta, rows[0].target), (TA, vdec::UUID));
    assert_eq!(world.close(ta), TeeResult::SUCCESS);
    assert_eq!(world.accounts(), before);
}

#[test]
fn full_tables_tell_what_they_dropped() {
    with(inspect::UUID, |world, session| {
        fn dropped<T: Record>(world: &World, session: u32) -> u64 {
            let (result, dropped, ..) = part_of::<T>(world, session, &Selector::ALL, 0, 8192);
            assert_eq!(result, TeeResult::SUCCESS);
            dropped
        }
        let all = |world: &World| {
            [
                dropped::<UnfreedRow>(world, session),
                dropped::<EventRow>(world, session),
                dropped::<EndedRow>(world, session),
                dropped::<CommandRow>(world, session),
            ]
        };
        assert_eq!(all(world), [0; 4]);
        let ta = world.opened(TA);
        // The session's beginning is one command.
        for command in 0..MAX_ROWS + 4 - 1 {
            let reply = world.invoke(ta, command as u32, &[]);
            assert_eq!(reply.result, TeeResult::SUCCESS);
        }
        {
            let mut state = world.kernel.state();
            let book = &mut state.guest_mut(GuestId::FIRST).book;
            for n in 0..unfreed_sites::ROWS as u64 + 1 {
                let mut frames = [0; MAX_FRAMES];
                frames[0] = n + 1;
                book.unfreed.note(&UnfreedRow {
                    frames,
                    ..UnfreedRow::default()
                });
            }
            for n in 0..MAX_EVENTS as u32 + 2 {
                let order = Order {
                    kind: event::END_BEFORE_CLOSE,
                    channel: n,
                    mappings: 0,
                    bytes: 0,
                    cause: 0,
                    who: Who {
                        session: n,
                        ..Who::default()
                    },
                    stack: StackId::NONE,
                    earlier: StackId::NONE,
                };
                book.orders.note(order, 0);
            }
            for _ in 0..MAX_ENDED + 3 {
                book.marks.ended.note(Ended::default());
            }
        }
        assert_eq!(all(world), [1, 2, 3, 4]);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}
