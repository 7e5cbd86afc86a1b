//! Sessions that are put off: whom they keep waiting, and who ends them.

use super::ta::{kill, ta_invokes, ta_opens, two_that_know_each_other};
use super::*;
use crate::testing::world::{Event, Run};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use tally_abi::rpc;
use tally_abi::ta::{entry, svc};
use tally_mem::machine::Trap;

fn exits(run: &mut Run<'_>) -> Trap {
    assert_eq!(run.result(), TeeResult::SUCCESS);
    run.exit(TeeResult::SUCCESS)
}

/// The caller enters the callee, which closes its session to the caller: put off, while the caller goes on for as long as
/// it likes.
fn puts_off_and_goes_on(world: &World, down: &Arc<AtomicU32>, up: &Arc<AtomicU32>) {
    ta_invokes(world, down);
    let up = up.clone();
    world.ta(move |run| run.call(svc::CLOSE_TA_SESSION, &[up.load(Relaxed).into()]));
    world.ta(exits);
    world.ta(|_| Trap::ForeignInterrupt);
}

#[test]
fn a_client_does_not_wait_for_what_another_call_has_put_off() {
    // Bug: a round took all sessions that were closed, and waited for other calls' TAs.
    let waited = Arc::new(Mutex::new(false));
    let seen = waited.clone();
    leaves_nothing(move |world| {
        let ([caller, callee], [down, up]) = two_that_know_each_other(world);
        let (victim, inner) = (world.opened(MULTI), Arc::default());
        ta_opens(world, MULTI, &inner);
        assert_eq!(world.invoke(victim, 0, &[]).result, TeeResult::SUCCESS);
        puts_off_and_goes_on(world, &down, &up);
        let seen = seen.clone();
        world.on(Event::Interrupt, move |world| {
            // Another client, of another TA, closes.
            let seen = seen.clone();
            world.on(Event::Command(rpc::cmd::NOTIFICATION), move |world| {
                *seen.lock().unwrap() = true;
                world.set_patience(Some(0));
            });
            let _ = world.take_events();
            assert_eq!(world.close(victim), TeeResult::SUCCESS);
            world.set_patience(None);
        });
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(callee), TeeResult::SUCCESS);
        assert_eq!(world.close(caller), TeeResult::SUCCESS);
        world.forget_lent();
        kill(world, KEPT);
    });
    assert!(
        !*waited.lock().unwrap(),
        "the victim waited for a TA that it has nothing to do with"
    );
}

#[test]
fn who_hears_of_a_death_finds_what_the_dead_had_open_closed() {
    // Bug: what died of a close entry was ended after the round that the entry was part of.
    let found = Arc::new(Mutex::new(None));
    let seen = found.clone();
    leaves_nothing(move |world| {
        // top -> SHARED; SHARED -> KEPT; KEPT -> SINGLE.
        let (shared, kept) = (world.opened(SHARED), world.opened(KEPT));
        let (to_kept, to_single, up) = (Arc::default(), Arc::default(), Arc::default());
        ta_opens(world, KEPT, &to_kept);
        assert_eq!(world.invoke(shared, 0, &[]).result, TeeResult::SUCCESS);
        ta_opens(world, SINGLE, &to_single);
        assert_eq!(world.invoke(kept, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(kept), TeeResult::SUCCESS);
        // MULTI has a session to SHARED; MULTI ends, which ends that session in a round.
        let multi = world.opened(MULTI);
        ta_opens(world, SHARED, &up);
        assert_eq!(world.invoke(multi, 0, &[]).result, TeeResult::SUCCESS);
        // MULTI's own close entry.
        world.ta(exits_plain);
        // SHARED's close entry invokes KEPT, which dies.
        ta_invokes(world, &to_kept);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        // SINGLE is told that the dead one's session is closed.
        world.ta(exits_plain);
        let seen = seen.clone();
        world.ta(move |run| {
            assert_eq!(run.result(), TeeResult::TARGET_DEAD);
            let state = run.world.kernel.state();
            let guest = state.guest(crate::guest_id::GuestId::FIRST);
            let open = guest
                .instances
                .iter()
                .any(|(_, found)| found.uuid == SINGLE);
            drop(state);
            *seen.lock().unwrap() = Some(open);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.close(multi), TeeResult::SUCCESS);
        assert_eq!(world.close(shared), TeeResult::SUCCESS);
        world.clear_ta_steps();
        super::ta::kills(world, KEPT);
        super::ta::kills(world, SINGLE);
    });
    assert_eq!(
        *found.lock().unwrap(),
        Some(false),
        "SINGLE is still held by the dead KEPT"
    );
}

fn exits_plain(run: &mut Run<'_>) -> Trap {
    assert_eq!(run.context.x[0], entry::CLOSE_SESSION);
    run.exit(TeeResult::SUCCESS)
}

#[test]
fn a_shared_ta_does_not_stand_still_for_what_another_call_has_put_off() {
    let waited = Arc::new(Mutex::new(0));
    let seen = waited.clone();
    leaves_nothing(move |world| {
        let ([caller, callee], [down, up]) = two_that_know_each_other(world);
        // A TA of the victim's (MULTI) that opens and closes another one (MULTI) within one call.
        let victim = world.opened(MULTI);
        puts_off_and_goes_on(world, &down, &up);
        let seen = seen.clone();
        world.on(Event::Interrupt, move |world| {
            let (inner, deep) = (Arc::default(), Arc::default());
            ta_opens(world, MULTI, &inner);
            assert_eq!(world.invoke(victim, 0, &[]).result, TeeResult::SUCCESS);
            ta_invokes(world, &inner);
            ta_opens(world, MULTI, &deep);
            world.ta(exits);
            assert_eq!(world.invoke(victim, 0, &[]).result, TeeResult::SUCCESS);
            // In a call, the victim's TA closes `inner`, whose own session is an orphan then.
            let id = inner.clone();
            world.ta(move |run| run.call(svc::CLOSE_TA_SESSION, &[id.load(Relaxed).into()]));
            let seen = seen.clone();
            let busy = move |world: &World| {
                // While it waits here its TA is claimed.
                let state = world.kernel.state();
                let guest = state.guest(crate::guest_id::GuestId::FIRST);
                *seen.lock().unwrap() = guest
                    .instances
                    .iter()
                    .filter(|(_, found)| found.busy.is_some() && found.uuid == MULTI)
                    .count();
                drop(state);
                world.set_patience(Some(0));
            };
            world.on(Event::Command(rpc::cmd::NOTIFICATION), busy);
            assert_eq!(world.invoke(victim, 0, &[]).result, TeeResult::SUCCESS);
            world.set_patience(None);
            assert_eq!(world.close(victim), TeeResult::SUCCESS);
        });
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(callee), TeeResult::SUCCESS);
        assert_eq!(world.close(caller), TeeResult::SUCCESS);
        world.forget_lent();
        super::ta::kills(world, KEPT);
    });
    assert_eq!(
        *waited.lock().unwrap(),
        0,
        "TAs of the victim's that stand still"
    );
}

#[test]
fn who_kills_a_ta_does_not_wait_for_those_that_it_had_sessions_to() {
    // A million calls of hostile TAs found it: the session of one that was killed was to one that looped, and who killed
    // waited for it, and so never came to end that one, too.
    let waited = Arc::new(Mutex::new(false));
    let told = Arc::new(AtomicU32::new(0));
    let (seen, heard) = (waited.clone(), told.clone());
    leaves_nothing(move |world| {
        let (shared, inner) = (world.opened(SHARED), Arc::default());
        let victim = world.opened(MULTI);
        ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(victim, 0, &[]).result, TeeResult::SUCCESS);
        world.ta(|_| Trap::ForeignInterrupt);
        let heard = heard.clone();
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        world.ta(move |run| {
            assert_eq!(run.context.x[0], entry::CLOSE_SESSION);
            heard.fetch_add(1, Relaxed);
            run.exit(TeeResult::SUCCESS)
        });
        let (seen, heard) = (seen.clone(), told.clone());
        world.on(Event::Interrupt, move |world| {
            let seen = seen.clone();
            world.on(Event::Command(rpc::cmd::NOTIFICATION), move |world| {
                *seen.lock().unwrap() = true;
                world.set_patience(Some(0));
            });
            let _ = world.take_events();
            kill(world, MULTI);
            world.set_patience(None);
            assert_eq!(heard.load(Relaxed), 0, "a TA that is busy was entered");
        });
        // Whoever has it tells it.
        assert_eq!(world.invoke(shared, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(told.load(Relaxed), 1);
        for session in [victim, shared] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
        world.forget_lent();
    });
    assert!(!*waited.lock().unwrap(), "who kills waited");
}
