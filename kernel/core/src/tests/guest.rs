//! The end of a guest while its TAs run.

use super::*;
use crate::call::entry::Entry;
use crate::call::guest_life::GuestEnd;
use crate::guest_id::GuestId;
use tally_abi::smc::{FunctionId, ret};
use tally_mem::machine::Trap;

#[test]
fn a_ta_that_runs_on_another_cpu_is_called_out_when_its_guest_ends_and_never_goes_on() {
    let world = world();
    let before = world.accounts();
    let session = world.opened(SHARED);
    world.ta(|run| {
        let kernel = &run.world.kernel;
        let before = kernel.machine.interrupted_others();
        assert_eq!(kernel.end_guest(GuestId::FIRST), GuestEnd::Threads(1));
        assert_eq!(kernel.machine.interrupted_others(), before + 1);
        Trap::SecureInterrupt
    });
    world.ta(|run| run.exit(TeeResult::SUCCESS));
    let reply = world.invoke(session, 0, &[]);
    // No word of its memory was written.
    assert_eq!((reply.code, reply.result.0), (ret::OK, 0));
    assert_eq!(world.ta_steps_left(), 1, "it did not go on");
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    let state = world.kernel.state();
    assert_eq!(state.pages.check(), Ok(()));
    let guest = state.guest(GuestId::FIRST);
    assert_eq!(guest.sessions.iter().count(), 0);
    assert_eq!(guest.instances.iter().count(), 0);
    drop(state);
    assert_eq!(world.kernel.begin_guest(GuestId::FIRST), Ok(()));
    same(&world, &before);
}

#[test]
fn a_guest_that_has_ended_is_told_so_whatever_it_calls() {
    let world = world();
    let before = world.accounts();
    for uuid in [MULTI, KEPT, ECHO] {
        world.opened(uuid);
    }
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    let refused = [u64::from(ret::ENOTAVAIL), 0, 0, 0];
    for function in [
        FunctionId::CALL_WITH_ARG,
        FunctionId::CALL_WITH_RPC_ARG,
        FunctionId::CALL_WITH_REGD_ARG,
    ] {
        let call = [u64::from(function.0), 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(world.kernel.yield_entry(&call), Entry::Reply(refused));
        // Its end began after the call had a thread.
        assert_eq!(world.kernel.yielding_call(&call), refused);
    }
    assert_eq!(world.kernel.begin_guest(GuestId::FIRST), Ok(()));
    same(&world, &before);
    let session = world.opened(ECHO);
    assert_eq!(world.close(session), TeeResult::SUCCESS);
}

#[test]
fn a_guest_that_is_there_stays_as_it_is_when_it_is_begun_again() {
    leaves_nothing(|world| {
        let session = world.opened(SHARED);
        assert_eq!(world.kernel.begin_guest(GuestId::FIRST), Ok(()));
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}
