//! Figures of a TA's heap over several commands, and their reset.
//!
//! **Invariant:** every test compares the accounts before and after.

use super::*;
use tally_abi::pta::inspect;
use tally_account::testing::Run;
use tally_core::guest_id::GuestId;
use tally_core::testing::world::Event;
use tally_ledger::{FAILURES_OFFSET, PEAK_OFFSET};
use tally_mem::machine::Trap;
use tally_records::{HistoryRow, PoolStats, TaDetail, UnfreedRow};

/// Live bytes of the heap.
const LIVE: u64 = 100;

/// A TA whose heap has one block.
fn ta(world: &World) -> u32 {
    let (image, _) = tally_ledger::fuzzing::image(HEAP, &[LIVE as usize]);
    ta_with_pool(world, image, &[])
}

fn store(run: &mut Run<'_>, offset: usize, words: &[u64]) {
    // Not from the stack, which a reset clears.
    let heap = {
        let state = run.world.kernel.state();
        let (_, found) = state.guest(GuestId::FIRST).instances.iter().next().unwrap();
        found.heap.unwrap().0
    };
    run.store(heap + offset as u64, words.as_bytes());
}

/// What a heap does that rises to `max` and falls again.
fn rise(run: &mut Run<'_>, max: u64) {
    store(run, PEAK_OFFSET, &[max, max - LIVE]);
}

/// What a heap does that has refused `count` allocations, the biggest one of 9000 bytes.
fn refuse(run: &mut Run<'_>, count: u64) {
    store(run, FAILURES_OFFSET, &[count, 9000, LIVE]);
}

fn pool(world: &World) -> AllocStats {
    let pools: Vec<PoolRow> = rows(world);
    let heap = pools.iter().find(|row| row.pool.owner == TA).unwrap();
    let tas: Vec<TaStats> = {
        let session = world.opened(stats::UUID);
        let tas = list(world, session, stats::CMD_TA_STATS, &[]);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        tas
    };
    // OP-TEE's interface says the same.
    assert_eq!(tas[0].heap.as_bytes(), heap.pool.alloc.as_bytes());
    heap.pool.alloc
}

fn reset(world: &World, session: u32) {
    let reply = world.invoke(session, control::CMD_RESET, &[]);
    assert_eq!(reply.result, TeeResult::SUCCESS);
}

/// A command of the TA.
fn command(world: &World, ta: u32, work: impl FnOnce(&mut Run<'_>) + Send + 'static) {
    world.ta(move |run| {
        work(run);
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
}

#[test]
fn the_maximum_of_one_command_is_not_lost_at_the_next() {
    with(control::UUID, |world, _| {
        let ta = ta(world);
        command(world, ta, |run| rise(run, 30_000));
        assert_eq!(pool(world).max_allocated, 30_000);
        command(world, ta, |run| rise(run, 152));
        let heap = pool(world);
        assert_eq!((heap.max_allocated, heap.allocated), (30_000, 100));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_reset_restarts_what_is_remembered_of_ended_tas() {
    with(control::UUID, |world, session| {
        let ta = ta(world);
        command(world, ta, |run| refuse(run, 1));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        let ended = || {
            let rows: Vec<HistoryRow> = rows(world);
            (rows[0].refused, rows[0].biggest_refused, rows[0].ended)
        };
        assert_eq!(ended(), (1, 9000, 1));
        reset(world, session);
        assert_eq!(ended(), (0, 0, 1));
    });
}

/// Deepest use of the stack of the only TA.
fn deepest(world: &World) -> u64 {
    rows::<TaDetail>(world)[0].stack_deepest
}

#[test]
fn looking_at_calls_in_detail_forgets_no_depth_of_the_stack() {
    // Bug: the stack is cleared before such a call, and its deepest use went with that.
    with(control::UUID, |world, session| {
        let ta = ta(world);
        command(world, ta, |run| run.store(run.stack(0), &[1; 16]));
        let deep = deepest(world);
        assert!(deep >= 2048);
        assert!(
            world
                .kernel
                .state()
                .guest_mut(GuestId::FIRST)
                .book
                .commands
                .set_detail(TA, true)
        );
        command(world, ta, |run| run.store(run.stack(1024), &[1; 16]));
        assert_eq!(deepest(world), deep);
        // A reset is what it goes with.
        reset(world, session);
        assert_eq!(deepest(world), 0);
        command(world, ta, |run| run.store(run.stack(1024), &[1; 16]));
        let shallow = deepest(world);
        assert!(0 < shallow && shallow < deep, "{shallow} of {deep}");
        assert!(
            world
                .kernel
                .state()
                .guest_mut(GuestId::FIRST)
                .book
                .commands
                .set_detail(TA, false)
        );
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_reset_restarts_the_most_that_was_charged() {
    // Bug: what loading had taken stayed the most for ever, though advice says "since the reset".
    with(control::UUID, |world, session| {
        let ta = world.opened(TA);
        let charged = || {
            let state = world.kernel.state();
            let (_, found) = state.guest(GuestId::FIRST).instances.iter().next().unwrap();
            let space = found.space.as_ref().unwrap();
            (space.charged_pages(), space.charged_max())
        };
        let (now, most) = charged();
        assert!(now < most, "loading takes more than what is loaded");
        reset(world, session);
        let (now, most) = charged();
        assert_eq!(most, now);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn what_a_ta_had_not_freed_is_known_by_call_site() {
    // Bug: only the totals were kept, and the call sites were on the secure console alone.
    with(inspect::UUID, |world, _| {
        let unfreed = || {
            let rows: Vec<UnfreedRow> = rows(world);
            let told = |row: &UnfreedRow| (row.died, row.bytes, row.blocks, row.instances);
            rows.iter().map(told).collect::<Vec<_>>()
        };
        assert!(unfreed().is_empty());
        for count in 1..=2 {
            let ta = ta(world);
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
            assert_eq!(unfreed(), [(0, LIVE * count, count, count as u32)]);
        }
        let ta = ta(world);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        assert_eq!(unfreed(), [(0, 2 * LIVE, 2, 2), (1, LIVE, 1, 1)]);
    });
}

#[test]
fn the_bookkeeping_of_a_dead_ta_adds_up() {
    with(control::UUID, |world, _| {
        let ta = ta(world);
        let heap = || -> PoolStats {
            let pools: Vec<PoolRow> = rows(world);
            pools.iter().find(|row| row.pool.owner == TA).unwrap().pool
        };
        let alive = heap();
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
        let dead = heap();
        assert!(dead.records > 0);
        assert_eq!((dead.tables, dead.records), (alive.tables, alive.records));
        assert_eq!(dead.metadata, dead.tables + dead.records);
        assert!(dead.metadata <= alive.metadata);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_reset_restarts_the_figures_of_tas_too() {
    with(control::UUID, |world, session| {
        let ta = ta(world);
        command(world, ta, |run| rise(run, 30_000));
        command(world, ta, |run| refuse(run, 2));
        let heap = pool(world);
        assert_eq!((heap.num_alloc_fail, heap.biggest_alloc_fail), (2, 9000));
        reset(world, session);
        let heap = pool(world);
        assert_eq!((heap.max_allocated, heap.allocated), (100, 100));
        assert_eq!(
            (
                heap.num_alloc_fail,
                heap.biggest_alloc_fail,
                heap.biggest_alloc_fail_used
            ),
            (0, 0, 0)
        );
        command(world, ta, |run| rise(run, 152));
        assert_eq!(pool(world).max_allocated, 152);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_reset_leaves_the_books_of_a_busy_ta_alone() {
    with(control::UUID, |world, session| {
        let ta = ta(world);
        command(world, ta, |run| rise(run, 30_000));
        world.ta(|run| {
            rise(run, 600);
            refuse(run, 2);
            Trap::ForeignInterrupt
        });
        world.on(Event::Interrupt, move |world| {
            assert_eq!(pool(world).max_allocated, 30_000);
            reset(world, session);
            let heap = pool(world);
            assert_eq!((heap.max_allocated, heap.num_alloc_fail), (600, 0));
        });
        world.ta(|run| {
            let heap = run.load_u64(run.stack(0));
            let failed = run.load_u64(heap + FAILURES_OFFSET as u64);
            assert_eq!(failed, 2, "written to while a call was inside");
            refuse(run, 3);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        let heap = pool(world);
        assert_eq!((heap.max_allocated, heap.num_alloc_fail), (600, 1));
        // The dead keep what was told of them.
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
        let heap = pool(world);
        assert_eq!((heap.max_allocated, heap.num_alloc_fail), (600, 1));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}
