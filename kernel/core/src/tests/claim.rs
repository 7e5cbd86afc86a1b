//! Claims of instances: who waits, who is woken, and who ends one.

use super::*;
use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest_id::GuestId;
use crate::ta::instance::{Instance, InstanceRef, Life};
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
