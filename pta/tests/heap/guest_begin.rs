//! The beginning of a guest for which there is not enough memory.

use crate::{CHARGED, REFUSED_AFTER, alone, by_use};
use std::sync::atomic::Ordering;
use tally_abi::TeeResult;
use tally_abi::pta::memleak;
use tally_abi::smc::ret;
use tally_account::book::Shown;
use tally_account::testing::world;
use tally_core::call::guest_life::GuestEnd;
use tally_core::guest_id::GuestId;
use tally_core::testing::world::header;

#[test]
fn a_guest_whose_beginning_is_refused_any_block_is_not_there_and_has_nothing() {
    let _alone = alone();
    let world = world(tally_pta::ALL, Shown::default());
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    let charged = || CHARGED.load(Ordering::Relaxed);
    let before = (charged(), by_use(&world));
    for blocks in 0.. {
        REFUSED_AFTER.store(blocks, Ordering::Relaxed);
        let begun = world.kernel.begin_guest(GuestId::FIRST);
        REFUSED_AFTER.store(-1, Ordering::Relaxed);
        if begun.is_ok() {
            assert!(blocks > 5, "a guest takes many blocks");
            break;
        }
        assert_eq!((charged(), by_use(&world)), before, "block {blocks}");
        assert_eq!(world.kernel.state().guest(GuestId::FIRST).ta_quota_pages, 0);
        let refused = world.send(header(tally_abi::msg::cmd::CANCEL, 0, 0), &[]);
        assert_eq!(refused.code, ret::ENOTAVAIL);
    }
    let session = world.opened(memleak::UUID);
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    assert_eq!((charged(), by_use(&world)), before);
}
