//! Sessions that a dead TA had opened: whoever has their target ends them, however its call ends.

use super::ta::{kill, kills, ta_invokes, ta_opens, two_that_know_each_other};
use super::*;
use crate::guest_id::GuestId;
use crate::testing::world::{Event, Run};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tally_abi::rpc;
use tally_abi::ta::{entry, svc};
use tally_mem::machine::Trap;

/// Has the TA that runs next be told that a session is closed; counts it.
fn is_told(world: &World, told: &Arc<AtomicU32>) {
    let told = told.clone();
    world.ta(move |run| {
        assert_eq!(run.context.x[0], entry::CLOSE_SESSION);
        told.fetch_add(1, Relaxed);
        run.exit(TeeResult::SUCCESS)
    });
}

/// Opens a session to `uuid`, whose TA opens one to SHARED.
fn opened_with_one_to_shared(world: &World, uuid: TeeUuid) -> u32 {
    let (session, inner) = (world.opened(uuid), Arc::default());
    ta_opens(world, SHARED, &inner);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    session
}

#[test]
fn all_that_are_left_to_a_holder_are_ended_however_its_call_ends() {
    for way in ["returns", "panics", "is killed"] {
        let told = Arc::new(AtomicU32::new(0));
        leaves_nothing(|world| {
            let shared = world.opened(SHARED);
            let openers = [MULTI, KEPT].map(|uuid| opened_with_one_to_shared(world, uuid));
            world.ta(|_| Trap::ForeignInterrupt);
            world.ta(move |run| match way {
                "returns" => run.exit(TeeResult::SUCCESS),
                "panics" => run.call(svc::PANIC, &[1]),
                _ => {
                    kills(run.world, SHARED);
                    Trap::ForeignInterrupt
                }
            });
            if way == "returns" {
                for _ in openers {
                    is_told(world, &told);
                }
            }
            world.on(Event::Interrupt, |world| {
                kill(world, MULTI);
                kill(world, KEPT);
            });
            let expected = match way {
                "returns" => TeeResult::SUCCESS,
                _ => TeeResult::TARGET_DEAD,
            };
            assert_eq!(world.invoke(shared, 0, &[]).result, expected, "{way}");
            let all = if way == "returns" { 2 } else { 0 };
            assert_eq!(told.load(Relaxed), all, "{way}");
            for session in openers.into_iter().chain([shared]) {
                assert_eq!(world.close(session), TeeResult::SUCCESS, "{way}");
            }
        });
    }
}

#[test]
fn the_end_of_a_chain_is_left_to_whoever_has_it() {
    let told = Arc::new(AtomicU32::new(0));
    leaves_nothing(|world| {
        // KEPT -> MULTI -> SHARED, in which a call is.
        let (shared, head) = (world.opened(SHARED), world.opened(KEPT));
        let (inner, deep) = (Arc::default(), Arc::default());
        ta_opens(world, MULTI, &inner);
        assert_eq!(world.invoke(head, 0, &[]).result, TeeResult::SUCCESS);
        ta_invokes(world, &inner);
        ta_opens(world, SHARED, &deep);
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        assert_eq!(world.invoke(head, 0, &[]).result, TeeResult::SUCCESS);
        world.ta(|_| Trap::ForeignInterrupt);
        let heard = told.clone();
        world.on(Event::Interrupt, move |world| {
            // MULTI's own close entry runs on the killer's thread, SHARED's on the holder's.
            is_told(world, &heard);
            kill(world, KEPT);
            assert_eq!(heard.load(Relaxed), 1);
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            is_told(world, &heard);
        });
        assert_eq!(world.invoke(shared, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(told.load(Relaxed), 2);
        for session in [head, shared] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn a_target_that_is_buried_meanwhile_is_not_told() {
    for step in 0..4 {
        leaves_nothing(|world| {
            let (shared, kept) = (world.opened(SHARED), world.opened(KEPT));
            let inner = Arc::default();
            ta_opens(world, SHARED, &inner);
            assert_eq!(world.invoke(kept, 0, &[]).result, TeeResult::SUCCESS);
            super::steps::touches_heap(world, shared, 80);
            world.at_interrupt(step, |world| {
                kills(world, KEPT);
            });
            kills(world, SHARED);
            world.forget_interrupt();
            kills(world, KEPT);
            for session in [kept, shared] {
                assert_eq!(world.close(session), TeeResult::SUCCESS);
            }
        });
    }
}

#[test]
fn what_dies_of_hearing_that_a_session_closes_has_its_own_closed_in_the_same_round() {
    // Whoever panics is ended at once, who is killed and returns when it is let go of.
    type End = fn(&mut Run<'_>) -> Trap;
    let ends: [End; 2] = [
        |run| run.call(svc::PANIC, &[1]),
        |run| {
            kill(run.world, MULTI);
            run.exit(TeeResult::SUCCESS)
        },
    ];
    for end in ends {
        let told = Arc::new(AtomicU32::new(0));
        leaves_nothing(|world| {
            // KEPT -> MULTI -> SINGLE, and KEPT -> SHARED. That to SINGLE takes the first slot: the round has passed it.
            let (first, kept) = (world.opened(MULTI), world.opened(KEPT));
            let [to_multi, to_shared, deep] = <[Arc<AtomicU32>; 3]>::default();
            ta_opens(world, MULTI, &to_multi);
            assert_eq!(world.invoke(kept, 0, &[]).result, TeeResult::SUCCESS);
            ta_opens(world, SHARED, &to_shared);
            assert_eq!(world.invoke(kept, 0, &[]).result, TeeResult::SUCCESS);
            assert_eq!(world.close(first), TeeResult::SUCCESS);
            ta_invokes(world, &to_multi);
            ta_opens(world, SINGLE, &deep);
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            assert_eq!(world.invoke(kept, 0, &[]).result, TeeResult::SUCCESS);
            world.ta(move |run| {
                assert_eq!(run.context.x[0], entry::CLOSE_SESSION);
                end(run)
            });
            for _ in [SHARED, SINGLE] {
                is_told(world, &told);
            }
            kill(world, KEPT);
            assert_eq!(told.load(Relaxed), 2);
            assert_eq!(sessions(world), 1, "KEPT's own, of its client");
            assert_eq!(world.close(kept), TeeResult::SUCCESS);
        });
    }
}

/// Has a client be in the TA of a session; `meanwhile` runs beside.
fn while_held(world: &World, session: u32, meanwhile: impl FnOnce(&World) + Send + 'static) {
    world.ta(|_| Trap::ForeignInterrupt);
    world.on(Event::Interrupt, move |world| {
        meanwhile(world);
        world.ta(|run| run.exit(TeeResult::SUCCESS));
    });
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
}

/// Has the TA that runs next close a session of its own, and return.
fn closes(world: &World, id: &Arc<AtomicU32>) {
    let id = id.clone();
    world.ta(move |run| run.call(svc::CLOSE_TA_SESSION, &[id.load(Relaxed).into()]));
    world.ta(|run| run.exit(run.result()));
}

/// How many sessions there are.
fn sessions(world: &World) -> usize {
    let state = world.kernel.state();
    state.guest(GuestId::FIRST).sessions.iter().count()
}

/// Has the normal world give up at the first wait; whether there was one.
fn waits_once(world: &World, waited: &Arc<AtomicU32>) {
    let waited = waited.clone();
    world.on(Event::Command(rpc::cmd::NOTIFICATION), move |world| {
        waited.fetch_add(1, Relaxed);
        world.set_patience(Some(0));
    });
    let _ = world.take_events();
}

#[test]
fn who_lives_waits_until_those_that_it_closes_are_told() {
    let waited = Arc::new(AtomicU32::new(0));
    leaves_nothing(|world| {
        let (shared, session) = (world.opened(SHARED), world.opened(MULTI));
        let inner: Arc<AtomicU32> = Arc::default();
        ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        let seen = waited.clone();
        while_held(world, shared, move |world| {
            closes(world, &inner);
            waits_once(world, &seen);
            assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
            world.set_patience(None);
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        });
        assert_eq!(world.close(shared), TeeResult::SUCCESS);
        world.forget_lent();
    });
    assert_eq!(waited.load(Relaxed), 1);
}

#[test]
fn what_is_put_off_while_the_put_off_is_ended_is_ended_too() {
    const THIRD: TeeUuid = TeeUuid::from_u128(0x99);
    let waited = Arc::new(AtomicU32::new(0));
    leaves_nothing(|world| {
        world.install(THIRD, flags::SINGLE_INSTANCE | flags::MULTI_SESSION, 300);
        // SHARED <-> KEPT; SHARED -> THIRD, in which another call is.
        // The latter takes the first free slot: the round that ends what the callee closed has passed it by then.
        let (third, first) = (world.opened(THIRD), world.opened(MULTI));
        let ([caller, callee], [down, up]) = two_that_know_each_other(world);
        assert_eq!(world.close(first), TeeResult::SUCCESS);
        let deep = Arc::<AtomicU32>::default();
        ta_opens(world, THIRD, &deep);
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        let seen = waited.clone();
        while_held(world, third, move |world| {
            ta_invokes(world, &down);
            closes(world, &up);
            // The caller's own end of the call, and then of the session that the callee closed.
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            closes(world, &deep);
            waits_once(world, &seen);
            assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
            world.set_patience(None);
            // The clients' three, and the caller's to the callee.
            assert_eq!(sessions(world), 4);
        });
        for session in [third, callee, caller] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
        world.forget_lent();
        kill(world, KEPT);
    });
    assert_eq!(waited.load(Relaxed), 1);
}
