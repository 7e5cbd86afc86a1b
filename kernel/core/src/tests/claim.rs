//! Claims of instances: who waits, who is woken, and who ends one.

use super::*;
use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest_id::GuestId;
use crate::kernel::KernelHeap;
use crate::owners::{Label, OwnerKind, OwnerName};
use crate::ta::instance::{Instance, InstanceRef, Life};
use crate::ta::task::Cause;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use tally_mem::machine::ThreadControl;

/// Thread that has an instance.
const HOLDER: usize = 2;
/// Thread that wants it.
const OTHER: usize = 3;

/// Runs `test` with an instance of [`MULTI`] that was never loaded and that [`HOLDER`] has.
fn with_held(test: impl FnOnce(&Arc<World>, InstanceRef)) {
    let world = world();
    let before = world.accounts();
    let instance = {
        let mut state = world.kernel.state();
        let instances = &mut state.guest_mut(GuestId::FIRST).instances;
        let loading = Instance::loading(MULTI, 7, OwnerId::KERNEL, HOLDER, ());
        let slot = instances.insert(loading).unwrap();
        instances.name(slot, 7)
    };
    test(&world, instance);
    let mut state = world.kernel.state();
    let instances = &mut state.guest_mut(GuestId::FIRST).instances;
    instances.remove(instance.slot());
    drop(state);
    same(&world, &before);
}

/// What is seen of an instance: its thread, who waits, and where it is in its life.
fn seen(world: &World, instance: InstanceRef) -> (Option<usize>, u64, Life) {
    let state = world.kernel.state();
    let found = state.instance(instance).unwrap();
    (found.busy, found.waiters, found.life)
}

/// Runs `work` as a call of this thread.
fn as_thread<R>(
    world: &World,
    thread: usize,
    work: impl FnOnce(&mut Call<'_, tally_mem::testing::TestMachine, ()>) -> R,
) -> R {
    let machine = &world.kernel.machine;
    let before = machine.thread_id();
    machine.set_thread_id(thread);
    let mut call = Call::new(&world.kernel, GuestId::FIRST, RpcArg::None);
    let result = work(&mut call);
    machine.set_thread_id(before);
    result
}

#[test]
fn who_does_not_wait_is_not_woken() {
    with_held(|world, instance| {
        let claimed = as_thread(world, OTHER, |call| call.claim_at_once(instance));
        assert_eq!(claimed, Err(TeeResult::BUSY));
        assert_eq!(seen(world, instance), (Some(HOLDER), 0, Life::Loading));
        let own = as_thread(world, HOLDER, |call| call.claim_at_once(instance));
        assert_eq!(own, Err(TeeResult::BUSY));
        assert_eq!(seen(world, instance), (Some(HOLDER), 0, Life::Loading));
        let mut state = world.kernel.state();
        state.instance_mut(instance).unwrap().busy = None;
        drop(state);
        let claimed = as_thread(world, OTHER, |call| call.claim_at_once(instance));
        assert_eq!(claimed, Ok(()));
        assert_eq!(seen(world, instance), (Some(OTHER), 0, Life::Loading));
    });
}

#[test]
fn who_cannot_wait_waits_no_longer() {
    with_held(|world, instance| {
        // The normal world refuses to wait.
        world.set_patience(Some(0));
        let claimed = as_thread(world, OTHER, |call| call.claim(instance));
        assert_eq!(claimed, Err(TeeResult::BUSY));
        assert_eq!(seen(world, instance), (Some(HOLDER), 0, Life::Loading));
        let claimed = as_thread(world, OTHER, |call| {
            call.claim_while(instance, |found| found.uuid != MULTI)
        });
        assert_eq!(claimed, Ok(false));
        assert_eq!(seen(world, instance), (Some(HOLDER), 0, Life::Loading));
    });
}

#[test]
fn an_instance_that_somebody_else_has_is_not_dropped() {
    // Unused otherwise, dead or not.
    with_held(|world, instance| {
        for life in [Life::Ready, Life::Dead] {
            for (busy, waiters, sessions) in
                [(Some(HOLDER), 0, 0), (None, 1 << OTHER, 0), (None, 0, 1)]
            {
                let mut state = world.kernel.state();
                let found = state.instance_mut(instance).unwrap();
                (found.busy, found.waiters, found.sessions) = (busy, waiters, sessions);
                found.life = life;
                drop(state);
                as_thread(world, OTHER, |call| call.drop_if_unused(instance));
                assert_eq!(seen(world, instance), (busy, waiters, life));
            }
        }
    });
}

/// The only instance there is.
#[cfg(not(miri))]
fn only_instance(world: &World) -> InstanceRef {
    let state = world.kernel.state();
    let mut named = state.guest(GuestId::FIRST).instances.named();
    let only = named.next().unwrap().0;
    assert!(named.next().is_none());
    only
}

#[cfg(not(miri))]
#[test]
fn who_begins_to_wait_while_an_instance_ends_is_woken_and_finds_it_dead() {
    use tally_mem::addr::PAGE_SIZE;
    // More pages than are freed at a time.
    const PAGES: u64 = 80;
    for is_killed in [false, true] {
        leaves_nothing(|world| {
            let session = world.opened(SHARED);
            super::steps::takes_heap(world, PAGES * PAGE_SIZE as u64);
            world.ta(|run| {
                let heap = super::steps::heap(run);
                for page in 0..PAGES {
                    run.store(heap + page * PAGE_SIZE as u64, &[1]);
                }
                run.exit(TeeResult::SUCCESS)
            });
            assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
            let instance = only_instance(world);
            // As whoever kills it does first.
            let mut state = world.kernel.state();
            state.instance_mut(instance).unwrap().killed = is_killed;
            drop(state);
            world.at_interrupt(0, move |world| {
                let claimed = as_thread(world, OTHER, |call| call.claim_at_once(instance));
                assert_eq!(claimed, Err(TeeResult::TARGET_DEAD));
                assert_eq!(seen(world, instance), (Some(0), 0, Life::Dead));
                let mut state = world.kernel.state();
                state.instance_mut(instance).unwrap().waiters = 1 << OTHER;
            });
            assert_eq!(world.close(session), TeeResult::SUCCESS);
            assert!(!world.forget_interrupt(), "it ended at one go");
            assert_eq!(world.take_woken(), [OTHER as u64], "{is_killed}");
            assert!(world.kernel.state().instance(instance).is_none());
        });
    }
}

#[cfg(not(miri))]
#[test]
fn an_instance_that_was_killed_says_so() {
    leaves_nothing(|world| {
        let session = world.opened(SHARED);
        let instance = only_instance(world);
        super::ta::kill(world, SHARED);
        let state = world.kernel.state();
        let fate = state.instance(instance).and_then(|found| found.fate);
        assert_eq!(fate.map(|fate| fate.cause), Some(Cause::Killed));
        drop(state);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

/// A kernel heap of which one owner at most has something.
struct Held(AtomicU16);

impl KernelHeap for Held {
    fn account(&self, owner: OwnerId) -> (u32, u32) {
        let holds = owner.0 == self.0.load(Relaxed);
        (32 * u32::from(holds), holds.into())
    }
}

#[test]
fn an_owner_that_left_something_keeps_its_id_until_that_is_gone() {
    static HEAP: Held = Held(AtomicU16::new(u16::MAX));
    let world: Arc<World> = World::observed(&[], (), &HEAP);
    let name = |n| OwnerName {
        kind: OwnerKind::Session(n),
        uuid: MULTI,
        label: Label::Session,
    };
    let label = |owner| world.kernel.owners().name(owner).map(|name| name.label);
    let new = |n| world.kernel.new_owner(name(n)).unwrap();
    let (first, second) = (new(1), new(2));
    assert_ne!(first, second);
    assert_eq!(world.kernel.owners().name(second), Some(&name(2)));
    HEAP.0.store(first.0, Relaxed);
    world.kernel.release_owner(first, "a session");
    world.kernel.release_owner(second, "a session");
    assert_eq!([first, second].map(label), [Some(Label::Ended), None]);
    let third = new(3);
    assert_ne!(third, first);
    assert_eq!(
        [first, third].map(label),
        [Label::Ended, Label::Session].map(Some)
    );
    HEAP.0.store(u16::MAX, Relaxed);
    // The next one gets its id.
    assert_eq!(new(4), first);
    assert_eq!(label(first), Some(Label::Session));
}
