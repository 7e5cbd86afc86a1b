//! The end of a guest while its TAs run.

use super::*;
use crate::call::guest_life::GuestEnd;
use crate::guest_id::GuestId;
use tally_mem::machine::Trap;

#[test]
fn a_ta_that_runs_on_another_cpu_is_called_out_when_its_guest_ends_and_never_goes_on() {
    let world = world();
    let session = world.opened(SHARED);
    world.ta(|run| {
        let kernel = &run.world.kernel;
        let before = kernel.machine.interrupted_others();
        assert_eq!(kernel.end_guest(GuestId::FIRST), GuestEnd::Threads(1));
        assert_eq!(kernel.machine.interrupted_others(), before + 1);
        Trap::SecureInterrupt
    });
    world.ta(|run| run.exit(TeeResult::SUCCESS));
    let _ = world.invoke(session, 0, &[]);
    assert_eq!(world.ta_steps_left(), 1, "it did not go on");
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    let state = world.kernel.state();
    assert_eq!(state.pages.check(), Ok(()));
    let guest = state.guest(GuestId::FIRST);
    assert_eq!(guest.sessions.iter().count(), 0);
    assert_eq!(guest.instances.iter().count(), 0);
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
