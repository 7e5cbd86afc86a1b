//! Faults of TAs: what is populated, and what ends them.

use super::*;
use tally_mem::machine::{Abort, Access, Trap};
use tally_mem::region::WINDOW_END;

/// What a client hears of a TA that touches what is so far from its stack pointer, or elsewhere.
fn touches(
    world: &World,
    session: u32,
    place: Result<i64, u64>,
    access: Access,
    translation: bool,
) -> TeeResult {
    world.ta(move |run| {
        let va = place.map_or_else(
            |va| va,
            |from_sp| run.context.sp.wrapping_add_signed(from_sp),
        );
        Trap::Abort(Abort {
            va,
            esr: 0,
            access,
            translation,
        })
    });
    world.ta(|run| run.exit(TeeResult::BAD_STATE));
    let told = world.invoke(session, 0, &[]).result;
    world.clear_ta_steps();
    told
}

#[test]
fn a_ta_goes_on_where_it_may_touch_what_was_not_there_and_ends_elsewhere() {
    const GOES_ON: TeeResult = TeeResult::BAD_STATE;
    const ENDS: TeeResult = TeeResult::TARGET_DEAD;
    for (place, access, translation, told) in [
        (Ok(-4096), Access::Write, true, GOES_ON),
        (Ok(-4096), Access::Read, true, GOES_ON),
        (Ok(-4096), Access::Execute, true, ENDS),
        // Whatever may be touched there: this fault comes back for ever.
        (Ok(-4096), Access::Write, false, ENDS),
        (Ok(1 << 30), Access::Read, true, ENDS),
        (Err(0), Access::Read, true, ENDS),
        (Err(WINDOW_END.0), Access::Write, true, ENDS),
        (Err(u64::MAX), Access::Execute, true, ENDS),
    ] {
        with_session(|world, session| {
            let heard = touches(world, session, place, access, translation);
            assert_eq!(heard, told, "{place:x?} {access:?} {translation}");
        });
    }
}
