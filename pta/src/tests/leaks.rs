//! Marks and scans as clients reach them.
//!
//! **Invariant:** every test compares the accounts before and after.

use super::*;
use tally_abi::rpc;
use tally_account::book::Book;
use tally_core::call::thread::Activity;
use tally_core::guest_id::GuestId;
use tally_core::observer::Observer;
use tally_core::ta::task::End;
use tally_core::testing::world::Event;
use tally_ledger::Block;
use tally_mem::machine::Trap;
use tally_records::{EndedRow, MarkRow, ScanRow, SuspectRow, ended};

const OUT: MsgParam = value(attr::VALUE_OUTPUT, 0, 0);

/// Puts `bytes` where the client passes memory in.
fn input(world: &World, bytes: &[u8]) -> MsgParam {
    let place = PhysAddr(CLIENT.0 + 8 * 4096);
    world.write(place, bytes);
    memref(attr::TMEM_INPUT, place.0, bytes.len() as u64, 0)
}

fn mark(world: &World, session: u32, name: &str) -> (TeeResult, u64) {
    let params = [input(world, name.as_bytes()), OUT];
    let reply = world.invoke(session, memleak::CMD_MARK, &params);
    (reply.result, reply.params[1].a)
}

fn scan(world: &World, session: u32, of: Selector) -> (TeeResult, Option<ScanRow>) {
    let params = [selector(world, &of), out(4 * size_of::<ScanRow>() as u64)];
    let reply = world.invoke(session, memleak::CMD_SCAN, &params);
    let rows = match reply.result {
        TeeResult::SUCCESS => records(world, reply.params[1].b),
        _ => Vec::new(),
    };
    (reply.result, rows.first().copied())
}

fn suspects(world: &World) -> Vec<SuspectRow> {
    listed(world, &Selector::ta(TA)).unwrap()
}

#[test]
fn marks_have_names_and_the_table_counts_what_it_drops() {
    with(memleak::UUID, |world, session| {
        for n in 1..=70 {
            assert_eq!(mark(world, session, "cycle"), (TeeResult::SUCCESS, n));
        }
        let marks: Vec<MarkRow> = rows(world);
        assert_eq!(
            (marks.len(), marks[0].number, marks[63].number),
            (64, 7, 70)
        );
        assert!(marks.iter().all(|mark| mark.name.starts_with(b"cycle\0")));
        let inspect = world.opened(inspect::UUID);
        let (result, dropped, ..) = part_of::<MarkRow>(world, inspect, &Selector::ALL, 0, 4096);
        assert_eq!((result, dropped), (TeeResult::SUCCESS, 6));
        assert_eq!(world.close(inspect), TeeResult::SUCCESS);
        for bad in ["sixteen-bytes!!!", "two words", "\u{7f}"] {
            let refused = mark(world, session, bad).0;
            assert_eq!(refused, TeeResult::BAD_PARAMETERS, "{bad}");
        }
        let since = |mark| listed::<LeakRecord>(world, &Selector::ALL.since(mark)).err();
        assert_eq!(since(7), None);
        for unknown in [6, 71, 0x1_0007] {
            assert_eq!(since(unknown), Some(TeeResult::BAD_PARAMETERS));
        }
    });
}

#[test]
fn instances_that_ended_since_a_mark_are_told() {
    with(memleak::UUID, |world, session| {
        let first = world.opened(TA);
        assert_eq!(world.close(first), TeeResult::SUCCESS);
        assert_eq!(mark(world, session, "").1, 1);
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100, 28]);
        let second = ta_with_pool(world, image, &[]);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(second, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(second), TeeResult::SUCCESS);
        let rows: Vec<EndedRow> = listed(world, &Selector::ALL.since(1)).unwrap();
        assert_eq!(rows.len(), 1);
        let row = rows[0];
        assert_eq!((row.uuid, row.how, row.born), (TA, ended::DIED, 1));
        assert_eq!((row.blocks, row.bytes), (2, 128));
    });
}

/// A heap of four blocks, of which the first points into the second.
fn four_blocks() -> (Vec<u8>, Vec<Block>, &'static [usize]) {
    let (mut image, blocks) = tally_ledger::fuzzing::image(HEAP, &[64, 64, 64, 4000]);
    let place = blocks[0].offset + 8;
    let inside = (blocks[1].offset + 40) as u64;
    image[place..place + 8].copy_from_slice(&inside.to_le_bytes());
    (image, blocks, vec![place].leak())
}

#[test]
fn a_scan_follows_pointers_from_the_stack_of_a_call_and_an_idle_stack_is_empty() {
    with(memleak::UUID, |world, session| {
        let (image, blocks, pointers) = four_blocks();
        let ta = ta_with_pool(world, image, pointers);
        let held = blocks[0].offset as u64;
        let dead = blocks[3].offset as u64;
        world.ta(move |run| {
            let base = run.load_u64(run.stack(0));
            let sp = run.context.sp;
            run.store(sp + 48, &(base + held).to_le_bytes());
            run.store(sp - 64, &(base + dead).to_le_bytes());
            Trap::ForeignInterrupt
        });
        world.on(Event::Interrupt, move |world| {
            assert_eq!(world.kernel.threads.activity(0), Activity::Active);
            world.kernel.threads.suspended(0);
            let row = scan(world, session, Selector::ta(TA)).1.unwrap();
            assert_eq!((row.blocks, row.suspects, row.suspect_bytes), (4, 2, 4064));
            assert_eq!((row.passes, row.inconsistent), (2, 0));
            assert!(world.kernel.threads.resume(0));
        });
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        let rows = suspects(world);
        let sum: u64 = rows.iter().map(|row| row.leak.bytes).sum();
        assert_eq!(sum, 4064);
        // The call is over: nothing points to the first, either.
        let row = scan(world, session, Selector::ta(TA)).1.unwrap();
        assert_eq!((row.number, row.suspects, row.new), (2, 4, 2));
        let first: Vec<u32> = suspects(world).iter().map(|r| r.first_scan).collect();
        assert_eq!(first, [1]);
        let params = [selector(world, &Selector::ta(TA)), OUT];
        let cleared = world.invoke(session, memleak::CMD_CLEAR, &params);
        assert_eq!(
            (cleared.result, cleared.params[1].a),
            (TeeResult::SUCCESS, 4)
        );
        assert!(suspects(world).is_empty());
        let row = scan(world, session, Selector::ta(TA)).1.unwrap();
        assert_eq!((row.suspects, row.cleared, row.passes), (0, 4, 1));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_scan_of_scribbled_books_says_so_and_nothing_else() {
    with(memleak::UUID, |world, session| {
        let (mut image, _, _) = four_blocks();
        // The head stays, which says where the units' table lies: units become what no unit can be.
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
        let (table, body) = (word(72), word(80));
        image[table..body].fill(0xff);
        let ta = ta_with_pool(world, image, &[]);
        let (result, row) = scan(world, session, Selector::ta(TA));
        assert_eq!(result, TeeResult::SUCCESS);
        let row = row.unwrap();
        assert_eq!((row.inconsistent, row.suspects), (1, 0));
        assert!(suspects(world).is_empty());
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

/// A million calls of hostile TAs found it: on four CPUs a scan ended between the note of a TA's end and the end, and the
/// page of what it had found stayed for good.
#[test]
fn a_scan_that_ends_while_its_ta_does_keeps_nothing() {
    with(memleak::UUID, |world, session| {
        let (image, _, pointers) = four_blocks();
        let ta = ta_with_pool(world, image, pointers);
        let found = scan(world, session, Selector::ta(TA)).1.unwrap();
        assert_ne!(found.suspects, 0);
        let instance = {
            let state = world.kernel.state();
            let mut instances = state.guest(GuestId::FIRST).instances.named();
            instances.find(|(_, found)| found.uuid == TA).unwrap().0
        };
        // As whoever ends it does first.
        Book::ending(&world.kernel, instance, End::Orderly);
        let (result, row) = scan(world, session, Selector::ta(TA));
        assert_eq!(
            (result, row.map(|row| row.suspects)),
            (TeeResult::SUCCESS, None)
        );
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_scan_that_gets_no_page_keeps_nothing() {
    with(memleak::UUID, |world, session| {
        let (image, _, pointers) = four_blocks();
        let ta = ta_with_pool(world, image, pointers);
        let before = world.accounts();
        let mut refused = 0;
        for n in 0.. {
            world.kernel.state().pages.fail_nth(Some(n));
            let (result, row) = scan(world, session, Selector::ta(TA));
            world.kernel.state().pages.fail_nth(None);
            if let Some(row) = row {
                assert_eq!((row.number, row.suspects), (1, 4));
                break;
            }
            assert_eq!(result, TeeResult::OUT_OF_MEMORY);
            assert_eq!(world.accounts(), before, "page {n}");
            assert!(suspects(world).is_empty());
            refused += 1;
        }
        assert!(refused >= 3, "marks and the book take pages");
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn too_small_an_answer_scans_nothing() {
    with(memleak::UUID, |world, session| {
        let ta = ta_with_pool(world, four_blocks().0, &[]);
        let room = size_of::<ScanRow>() as u64;
        let short = [selector(world, &Selector::ta(TA)), out(room - 1)];
        let reply = world.invoke(session, memleak::CMD_SCAN, &short);
        assert_eq!(reply.result, TeeResult::SHORT_BUFFER);
        assert_eq!(reply.params[1].b, room);
        assert_eq!(scan(world, session, Selector::ta(TA)).1.unwrap().number, 1);
        let unknown = TeeUuid::from_u128(0x99);
        assert_eq!(
            scan(world, session, Selector::ta(unknown)).0,
            TeeResult::ITEM_NOT_FOUND
        );
        let kernel = scan(world, session, Selector::KERNEL).1.unwrap();
        assert_eq!(kernel.heap, TeeUuid::nil());
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_scan_takes_room_for_heaps_of_tas_that_are_loaded_and_live() {
    const LATER: TeeUuid = TeeUuid::from_u128(0x81);
    with(memleak::UUID, |world, session| {
        world.install(LATER, 0, 100);
        let dead = ta_with_heap(world, &[0]);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(dead, 0, &[]).result, TeeResult::TARGET_DEAD);
        let alive = ta_with_pool(world, four_blocks().0, &[]);
        let room_for_one = move |world: &World| {
            let room = size_of::<ScanRow>() as u64;
            let params = [selector(world, &Selector::TAS), out(room)];
            let reply = world.invoke(session, memleak::CMD_SCAN, &params);
            assert_eq!(
                (reply.result, reply.params[1].b),
                (TeeResult::SUCCESS, room)
            );
            assert_eq!(records::<ScanRow>(world, room)[0].blocks, 4);
        };
        room_for_one(world);
        world.on(Event::Command(rpc::cmd::LOAD_TA), room_for_one);
        let later = world.opened(LATER);
        for session in [dead, alive, later] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}
