//! Work whose size a TA chooses goes on in steps, between which others have their turn.
//!
//! **Invariant:** whatever happens between two steps, nothing is left.

use super::*;
use crate::guest_id::GuestId;
use crate::testing::world::Run;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tally_abi::ta::{param_type, svc};
use tally_mem::addr::PAGE_SIZE;
use zerocopy::IntoBytes;

const PAGE: u64 = PAGE_SIZE as u64;
/// Bytes that are passed between TAs, in each direction.
const PASSED: u64 = 16 * PAGE + 100;

/// The heap of a TA whose last call was to reserve it.
pub(super) fn heap(run: &mut Run<'_>) -> u64 {
    let at = run.stack(512);
    run.load_u64(at)
}

/// Has the TA that runs next take a heap of so many bytes.
pub(super) fn takes_heap(world: &World, bytes: u64) {
    world.ta(move |run| {
        let out = run.stack(512);
        run.store(out, &[0; 8]);
        run.call(svc::tally::HEAP_RESERVE, &[bytes, out])
    });
    world.ta(move |run| run.call(svc::tally::HEAP_GROW, &[bytes, 0]));
}

/// Has the TA of a session take a heap of so many pages and touch each of them.
pub(super) fn touches_heap(world: &World, session: u32, pages: u64) {
    takes_heap(world, pages * PAGE);
    world.ta(move |run| {
        let heap = heap(run);
        for page in 0..pages {
            run.store(heap + page * PAGE, &[1]);
        }
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
}

/// Has MULTI pass its heap to SHARED, after `meanwhile`.
fn passes_on(world: &World, meanwhile: impl FnOnce(&World) + Send + 'static) {
    takes_heap(world, 32 * PAGE);
    world.ta(|run| {
        let (uuid, out) = (run.stack(0), run.stack(16));
        run.store(uuid, SHARED.as_bytes());
        run.store(out, &[0; 8]);
        run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
    });
    world.ta(|run| run.exit(TeeResult::SUCCESS));
    world.ta(|run| {
        let (out, params, data) = (run.stack(16), run.stack(64), heap(run));
        let [inout, none] = [param_type::MEMREF_INOUT, param_type::NONE];
        let types = param_type::pack([inout, none, none, none]);
        let words = [u64::from(types), data, PASSED, 0, 0, 0, 0, 0, 0];
        run.store(params, words.as_bytes());
        run.store(data, &[0x33; PASSED as usize]);
        meanwhile(run.world);
        let id = u64::from(run.load_u32(out));
        run.call(svc::INVOKE_TA_COMMAND, &[id, 0, 5, params, out + 4])
    });
}

/// Has MULTI hear `expected`, and find `byte` in all that it passed.
fn hears(world: &World, expected: TeeResult, byte: u8) {
    world.ta(move |run| {
        assert_eq!(run.result(), expected);
        let mut data = [0; PASSED as usize];
        let heap = heap(run);
        run.load(heap, &mut data);
        assert_eq!(data, [byte; PASSED as usize]);
        run.exit(TeeResult::SUCCESS)
    });
}

/// References between TAs were copied with the state locked and interrupts masked: 45 ms for four of 2 MiB.
#[test]
fn much_memory_between_tas_is_copied_in_steps() {
    with_session(|world, session| {
        passes_on(world, |_| ());
        world.ta(|run| {
            let at = run.params().vals[0];
            let mut data = [0; PASSED as usize];
            run.load(at, &mut data);
            assert_eq!(data, [0x33; PASSED as usize]);
            run.store(at, &[0x44; PASSED as usize]);
            run.exit(TeeResult::SUCCESS)
        });
        hears(world, TeeResult::SUCCESS, 0x44);
        let windows = || world.kernel.machine.interruptible_calls();
        let before = windows();
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        // Two pages a step, in and out.
        assert!(windows() >= before + 16, "{}", windows() - before);
    });
}

#[test]
fn a_ta_killed_while_memory_is_copied_to_it_leaves_nothing() {
    for window in 0..8 {
        with_session(|world, session| {
            let kill = |world: &World| {
                let mut state = world.kernel.state();
                let instances = &mut state.guest_mut(GuestId::FIRST).instances;
                let mut all = instances.iter_mut();
                let found = all.find(|(_, found)| found.uuid == SHARED);
                found.expect("it is there").1.killed = true;
            };
            passes_on(world, move |world| world.at_interrupt(window, kill));
            hears(world, TeeResult::TARGET_DEAD, 0x33);
            assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        });
    }
}

/// A TA's pages were freed under one lock, however many they were.
#[test]
fn a_ta_with_much_memory_ends_in_steps() {
    leaves_nothing(|world| {
        let session = world.opened(SHARED);
        touches_heap(world, session, 80);
        let free = || world.kernel.state().pages.available();
        let most = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&most);
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        world.at_interrupt(0, move |world| {
            // Some pages are free by now, and not all.
            seen.store(world.kernel.state().pages.available() as usize, Relaxed);
        });
        let before = free() as usize;
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        let during = most.load(Relaxed);
        assert!(
            before < during && during < free() as usize,
            "{before} {during} {}",
            free()
        );
    });
}

/// The report was written with the state locked, registers, call stack and regions at one go.
#[test]
fn a_death_is_reported_line_by_line() {
    with_session(|world, session| {
        world.ta(|run| run.call(svc::PANIC, &[1]));
        let windows = || world.kernel.machine.interruptible_calls();
        let before = windows();
        let reply = world.invoke(session, 0, &[]);
        assert_eq!(reply.result, TeeResult::TARGET_DEAD);
        assert!(windows() >= before + 15, "{}", windows() - before);
    });
}
