//! TAs: loaded, entered, killed, and gone.

use super::*;

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
