//! TAs: loaded, entered, killed, and gone.

use super::*;
use crate::machine::Trap;
use crate::testing::world::Event;

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
fn only_session(world: &World) -> u32 {
    let state = world.kernel.state();
    let ids: Vec<u32> = state.guest.sessions.iter().map(|(_, s)| s.id).collect();
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
