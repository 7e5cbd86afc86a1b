//! TAs: loaded, entered, killed, and gone.

use super::*;
use crate::guest_id::GuestId;
use crate::testing::world::{CLIENT, Event, Run, header, memref, value};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tally_abi::msg::{MsgHeader, attr, cmd};
use tally_abi::rpc;
use tally_abi::ta::svc;
use tally_mem::addr::{PAGE_SIZE, PhysAddr};
use tally_mem::machine::Trap;
use zerocopy::IntoBytes;

#[test]
fn a_ta_opens_answers_and_goes_with_its_session() {
    leaves_nothing(|world| {
        world.ta(|run| {
            assert_eq!(run.context.x[0], tally_abi::ta::entry::OPEN_SESSION);
            run.exit(TeeResult::SUCCESS)
        });
        let session = world.opened(MULTI);
        world.ta(|run| {
            assert_eq!(run.context.x[3], 7);
            run.exit(TeeResult::BAD_STATE)
        });
        assert_eq!(world.invoke(session, 7, &[]).result, TeeResult::BAD_STATE);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

/// The id of the only session there is.
pub(super) fn only_session(world: &World) -> u32 {
    let state = world.kernel.state();
    let ids: Vec<u32> = state
        .guest(GuestId::FIRST)
        .sessions
        .iter()
        .map(|(_, s)| s.id)
        .collect();
    assert_eq!(ids.len(), 1);
    ids[0]
}

#[test]
fn a_session_that_its_ta_has_not_agreed_to_cannot_be_invoked() {
    // Bug: the id can be guessed, and the TA was entered for a session that it refused.
    leaves_nothing(|world| {
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, |world| {
            let id = only_session(world);
            assert_eq!(world.invoke(id, 0, &[]).result, TeeResult::BAD_PARAMETERS);
            assert_ne!(world.close(id), TeeResult::SUCCESS);
        });
        world.ta(|run| run.exit(TeeResult::ACCESS_DENIED));
        let reply = world.open(SHARED, &[]);
        assert_eq!((reply.result, reply.session), (TeeResult::ACCESS_DENIED, 0));
    });
}

#[test]
fn a_session_is_closed_once_and_not_used_meanwhile() {
    // Bug: a second close told the TA again; an invoke in between kept the closed session.
    leaves_nothing(|world| {
        let session = world.opened(SHARED);
        world.ta(|run| {
            assert_eq!(run.context.x[0], tally_abi::ta::entry::CLOSE_SESSION);
            Trap::ForeignInterrupt
        });
        world.on(Event::Interrupt, move |world| {
            assert_eq!(world.close(session), TeeResult::BAD_PARAMETERS);
            let reply = world.invoke(session, 0, &[]);
            assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
        });
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::BAD_PARAMETERS);
    });
}

/// Has the TA that runs next open a session to `target`; its id goes to `id`.
pub(super) fn ta_opens(world: &World, target: TeeUuid, id: &Arc<AtomicU32>) {
    let id = id.clone();
    world.ta(move |run| {
        let (uuid, out) = (run.stack(0), run.stack(16));
        run.store(uuid, target.as_bytes());
        run.store(out, &[0; 8]);
        run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
    });
    // The target's own entry, then the opener again.
    world.ta(|run| run.exit(TeeResult::SUCCESS));
    world.ta(move |run| {
        assert_eq!(run.result(), TeeResult::SUCCESS);
        let out = run.stack(16);
        id.store(run.load_u32(out), Relaxed);
        run.exit(TeeResult::SUCCESS)
    });
}

/// Has the TA that runs next invoke a session of its own.
pub(super) fn ta_invokes(world: &World, id: &Arc<AtomicU32>) {
    let id = id.clone();
    world.ta(move |run| {
        let origin = run.stack(0);
        let id = u64::from(id.load(Relaxed));
        run.call(svc::INVOKE_TA_COMMAND, &[id, 0, 0, 0, origin])
    });
}

#[test]
fn sessions_that_a_dead_ta_had_opened_are_closed() {
    leaves_nothing(|world| {
        let (session, inner) = (world.opened(SHARED), Arc::default());
        ta_opens(world, KEPT, &inner);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        world.ta(|run| {
            assert_eq!(run.context.x[0], tally_abi::ta::entry::CLOSE_SESSION);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        kill(world, KEPT);
    });
}

#[test]
fn a_dead_tas_session_to_its_own_caller_goes_too() {
    // Bug: the caller is in use by the same thread, so the session could not be closed, and
    // stayed with its target for ever.
    leaves_nothing(|world| {
        let ([caller, callee], [down, _]) = two_that_know_each_other(world);
        // Now the caller enters the callee, which dies.
        ta_invokes(world, &down);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::TARGET_DEAD);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(callee), TeeResult::SUCCESS);
        assert_eq!(world.close(caller), TeeResult::SUCCESS);
    });
}

/// Opens [`SHARED`] and [`KEPT`], and has each open the other: the sessions, and those that they have.
pub(super) fn two_that_know_each_other(world: &World) -> ([u32; 2], [Arc<AtomicU32>; 2]) {
    let sessions = [world.opened(SHARED), world.opened(KEPT)];
    let inner: [Arc<AtomicU32>; 2] = Default::default();
    for ((session, target), id) in sessions.iter().zip([KEPT, SHARED]).zip(&inner) {
        ta_opens(world, target, id);
        assert_eq!(world.invoke(*session, 0, &[]).result, TeeResult::SUCCESS);
    }
    (sessions, inner)
}

/// Kills all instances of a TA.
pub(super) fn kill(world: &World, uuid: TeeUuid) {
    assert_eq!(kills(world, uuid), 1);
}

/// Kills all instances of a TA; how many there were.
pub(super) fn kills(world: &World, uuid: TeeUuid) -> u64 {
    let echo = world.opened(ECHO);
    let at = PhysAddr(CLIENT.0 + 0x3_f000);
    world.write(at, &uuid.to_bytes());
    let reply = world.invoke(
        echo,
        2,
        &[
            memref(attr::TMEM_INPUT, at.0, 16, 0),
            value(attr::VALUE_OUTPUT, 0, 0),
        ],
    );
    assert_eq!(reply.result, TeeResult::SUCCESS);
    assert_eq!(world.close(echo), TeeResult::SUCCESS);
    reply.params[1].a
}

#[test]
fn two_tas_that_wait_for_each_other_are_told_busy() {
    // Bug: with a thread in each, both waited for ever.
    leaves_nothing(|world| {
        let ([first, second], [_, up]) = two_that_know_each_other(world);

        // Thread 0 is in the first and lets thread 1 into the second, which calls the first and
        // waits; meanwhile thread 0 calls the second. On the model's one stack thread 1 has to
        // be the one that closes the ring.
        world.ta(|_| Trap::ForeignInterrupt);
        let other = up.clone();
        world.on(Event::Interrupt, move |world| {
            // The first's wait for the second, as if it had come before.
            let mut state = world.kernel.state();
            let (_, kept) = state
                .guest_mut(GuestId::FIRST)
                .instances
                .iter_mut()
                .find(|(_, found)| found.uuid == KEPT)
                .unwrap();
            kept.waiters |= 1;
            drop(state);
            ta_invokes(world, &other);
            world.ta(|run| {
                assert_eq!(run.result(), TeeResult::BUSY);
                run.exit(TeeResult::SUCCESS)
            });
            assert_eq!(world.invoke(second, 0, &[]).result, TeeResult::SUCCESS);
        });
        assert_eq!(world.invoke(first, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(second), TeeResult::SUCCESS);
        assert_eq!(world.close(first), TeeResult::SUCCESS);
        kill(world, KEPT);
    });
}

#[test]
fn a_session_whose_results_have_nowhere_to_go_is_not_opened() {
    // Bug: with parameters that the TA cannot write, the call failed and the session stayed.
    leaves_nothing(|world| {
        let session = world.opened(MULTI);
        world.ta(|run| {
            let (uuid, out) = (run.stack(0), run.stack(16));
            run.store(uuid, SHARED.as_bytes());
            // The TA's code, which reads as parameters with an output.
            let code = run.context.pc & !0xfff;
            run.call(svc::OPEN_TA_SESSION, &[uuid, 0, code, out, out + 4])
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::ACCESS_DENIED);
            assert_eq!(
                run.world
                    .kernel
                    .state()
                    .guest(GuestId::FIRST)
                    .sessions
                    .iter()
                    .count(),
                1
            );
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn a_null_reference_is_null_whatever_its_size() {
    // Bug: refused with BAD_PARAMETERS, where OP-TEE takes it as empty.
    leaves_nothing(|world| {
        let session = world.opened(MULTI);
        world.ta(|run| {
            let params = run.params();
            assert_eq!(params.vals[..2], [0, 0]);
            run.exit(TeeResult::SUCCESS)
        });
        let params = [memref(attr::TMEM_INOUT, 0, 100, 0)];
        assert_eq!(world.invoke(session, 0, &params).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn a_reference_to_no_bytes_is_not_null_and_goes_on_to_other_tas() {
    // Bug: it was null, and tests of a buffer took it for one that was not given.
    leaves_nothing(|world| {
        let session = world.opened(MULTI);
        world.ta(|run| {
            let params = run.params();
            assert_ne!(params.vals[0], 0);
            assert_eq!(params.vals[1..4], [0, 0, 0]);
            let (uuid, out) = (run.stack(0), run.stack(16));
            run.store(uuid, SHARED.as_bytes());
            let params = run.context.x[2];
            run.call(svc::OPEN_TA_SESSION, &[uuid, 0, params, out, out + 4])
        });
        world.ta(|run| {
            let params = run.params();
            assert_ne!(params.vals[0], 0);
            assert_eq!(params.vals[1..4], [0, 0, 0]);
            run.exit(TeeResult::SUCCESS)
        });
        world.ta(|run| {
            let result = run.result();
            run.exit(result)
        });
        world.write(CLIENT, (CLIENT.0 + PAGE_SIZE as u64).as_bytes());
        let list = memref(
            attr::TMEM_OUTPUT | attr::NONCONTIG,
            CLIENT.0,
            PAGE_SIZE as u64,
            7,
        );
        let registered = world.send(header(cmd::REGISTER_SHM, 0, 0), &[list]);
        assert_eq!(registered.result, TeeResult::SUCCESS);
        // The first is of registered memory, at its end; the second of none.
        let params = [
            memref(attr::RMEM_INOUT, PAGE_SIZE as u64, 0, 7),
            memref(attr::TMEM_INOUT, 0, 0, 0),
        ];
        assert_eq!(world.invoke(session, 0, &params).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        let list = memref(attr::RMEM_INPUT, 0, 0, 7);
        let unregistered = world.send(header(cmd::UNREGISTER_SHM, 0, 0), &[list]);
        assert_eq!(unregistered.result, TeeResult::SUCCESS);
    });
}

#[test]
fn a_second_thread_waits_for_a_busy_ta_and_is_woken() {
    leaves_nothing(|world| {
        let (first, second) = (world.opened(SHARED), world.opened(SHARED));
        let _ = world.take_events();
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, move |world| {
            // The model has one stack: the first ends its wait by a failure, and gets BUSY.
            world.fail_event(Some(0));
            assert_eq!(world.invoke(second, 0, &[]).result, TeeResult::BUSY);
            // A wait that goes on: it is noted, and sent for when the TA is let go.
            let mut state = world.kernel.state();
            for (_, found) in state.guest_mut(GuestId::FIRST).instances.iter_mut() {
                assert_eq!(found.waiters, 0, "a failed wait is not waiting");
                found.waiters |= 1 << 3;
            }
        });
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        assert_eq!(world.invoke(first, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.take_woken(), [3]);
        assert_eq!(world.close(first), TeeResult::SUCCESS);
        assert_eq!(world.close(second), TeeResult::SUCCESS);
    });
}

#[test]
fn a_single_session_ta_is_busy_for_a_second_one_and_for_itself() {
    leaves_nothing(|world| {
        let session = world.opened(SINGLE);
        assert_eq!(world.open(SINGLE, &[]).result, TeeResult::BUSY);
        world.ta(|run| {
            let (uuid, out) = (run.stack(0), run.stack(16));
            run.store(uuid, SINGLE.as_bytes());
            run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::BUSY);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn a_kept_ta_lives_on_and_is_fresh_after_it_died() {
    leaves_nothing(|world| {
        let generation = |world: &World| {
            let state = world.kernel.state();
            state
                .guest(GuestId::FIRST)
                .instances
                .iter()
                .map(|(_, found)| found.generation)
                .max()
        };
        let session = world.opened(KEPT);
        let first = generation(world);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        assert_eq!(generation(world), first);
        let session = world.opened(KEPT);
        assert_eq!(generation(world), first);
        world.ta(|run| run.call(svc::PANIC, &[0]));
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
        let fresh = world.opened(KEPT);
        assert_ne!(generation(world), first);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        assert_eq!(world.close(fresh), TeeResult::SUCCESS);
        kill(world, KEPT);
    });
}

#[test]
fn a_ta_killed_while_idle_busy_or_loading_is_gone() {
    leaves_nothing(|world| {
        // Idle, with a session.
        let session = world.opened(SHARED);
        kill(world, SHARED);
        assert_eq!(kills(world, SHARED), 0);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        // Busy: it ends when it would go on.
        let session = world.opened(SHARED);
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, |world| kill(world, SHARED));
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        // Busy on another CPU, which is called out of the TA (bug: it ended with its next interrupt only).
        let session = world.opened(SHARED);
        world.ta(|run| {
            let machine = &run.world.kernel.machine;
            let before = machine.interrupted_others();
            kill(run.world, SHARED);
            assert_eq!(machine.interrupted_others(), before + 1);
            Trap::SecureInterrupt
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        // One that comes for somebody else does nothing.
        let session = world.opened(SHARED);
        world.ta(|_| Trap::SecureInterrupt);
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        // Asleep in a system call.
        let session = world.opened(SHARED);
        world.ta(|run| run.call(svc::WAIT, &[u64::from(u32::MAX)]));
        world.on(Event::Command(rpc::cmd::SUSPEND), |world| {
            kill(world, SHARED);
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        // Loading, at each of the calls that it takes.
        let requests = [rpc::cmd::SHM_ALLOC, rpc::cmd::LOAD_TA, rpc::cmd::SHM_FREE];
        for last in requests {
            for command in requests {
                let here = command == last;
                world.on(Event::Command(command), move |world| {
                    if here {
                        kill(world, MULTI);
                    }
                });
            }
            assert_eq!(world.open(MULTI, &[]).result, TeeResult::TARGET_DEAD);
        }
    });
}

#[test]
fn a_cancelled_operation_hears_of_it_once_it_unmasks() {
    leaves_nothing(|world| {
        let session = world.opened(SHARED);
        let cancel = move |world: &World, cancel_id| {
            let message = MsgHeader {
                cancel_id,
                ..header(cmd::CANCEL, session, 0)
            };
            assert_eq!(world.send(message, &[]).result, TeeResult::SUCCESS);
        };
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, move |world| {
            cancel(world, 4);
            cancel(world, 5);
        });
        let flag = |run: &mut Run<'_>| {
            let at = run.stack(0);
            run.call(svc::GET_CANCELLATION_FLAG, &[at])
        };
        world.ta(flag);
        world.ta(|run| {
            let at = run.stack(0);
            assert_eq!(run.load_u32(at), 0, "cancellation begins masked");
            run.call(svc::UNMASK_CANCELLATION, &[at])
        });
        world.ta(move |run| {
            let at = run.stack(0);
            assert_eq!(run.load_u32(at), 1, "it was masked");
            flag(run)
        });
        world.ta(|run| {
            let at = run.stack(0);
            assert_eq!(run.load_u32(at), 1, "it was cancelled");
            run.call(svc::WAIT, &[1000])
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::CANCEL);
            run.exit(TeeResult::CANCEL)
        });
        let message = MsgHeader {
            cancel_id: 5,
            ..header(cmd::INVOKE_COMMAND, session, 0)
        };
        assert_eq!(world.send(message, &[]).result, TeeResult::CANCEL);
        // The next operation is not cancelled, and begins masked again (bug: it did not).
        world.ta(|run| {
            let at = run.stack(0);
            run.call(svc::MASK_CANCELLATION, &[at])
        });
        world.ta(|run| {
            let at = run.stack(0);
            assert_eq!(run.load_u32(at), 1);
            run.call(svc::WAIT, &[25])
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::SUCCESS);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn instances_run_out_and_come_back() {
    leaves_nothing(|world| {
        // Small ones, as many as secure RAM has room for: refused for want of one or the other.
        let mut sessions = Vec::new();
        let refused = loop {
            let reply = world.open(MULTI, &[]);
            if reply.result != TeeResult::SUCCESS {
                break reply.result;
            }
            sessions.push(reply.session);
        };
        assert_eq!(refused, TeeResult::OUT_OF_MEMORY);
        assert!(sessions.len() <= crate::guest::MAX_INSTANCES);
        for session in sessions {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn opening_a_ta_of_its_own_waits_for_no_other_one_s_loading() {
    // Bug: whether a TA is shared is known once one is loaded, and still every loading was waited for.
    leaves_nothing(|world| {
        let first = world.opened(MULTI);
        let third = Arc::new(AtomicU32::new(0));
        let id = third.clone();
        world.on(Event::Command(rpc::cmd::LOAD_TA), move |world| {
            id.store(world.opened(MULTI), Relaxed);
        });
        let second = world.opened(MULTI);
        let waited = Event::Command(rpc::cmd::NOTIFICATION);
        assert!(!world.take_events().contains(&waited));
        for session in [first, second, third.load(Relaxed)] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn who_waited_for_a_loading_is_woken_before_the_ta_is_entered() {
    // Bug: the waiter slept through the first client's calls, without end if they had none.
    leaves_nothing(|world| {
        const WAITER: u32 = 5;
        world.on(Event::Command(rpc::cmd::LOAD_TA), |world| {
            let mut state = world.kernel.state();
            for (_, found) in state.guest_mut(GuestId::FIRST).instances.iter_mut() {
                found.waiters |= 1 << WAITER;
            }
        });
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, |world| {
            assert_eq!(world.take_woken(), [u64::from(WAITER)]);
        });
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        let session = world.opened(MULTI);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn a_ta_has_its_thread_pointer_in_each_call_and_nobody_elses() {
    leaves_nothing(|world| {
        let (caller, inner) = (world.opened(MULTI), Arc::default());
        ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        for (before, own, others) in [(0, 5, 0), (5, 6, 9)] {
            world.ta(move |run| {
                assert_eq!(run.context.tpidr, before);
                run.context.tpidr = own;
                Trap::SecureInterrupt
            });
            ta_invokes(world, &inner);
            world.ta(move |run| {
                assert_eq!(run.context.tpidr, others);
                run.context.tpidr = 9;
                run.exit(TeeResult::SUCCESS)
            });
            world.ta(move |run| {
                assert_eq!(run.context.tpidr, own);
                run.exit(TeeResult::SUCCESS)
            });
            assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        }
        assert_eq!(world.close(caller), TeeResult::SUCCESS);
    });
}
