//! Instances that end in steps, while others go on.

use super::*;
use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest_id::GuestId;
use tally_abi::ta::svc;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::ThreadControl;

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages of heap that an instance touches.
const HEAP_PAGES: u64 = 80;

/// Has an instance touch its heap.
fn grow(world: &World, session: u32) {
    world.ta(|run| {
        let out = run.stack(512);
        run.store(out, &[0; 8]);
        run.call(svc::tally::HEAP_RESERVE, &[100 * PAGE, out])
    });
    world.ta(|run| run.call(svc::tally::HEAP_GROW, &[HEAP_PAGES * PAGE, 0]));
    world.ta(|run| {
        let at = run.stack(512);
        let heap = run.load_u64(at);
        for page in 0..HEAP_PAGES {
            run.store(heap + page * PAGE, &[1]);
        }
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
}

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
    grow(&world, session);
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
    grow(&world, second);
    let quota = charged(&world) + 20;
    world
        .kernel
        .state()
        .guest_mut(GuestId::FIRST)
        .ta_quota_pages = quota;
    let ending = {
        let state = world.kernel.state();
        let instances = state.guest(GuestId::FIRST).instances.named();
        let most = instances.max_by_key(|(_, found)| state.pages.owned_by(found.owner));
        most.map(|(name, _)| name).unwrap()
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
