//! Refusals: who tells them, and how often.

use super::*;
use crate::guest_id::GuestId;
use crate::refused::{Refused, RefusedEntry, SharedTable};
use tally_mem::machine::ThreadControl;
use tally_mem::refused::{RefusedPages, Short};

/// A refusal of an entry of this number.
const fn entry(wanted: u32) -> Refused {
    Refused::Entry(RefusedEntry {
        table: SharedTable::Sessions,
        asker: MULTI,
        wanted,
        used: 3,
        size: 4,
        holder: SHARED,
        held: 2,
    })
}

/// A refusal of so many pages.
const fn pages(wanted: u32) -> RefusedPages {
    RefusedPages {
        short: Short::Quota,
        owner: OwnerId::KERNEL,
        wanted,
        used: 1,
        size: 2,
        left: 1,
    }
}

#[test]
fn a_refusal_is_told_once_by_the_thread_that_made_it() {
    let world = world();
    let mut state = world.kernel.state();
    assert!(!state.pages.is_refusing());
    state.refuse(entry(1));
    assert!(state.pages.is_refusing(), "whoever unlocks tells it");
    state.refusals.set_aside(2, Some(pages(7)));
    state.refuse(entry(2));
    state.refusals.set_aside(3, None);
    // Nothing was refused since.
    state.refusals.set_aside(4, None);
    assert_eq!(state.refusals.take(4), None);
    assert_eq!(state.refusals.take(0), None);
    assert_eq!(state.refusals.take(3), Some(entry(2)));
    assert_eq!(state.refusals.take(3), None);
    assert_eq!(state.refusals.take(2), Some(Refused::Pages(pages(7))));
    assert_eq!(state.refusals.take(2), Some(entry(1)));
    assert_eq!(state.refusals.take(2), None);
    state.pages.settle_refused();
}

#[test]
fn each_of_eight_cpus_has_two_refusals_set_aside_at_a_time() {
    let world = world();
    let mut state = world.kernel.state();
    for thread in 0..8 {
        state.refuse(entry(thread));
        let thread = thread as usize;
        state.refusals.set_aside(thread, Some(pages(100)));
    }
    for thread in (0..8).rev() {
        let told = [(); 3].map(|()| state.refusals.take(thread as usize));
        let pages = Refused::Pages(pages(100));
        assert_eq!(told, [Some(pages), Some(entry(thread)), None]);
    }
    state.pages.settle_refused();
}

#[test]
fn what_is_refused_is_told_as_soon_as_the_state_is_unlocked() {
    let world = world();
    let mut state = world.kernel.state();
    state.refuse(entry(1));
    drop(state);
    let mut state = world.kernel.state();
    assert!(!state.pages.is_refusing());
    let thread = world.kernel.machine.thread_id();
    assert_eq!(state.refusals.take(thread), None, "it was told");
}

/// Figures of refused pages of secure RAM.
#[cfg(not(miri))]
fn failures(world: &World) -> (u32, u64) {
    let figures = world.kernel.state().pages.figures();
    (figures.failures, figures.biggest_failure)
}

#[cfg(not(miri))]
#[test]
fn a_heap_that_tries_to_grow_counts_as_refused_only_once_it_says_for_what() {
    use tally_abi::ta::svc;
    const MORE: u64 = 200 * 4096;
    with_session(|world, session| {
        let grow = |size: u64| {
            world.ta(move |run| run.call(svc::tally::HEAP_GROW, &[MORE, size]));
            world.ta(|run| {
                let result = run.result();
                run.exit(result)
            });
            world.invoke(session, 0, &[]).result
        };
        world.ta(|run| {
            let out = run.stack(512);
            run.store(out, &[0; 8]);
            run.call(svc::tally::HEAP_RESERVE, &[MORE, out])
        });
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(failures(world), (0, 0));
        // Something else follows an attempt: less, or a chunk that is free.
        assert_eq!(grow(0), TeeResult::OUT_OF_MEMORY);
        assert_eq!(failures(world), (0, 0));
        assert_eq!(grow(16), TeeResult::OUT_OF_MEMORY);
        assert_eq!(failures(world), (1, MORE));
        let state = world.kernel.state();
        assert!(!state.pages.is_refusing());
        let instances = state.guest(GuestId::FIRST).instances.iter();
        assert_eq!(instances.count(), 1, "the TA goes on");
    });
}
