//! Instances that end in steps, while others go on.

use super::steps::touches_heap;
use super::*;
use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest_id::GuestId;
use tally_abi::ta::svc;
use tally_mem::machine::ThreadControl;

/// Pages of heap that an instance touches.
const HEAP_PAGES: u64 = 80;

/// Pages that all instances are charged for, whether their address space is whole or not.
fn charged(world: &World) -> u32 {
    let state = world.kernel.state();
    let instances = state.guest(GuestId::FIRST).instances.iter();
    instances
        .map(|(_, found)| state.pages.owned_by(found.owner))
        .sum()
}

#[test]
fn who_kills_what_another_ends_leaves_it_to_them() {
    // Bug: the killer let go of an instance whose pages the other was still giving back, and so gave its name away.
    let world = world();
    let session = world.opened(SHARED);
    touches_heap(&world, session, HEAP_PAGES);
    let (instance, owner) = {
        let mut state = world.kernel.state();
        let instances = &mut state.guest_mut(GuestId::FIRST).instances;
        let (name, owner) = instances.named().next().map(|(n, f)| (n, f.owner)).unwrap();
        let found = instances.at_mut(name).unwrap();
        // What `kill` does first, with nobody in the instance.
        assert!(found.busy.is_none());
        found.killed = true;
        (name, owner)
    };
    world.at_interrupt(0, move |world| {
        let pages = world.kernel.state().pages.owned_by(owner);
        assert_ne!(pages, 0, "the end is under way");
        let machine = &world.kernel.machine;
        let ending = machine.thread_id();
        machine.set_thread_id(ending + 1);
        Call::new(&world.kernel, GuestId::FIRST, RpcArg::None).unclaim(instance);
        machine.set_thread_id(ending);
        let state = world.kernel.state();
        let found = state.instance(instance).expect("its end goes on");
        assert!(found.busy.is_some());
        assert!(world.kernel.owners().name(owner).is_some());
    });
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    assert!(!world.forget_interrupt(), "no step");
}

#[test]
fn pages_of_an_instance_that_ends_count_until_they_are_free() {
    // Bug: from the first step on, others of the TA could have what was not given back yet.
    let world = world();
    let [first, second] = [MULTI, MULTI].map(|uuid| world.opened(uuid));
    touches_heap(&world, second, HEAP_PAGES);
    let quota = charged(&world) + 20;
    world
        .kernel
        .state()
        .guest_mut(GuestId::FIRST)
        .ta_quota_pages = quota;
    let (ending, before) = {
        let state = world.kernel.state();
        let instances = state.guest(GuestId::FIRST).instances.named();
        let most = instances.max_by_key(|(_, found)| state.pages.owned_by(found.owner));
        most.map(|(name, found)| (name, found.charged_pages()))
            .unwrap()
    };
    world.at_interrupt(0, move |world| {
        let mut state = world.kernel.state();
        let guest = state.guest_mut(GuestId::FIRST);
        let (other, _) = guest
            .instances
            .named()
            .find(|(name, _)| *name != ending)
            .unwrap();
        let by_others = guest.charged_to_others(other).unwrap();
        let owner = guest.instances.at(ending).unwrap().owner;
        let owned = state.pages.owned_by(owner);
        assert_ne!(owned, 0, "the end is under way");
        assert!(by_others >= owned, "{by_others} of {owned}");
        assert!(by_others < before, "{by_others}, {before} before");
    });
    assert_eq!(world.close(second), TeeResult::SUCCESS);
    assert!(!world.forget_interrupt(), "no step");
    let others = {
        let state = world.kernel.state();
        let guest = state.guest(GuestId::FIRST);
        let (left, _) = guest.instances.named().next().unwrap();
        guest.charged_to_others(left)
    };
    assert_eq!(others, Some(0));
    assert_eq!(world.close(first), TeeResult::SUCCESS);
}

#[test]
fn a_quota_holds_while_one_more_instance_is_loaded() {
    // Bug: until the TA's own memory was mapped, an instance could have all of the quota, whatever others had.
    for quota in 34..50 {
        let world = world();
        world
            .kernel
            .state()
            .guest_mut(GuestId::FIRST)
            .ta_quota_pages = quota;
        let mut sessions = Vec::new();
        // The model of ldelf looks at it at each step.
        loop {
            let opened = world.open(MULTI, &[]);
            if opened.result != TeeResult::SUCCESS {
                assert_eq!(opened.result, TeeResult::OUT_OF_MEMORY);
                break;
            }
            sessions.push(opened.session);
        }
        for session in sessions {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    }
}

#[test]
fn a_dead_instance_that_has_sessions_takes_nothing_off_the_quota() {
    let world = world();
    let [first, second] = [MULTI, MULTI].map(|uuid| world.opened(uuid));
    touches_heap(&world, second, HEAP_PAGES);
    world.ta(|run| run.call(svc::PANIC, &[1]));
    assert_eq!(world.invoke(second, 0, &[]).result, TeeResult::TARGET_DEAD);
    {
        let state = world.kernel.state();
        let guest = state.guest(GuestId::FIRST);
        let mut living = guest
            .instances
            .named()
            .filter(|(_, found)| found.space.is_some());
        let (left, _) = living.next().unwrap();
        assert_eq!(guest.instances.named().count(), 2);
        assert_eq!(guest.charged_to_others(left), Some(0));
    }
    for session in [first, second] {
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    }
}
