//! Trusted storage of a TA, each block for which is refused in turn.

use crate::{CHARGED, alone, by_use, with_each_block_refused};
use std::sync::atomic::Ordering;
use tally_abi::storage::data_flag;
use tally_abi::ta::svc;
use tally_abi::{TeeResult, TeeUuid};
use tally_account::book::{Book, Shown};
use tally_account::testing::world;
use tally_core::testing::caller::Caller;

const TA: TeeUuid = TeeUuid::from_u128(0x11);
const OK: TeeResult = TeeResult::SUCCESS;
/// Codes of what has too little memory: some calls have one of their own.
const REFUSED: [TeeResult; 2] = [TeeResult::OUT_OF_MEMORY, TeeResult::GENERIC];

/// An object is made, read, written, cut off, listed, opened again, and deleted.
fn round(ta: &Caller<'_, Book>) -> Result<(), TeeResult> {
    let (at, out) = (ta.memory, ta.memory + 0x200);
    ta.store(at, b"name");
    let flags = data_flag::OF_CREATE & !(data_flag::SHARE_READ | data_flag::SHARE_WRITE);
    let args = [1, at, 4, flags.into(), 0, at, 5000];
    let object = ta.handle(svc::STORAGE_OBJ_CREATE, &args)?;
    let used = use_object(ta, object);
    let closed = ta.call(svc::CRYP_OBJ_CLOSE, &[object]);
    used?;
    closed.ok()?;
    let listing = ta.handle(svc::STORAGE_ENUM_ALLOC, &[])?;
    let listed = ta.call(svc::STORAGE_ENUM_START, &[listing, 1]).ok();
    let listed = listed.and_then(|()| {
        let args = [listing, ta.memory + 0x300, out, ta.memory + 0x400];
        ta.call(svc::STORAGE_ENUM_NEXT, &args).ok()
    });
    ta.expect(OK, svc::STORAGE_ENUM_FREE, &[listing]);
    listed?;
    let flags = data_flag::ACCESS_WRITE_META;
    let object = ta.handle(svc::STORAGE_OBJ_OPEN, &[1, at, 4, flags.into()])?;
    // It closes the object, whatever it says.
    ta.call(svc::STORAGE_OBJ_DEL, &[object]).ok()
}

fn use_object(ta: &Caller<'_, Book>, object: u64) -> Result<(), TeeResult> {
    let count = ta.memory + 0x500;
    for (number, args) in [
        (svc::STORAGE_OBJ_READ, vec![object, ta.memory, 5000, count]),
        (svc::STORAGE_OBJ_WRITE, vec![object, ta.memory, 5000]),
        (svc::STORAGE_OBJ_TRUNC, vec![object, 100]),
    ] {
        ta.call(number, &args).ok()?;
    }
    Ok(())
}

#[test]
fn whichever_block_of_trusted_storage_is_refused_nothing_is_left_behind() {
    let _alone = alone();
    let world = world(tally_pta::ALL, Shown::default());
    world.install(TA, 0, 300);
    let (before, pages) = (world.accounts(), by_use(&world));
    let blocks = CHARGED.load(Ordering::Relaxed);
    let ta = Caller::new(&world, TA);
    // Once it has had something, the table of what it has stays.
    assert_eq!(round(&ta), Ok(()));
    let refused = with_each_block_refused(
        || round(&ta),
        // What is only kept to save time can be done without.
        |done| done.map_or_else(|err| REFUSED.contains(&err), |()| true),
    );
    assert!(refused >= 40, "{refused}");
    ta.close();
    assert_eq!(CHARGED.load(Ordering::Relaxed), blocks);
    assert_eq!((world.accounts(), by_use(&world)), (before, pages));
}
