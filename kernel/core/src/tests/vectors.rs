//! Floating-point registers: lent at the first use, taken back before anybody else could see them.

use super::ta::ta_opens;
use super::*;
use crate::testing::world::{Event, Run};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tally_abi::ta::{entry, svc};
use tally_mem::machine::Trap;

fn uses(run: &mut Run<'_>) -> Trap {
    assert!(!run.world.kernel.machine.vectors_are_lent());
    Trap::Vectors { esr: 0x1fe0_0000 }
}

fn has_them(run: &Run<'_>) {
    assert!(run.world.kernel.machine.vectors_are_lent());
}

#[test]
fn nothing_stays_lent() {
    for way in ["returns", "panics", "is killed", "faults"] {
        with_session(|world, session| {
            world.ta(uses);
            world.ta(move |run| {
                has_them(run);
                match way {
                    "returns" => run.exit(TeeResult::SUCCESS),
                    "panics" => run.call(svc::PANIC, &[1]),
                    "faults" => Trap::Fault { esr: 0 },
                    _ => {
                        super::ta::kills(run.world, MULTI);
                        Trap::ForeignInterrupt
                    }
                }
            });
            let _ = world.invoke(session, 0, &[]);
            assert!(!world.kernel.machine.vectors_are_lent(), "{way}");
        });
    }
}

#[test]
fn who_is_interrupted_has_them_again_when_it_uses_them_again() {
    with_session(|world, session| {
        world.ta(uses);
        world.ta(|run| {
            has_them(run);
            Trap::SecureInterrupt
        });
        world.ta(|run| {
            has_them(run);
            Trap::ForeignInterrupt
        });
        world.on(Event::Interrupt, |world| {
            assert!(!world.kernel.machine.vectors_are_lent());
        });
        world.ta(uses);
        world.ta(|run| {
            has_them(run);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    });
}

/// Has a TA that uses them do something with its session to another, whose entry point `function` has none then; nor has
/// the first one afterwards.
fn another_has_none(does: impl FnOnce(&mut Run<'_>, u32) -> Trap + Send + 'static, function: u64) {
    leaves_nothing(|world| {
        let (caller, inner) = (world.opened(MULTI), Arc::<AtomicU32>::default());
        ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        world.ta(uses);
        world.ta(move |run| {
            has_them(run);
            does(run, inner.load(Relaxed))
        });
        world.ta(move |run| {
            assert_eq!(run.context.x[0], function);
            assert!(!run.world.kernel.machine.vectors_are_lent());
            run.exit(TeeResult::SUCCESS)
        });
        world.ta(|run| {
            assert!(!run.world.kernel.machine.vectors_are_lent());
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(caller), TeeResult::SUCCESS);
    });
}

#[test]
fn who_is_called_by_a_ta_does_not_have_those_of_its_caller() {
    let invokes = |run: &mut Run<'_>, id: u32| {
        let origin = run.stack(0);
        run.call(svc::INVOKE_TA_COMMAND, &[id.into(), 0, 0, 0, origin])
    };
    another_has_none(invokes, entry::INVOKE_COMMAND);
}

/// Bug: only a TA that was invoked or opened by another began without what was lent; one that was closed saw and changed
/// the registers of the one that closed it.
#[test]
fn who_is_closed_by_a_ta_does_not_have_those_of_the_one_that_closes_it() {
    let closes = |run: &mut Run<'_>, id: u32| run.call(svc::CLOSE_TA_SESSION, &[id.into()]);
    another_has_none(closes, entry::CLOSE_SESSION);
}

#[test]
fn where_there_are_none_for_tas_who_uses_them_ends() {
    with_session(|world, session| {
        world.kernel.machine.set_has_vectors(false);
        world.ta(uses);
        let reply = world.invoke(session, 0, &[]);
        assert_eq!(reply.result, TeeResult::TARGET_DEAD);
    });
}
