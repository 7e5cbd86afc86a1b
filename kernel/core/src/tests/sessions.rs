//! Sessions that end while others use them, and operations that are ended.

use super::ta::{kill, ta_invokes, ta_opens, two_that_know_each_other};
use super::*;
use crate::ta::enter::STACK_RESERVE;
use crate::testing::world::{Event, Run, header};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tally_abi::msg::{MsgHeader, cmd};
use tally_abi::rpc;
use tally_abi::ta::{entry, svc};
use tally_mem::machine::Trap;
use zerocopy::IntoBytes;

/// Too little stack to enter anybody.
const LITTLE: Option<usize> = Some(STACK_RESERVE - 1);

/// Has the TA that runs next be one that is told of a session's end.
fn is_told(world: &World) {
    world.ta(|run| {
        assert_eq!(run.context.x[0], entry::CLOSE_SESSION);
        run.exit(TeeResult::SUCCESS)
    });
}

/// Has the TA that runs next close a session of its own.
fn ta_closes(world: &World, id: &Arc<AtomicU32>) {
    let id = id.clone();
    world.ta(move |run| run.call(svc::CLOSE_TA_SESSION, &[id.load(Relaxed).into()]));
}

/// The TA goes on, and what it had asked for went well.
fn exits(run: &mut Run<'_>) -> Trap {
    assert_eq!(run.result(), TeeResult::SUCCESS);
    run.exit(TeeResult::SUCCESS)
}

fn sessions(world: &World) -> usize {
    let state = world.kernel.state();
    state
        .guest(crate::guest_id::GuestId::FIRST)
        .sessions
        .iter()
        .count()
}

#[test]
fn a_session_closed_during_a_call_ends_with_the_call() {
    // Bug: it was refused as busy. Linux had forgotten it by then, and it stayed for ever.
    leaves_nothing(|world| {
        let session = world.opened(SHARED);
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, move |world| {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
            assert_eq!(world.close(session), TeeResult::BAD_PARAMETERS);
            let again = world.invoke(session, 0, &[]);
            assert_eq!(again.result, TeeResult::BAD_PARAMETERS);
            assert_eq!(sessions(world), 1, "the call goes on");
        });
        world.ta(|run| run.exit(TeeResult::BAD_STATE));
        is_told(world);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::BAD_STATE);
    });
}

#[test]
fn a_session_to_a_pseudo_ta_closed_during_a_call_ends_with_the_call() {
    // No claim keeps a pseudo-TA's session: only that a call is in it, for whoever ends what others have closed, too.
    leaves_nothing(|world| {
        let (echo, owner) = (world.opened(ECHO), world.opened(MULTI));
        ta_opens(world, SHARED, &Arc::default());
        assert_eq!(world.invoke(owner, 0, &[]).result, TeeResult::SUCCESS);
        world.on(Event::Command(rpc::cmd::GET_TIME), move |world| {
            assert_eq!(world.close(echo), TeeResult::SUCCESS);
            assert_eq!(world.close(echo), TeeResult::BAD_PARAMETERS);
            assert_eq!(sessions(world), 3, "the call goes on");
            is_told(world);
            kill(world, MULTI);
            assert_eq!(sessions(world), 2, "what the dead TA had opened is gone");
        });
        assert_eq!(world.invoke(echo, 4, &[]).result, TeeResult::SUCCESS);
        assert_eq!(sessions(world), 1);
        assert_eq!(world.close(owner), TeeResult::SUCCESS);
    });
}

#[test]
fn the_id_of_a_session_that_is_gone_names_no_other_one() {
    leaves_nothing(|world| {
        let mut gone = Vec::new();
        for _ in 0..3 {
            let session = world.opened(ECHO);
            for old in &gone {
                assert_eq!(world.close(*old), TeeResult::BAD_PARAMETERS);
            }
            assert_eq!(world.close(session), TeeResult::SUCCESS);
            gone.push(session);
        }
    });
}

/// Has the TA that runs next invoke, then close a session that is not its own.
fn ta_names_anothers(world: &World, id: u32) {
    world.ta(move |run| {
        let origin = run.stack(0);
        run.call(svc::INVOKE_TA_COMMAND, &[id.into(), 0, 0, 0, origin])
    });
    world.ta(move |run| {
        assert_eq!(run.result(), TeeResult::BAD_PARAMETERS, "invoked");
        run.call(svc::CLOSE_TA_SESSION, &[id.into()])
    });
    world.ta(|run| {
        assert_eq!(run.result(), TeeResult::BAD_PARAMETERS, "closed");
        run.exit(TeeResult::SUCCESS)
    });
}

#[test]
fn nobody_but_its_opener_can_name_a_session() {
    // Two instances of one TA, the first of which has a session of its own.
    leaves_nothing(|world| {
        let (first, second) = (world.opened(MULTI), world.opened(MULTI));
        let inner = Arc::default();
        ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(first, 0, &[]).result, TeeResult::SUCCESS);
        let own = inner.load(Relaxed);
        assert_eq!(sessions(world), 3);

        // The normal world: invoked, cancelled, closed.
        assert_eq!(world.invoke(own, 0, &[]).result, TeeResult::BAD_PARAMETERS);
        let cancel = world.send(header(cmd::CANCEL, own, 0), &[]);
        assert_eq!(cancel.result, TeeResult::BAD_PARAMETERS);
        assert_eq!(world.close(own), TeeResult::BAD_PARAMETERS);
        // Another instance, and a TA a client's session.
        for foreign in [own, first, second] {
            ta_names_anothers(world, foreign);
            assert_eq!(world.invoke(second, 0, &[]).result, TeeResult::SUCCESS);
        }

        assert_eq!(sessions(world), 3);
        ta_invokes(world, &inner);
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        world.ta(exits);
        assert_eq!(world.invoke(first, 0, &[]).result, TeeResult::SUCCESS);
        for session in [first, second] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn a_session_to_a_ta_that_dies_in_a_call_closes_during_that_call() {
    leaves_nothing(|world| {
        let session = world.opened(MULTI);
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, move |world| {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
            kill(world, MULTI);
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
    });
}

#[test]
fn a_ta_that_closes_with_little_stack_left_has_it_closed_when_the_call_ends() {
    // Bug: closing entered the target without a look at the stack, which a chain of TAs overflowed.
    leaves_nothing(|world| {
        let (session, inner) = (world.opened(MULTI), Arc::default());
        ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        world.ta(|run| {
            run.world.kernel.machine.set_stack_left(LITTLE);
            run.call(svc::WAIT, &[0])
        });
        ta_closes(world, &inner);
        world.ta(|run| {
            assert_eq!(sessions(run.world), 2, "its target is not told yet");
            run.world.kernel.machine.set_stack_left(None);
            exits(run)
        });
        is_told(world);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(sessions(world), 1);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn a_pseudo_ta_that_is_closed_with_little_stack_left_is_told_when_the_call_ends() {
    // Bug: it was told without a look at the stack.
    leaves_nothing(|world| {
        let session = world.opened(MULTI);
        world.ta(|run| {
            let (uuid, out) = (run.stack(0), run.stack(16));
            run.store(uuid, ECHO.as_bytes());
            run.store(out, &[0; 8]);
            run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::SUCCESS);
            let id = run.load_u32(run.stack(16));
            run.world.kernel.machine.set_stack_left(LITTLE);
            run.call(svc::CLOSE_TA_SESSION, &[id.into()])
        });
        world.ta(|run| {
            assert_eq!(sessions(run.world), 2, "it is not told yet");
            run.world.kernel.machine.set_stack_left(None);
            exits(run)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(sessions(world), 1);
        is_told(world);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn nobody_is_entered_with_little_stack_left() {
    leaves_nothing(|world| {
        let machine = &world.kernel.machine;
        machine.set_stack_left(LITTLE.map(|bytes| bytes + 1));
        assert_eq!(world.close(world.opened(MULTI)), TeeResult::SUCCESS);
        machine.set_stack_left(None);
        let (session, inner) = (world.opened(MULTI), Arc::default());
        ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        for target in [MULTI, KEPT, SHARED, ECHO] {
            world.ta(move |run| {
                run.world.kernel.machine.set_stack_left(LITTLE);
                let (uuid, out) = (run.stack(0), run.stack(16));
                run.store(uuid, target.as_bytes());
                run.store(out, &[0; 8]);
                run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
            });
            world.ta(|run| {
                assert_eq!(run.result(), TeeResult::OUT_OF_MEMORY);
                run.call(svc::WAIT, &[0])
            });
            ta_invokes(world, &inner);
            world.ta(|run| {
                assert_eq!(run.result(), TeeResult::OUT_OF_MEMORY);
                run.world.kernel.machine.set_stack_left(None);
                run.exit(TeeResult::SUCCESS)
            });
            assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        }
        is_told(world);
        is_told(world);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn a_session_to_ones_own_caller_closes_once_the_caller_is_free() {
    leaves_nothing(|world| {
        let ([caller, callee], [down, up]) = two_that_know_each_other(world);
        // The caller enters the callee, which closes its session to the caller.
        ta_invokes(world, &down);
        ta_closes(world, &up);
        world.ta(exits);
        world.ta(exits);
        is_told(world);
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(sessions(world), 3);
        assert_eq!(world.close(callee), TeeResult::SUCCESS);
        assert_eq!(world.close(caller), TeeResult::SUCCESS);
        kill(world, KEPT);
    });
}

#[test]
fn a_chain_of_tas_ends_link_by_link() {
    // Bug: each end ran in the one before, a stack frame a link.
    leaves_nothing(|world| {
        let first = world.opened(MULTI);
        // Each but the last opens the next; those are reached through their openers alone.
        let links: Vec<Arc<AtomicU32>> = (0..3).map(|_| Arc::default()).collect();
        for (depth, link) in links.iter().enumerate() {
            let above: Vec<_> = links[..depth].to_vec();
            for id in &above {
                ta_invokes(world, id);
            }
            ta_opens(world, MULTI, link);
            for _ in &above {
                world.ta(exits);
            }
            assert_eq!(world.invoke(first, 0, &[]).result, TeeResult::SUCCESS);
        }
        assert_eq!(sessions(world), 4);
        // How deep in the kernel each runs.
        let depths: Arc<Mutex<Vec<usize>>> = Arc::default();
        for _ in 0..4 {
            let depths = depths.clone();
            world.ta(move |run| {
                assert_eq!(run.context.x[0], entry::CLOSE_SESSION);
                let local = 0_u8;
                depths.lock().unwrap().push(&raw const local as usize);
                run.exit(TeeResult::SUCCESS)
            });
        }
        assert_eq!(world.close(first), TeeResult::SUCCESS);
        assert_eq!(sessions(world), 0);
        let depths = depths.lock().unwrap();
        assert!(
            depths[1..].iter().all(|depth| *depth == depths[1]),
            "{depths:x?}"
        );
    });
}

/// What a wait in an operation comes back with that these ids are cancelled after, with a second one of id 6 beside it.
fn wait_beside(cancelled: &'static [u32]) -> TeeResult {
    let told = Arc::new(AtomicU32::new(0));
    leaves_nothing(|world| {
        let session = world.opened(SHARED);
        world.ta(|run| {
            let at = run.stack(0);
            run.call(svc::UNMASK_CANCELLATION, &[at])
        });
        world.ta(|_| Trap::ForeignInterrupt);
        let message = move |command, cancel_id| MsgHeader {
            cancel_id,
            ..header(command, session, 0)
        };
        world.on(Event::Interrupt, move |world| {
            // The second one waits for the instance, in vain.
            world.on(Event::Command(rpc::cmd::NOTIFICATION), move |world| {
                for id in cancelled {
                    let cancel = message(cmd::CANCEL, *id);
                    assert_eq!(world.send(cancel, &[]).result, TeeResult::SUCCESS);
                }
                world.set_patience(Some(0));
            });
            let second = message(cmd::INVOKE_COMMAND, 6);
            assert_eq!(world.send(second, &[]).result, TeeResult::BUSY);
            world.set_patience(None);
        });
        world.ta(|run| run.call(svc::WAIT, &[25]));
        let result = told.clone();
        world.ta(move |run| {
            result.store(run.result().0, Relaxed);
            run.exit(TeeResult::SUCCESS)
        });
        let first = message(cmd::INVOKE_COMMAND, 5);
        assert_eq!(world.send(first, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
    TeeResult(told.load(Relaxed))
}

#[test]
fn operations_of_a_session_are_cancelled_one_by_one() {
    // Bug: a second one took the first one's flag and mask away.
    assert_eq!(wait_beside(&[]), TeeResult::SUCCESS);
    assert_eq!(wait_beside(&[6, 7]), TeeResult::SUCCESS);
    assert_eq!(wait_beside(&[5]), TeeResult::CANCEL);
    assert_eq!(wait_beside(&[6, 5]), TeeResult::CANCEL);
}

/// Has the TA that runs next wait for 300 ms where it can be cancelled, and tell what came of it; its caller goes on.
fn callee_waits(world: &World, told: &Arc<AtomicU32>) {
    world.ta(|run| {
        let at = run.stack(0);
        run.call(svc::UNMASK_CANCELLATION, &[at])
    });
    world.ta(|run| run.call(svc::WAIT, &[300]));
    let result = told.clone();
    world.ta(move |run| {
        result.store(run.result().0, Relaxed);
        run.exit(TeeResult::SUCCESS)
    });
    world.ta(exits);
}

/// What a wait of 300 ms comes back with in a TA that another one invokes with this time limit, and how long it took.
fn wait_within(limit: u32) -> (TeeResult, u64) {
    let told = Arc::new(AtomicU32::new(0));
    let mut took = 0;
    leaves_nothing(|world| {
        let (session, inner) = (world.opened(MULTI), Arc::default());
        ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        let begun = world.kernel.uptime_millis();
        world.ta(move |run| {
            let (id, origin) = (u64::from(inner.load(Relaxed)), run.stack(0));
            run.call(svc::INVOKE_TA_COMMAND, &[id, limit.into(), 0, 0, origin])
        });
        callee_waits(world, &told);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        took = world.kernel.uptime_millis() - begun;
        is_told(world);
        is_told(world);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
    (TeeResult(told.load(Relaxed)), took)
}

#[test]
fn the_time_limit_of_a_call_to_another_ta_counts() {
    // Bug: it was never read.
    let (result, took) = wait_within(50);
    assert_eq!(result, TeeResult::CANCEL);
    assert!((50..100).contains(&took), "{took}");
    for limit in [1000, u32::MAX] {
        let (result, took) = wait_within(limit);
        assert_eq!(result, TeeResult::SUCCESS);
        assert!(took >= 300, "{took}");
    }
}

/// As [`wait_within`], of a wait in the entry that opens the session.
fn wait_in_open_within(limit: u32) -> (TeeResult, u64) {
    let told = Arc::new(AtomicU32::new(0));
    let mut took = 0;
    leaves_nothing(|world| {
        let session = world.opened(MULTI);
        let begun = world.kernel.uptime_millis();
        world.ta(move |run| {
            let (uuid, out) = (run.stack(0), run.stack(16));
            run.store(uuid, SHARED.as_bytes());
            run.store(out, &[0; 8]);
            run.call(svc::OPEN_TA_SESSION, &[uuid, limit.into(), 0, out, out + 4])
        });
        callee_waits(world, &told);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        took = world.kernel.uptime_millis() - begun;
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
    (TeeResult(told.load(Relaxed)), took)
}

#[test]
fn the_time_limit_of_an_opening_of_another_ta_counts() {
    let (result, took) = wait_in_open_within(50);
    assert_eq!(result, TeeResult::CANCEL);
    assert!((50..100).contains(&took), "{took}");
    let (result, took) = wait_in_open_within(1000);
    assert_eq!(result, TeeResult::SUCCESS);
    assert!(took >= 300, "{took}");
}

#[test]
fn an_instance_whose_first_session_is_refused_does_not_stay() {
    // Bug: a keep-alive TA whose create entry failed stayed, and was created again on the same statics.
    leaves_nothing(|world| {
        world.ta(|run| run.exit(TeeResult::OUT_OF_MEMORY));
        assert_eq!(world.open(KEPT, &[]).result, TeeResult::OUT_OF_MEMORY);
        assert_eq!(instances(world), 0);
        // One that has served stays, whoever is refused later.
        let session = world.opened(KEPT);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        world.ta(|run| run.exit(TeeResult::ACCESS_DENIED));
        assert_eq!(world.open(KEPT, &[]).result, TeeResult::ACCESS_DENIED);
        assert_eq!(instances(world), 1);
        kill(world, KEPT);
    });
}

fn instances(world: &World) -> usize {
    let state = world.kernel.state();
    let guest = state.guest(crate::guest_id::GuestId::FIRST);
    guest.instances.iter().count()
}

#[test]
fn a_crashed_instance_is_kept_by_those_that_ask_for_it() {
    const CRASHED: TeeUuid = TeeUuid::from_u128(0x66);
    leaves_nothing(|world| {
        let kept = flags::SINGLE_INSTANCE | flags::INSTANCE_KEEP_ALIVE;
        world.install(CRASHED, kept | flags::INSTANCE_KEEP_CRASHED, 300);
        let dies = |world: &World| {
            let session = world.opened(CRASHED);
            world.ta(|run| run.call(svc::PANIC, &[1]));
            assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        };
        // One that died before it had served anybody was never created.
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.open(CRASHED, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(instances(world), 0);
        dies(world);
        assert_eq!(instances(world), 1);
        assert_eq!(world.open(CRASHED, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(instances(world), 1);
        // Who kills it has a new one from then on.
        kill(world, CRASHED);
        assert_eq!(instances(world), 0);
        dies(world);
        kill(world, CRASHED);
        // Even while somebody has a session to the dead one still.
        let session = world.opened(CRASHED);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
        kill(world, CRASHED);
        dies(world);
        kill(world, CRASHED);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        assert_eq!(instances(world), 0);
    });
}

#[test]
fn a_ta_with_flags_that_no_ta_may_have_is_not_loaded() {
    let odd = [0x91, 0x92, 0x93].map(TeeUuid::from_u128);
    leaves_nothing(|world| {
        for (uuid, bits) in odd.into_iter().zip([flags::CONCURRENT, 1 << 14, 1 << 31]) {
            world.install(uuid, bits, 300);
            assert_eq!(world.open(uuid, &[]).result, TeeResult::BAD_FORMAT);
        }
    });
}

#[test]
fn an_instance_that_stays_for_one_session_serves_the_next_one_after_it() {
    const STAYS: TeeUuid = TeeUuid::from_u128(0x66);
    leaves_nothing(|world| {
        world.install(
            STAYS,
            flags::SINGLE_INSTANCE | flags::INSTANCE_KEEP_ALIVE,
            300,
        );
        for _ in 0..2 {
            let session = world.opened(STAYS);
            assert_eq!(world.open(STAYS, &[]).result, TeeResult::BUSY);
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
        super::ta::kill(world, STAYS);
    });
}
