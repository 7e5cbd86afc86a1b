//! Owners that the kernel's blocks are charged to.

use crate::{WATCHED_BYTES, WATCHED_OWNER, alone, when_rows_are_made_room_for};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tally_abi::msg::attr;
use tally_abi::pta::{inspect, stats};
use tally_abi::{TeeResult, TeeUuid};
use tally_account::book::{Book, Shown};
use tally_account::testing::{world, world_charging};
use tally_core::guest_id::GuestId;
use tally_core::pta::{PseudoTa, Step, Work};
use tally_core::testing::world::{CLIENT, memref, value};
use tally_mem::addr::PhysAddr;
use tally_mem::owner::OwnerId;
use tally_records::{OwnerRow, Record, Selector};
use zerocopy::{FromBytes, IntoBytes};

const KEEPS: TeeUuid = TeeUuid::from_u128(0x66);
/// Words that the pseudo-TA keeps of a session: so many bytes nothing else takes.
const WORDS: usize = 1037;

/// Keeps a state of each session.
const KEEPS_TA: PseudoTa<Book> = PseudoTa {
    uuid: KEEPS,
    name: "keeps",
    work: Work::Alone(|session, step| match step {
        Step::Open => session.with_state(|words: &mut [u64; WORDS]| words[0] = 1),
        Step::Invoke(..) | Step::Close => Ok(()),
    }),
};

#[test]
fn the_state_that_a_pseudo_ta_keeps_of_a_session_is_the_sessions() {
    let _alone = alone();
    let world = world(&[KEEPS_TA], Shown::default());
    let before = world.accounts();
    WATCHED_BYTES.store(WORDS * size_of::<u64>(), Ordering::Relaxed);
    let session = world.opened(KEEPS);
    WATCHED_BYTES.store(0, Ordering::Relaxed);
    let owner = {
        let state = world.kernel.state();
        let mut sessions = state.guest(GuestId::FIRST).sessions.iter();
        sessions.next().unwrap().1.owner
    };
    assert_eq!(OwnerId(WATCHED_OWNER.load(Ordering::Relaxed)), owner);
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    assert_eq!(world.accounts(), before);
}

#[test]
fn a_list_of_owners_has_room_for_those_that_came_while_room_was_made() {
    let _alone = alone();
    let charges = Arc::new(AtomicBool::new(false));
    let seen = charges.clone();
    let has = move |_| match seen.load(Ordering::Relaxed) {
        true => (0x1_0000, 10),
        false => (0, 0),
    };
    let world = world_charging(tally_pta::ALL, Shown::default(), Arc::new(has));
    let before = world.accounts();
    let session = world.opened(inspect::UUID);
    charges.store(true, Ordering::Relaxed);
    let came = Arc::new(AtomicU32::new(0));
    let (beside, told) = (world.clone(), came.clone());
    when_rows_are_made_room_for(size_of::<OwnerRow>(), move || {
        told.store(beside.opened(stats::UUID), Ordering::Relaxed);
    });
    let place = PhysAddr(CLIENT.0 + 8 * 4096);
    world.write(place, Selector::ALL.as_bytes());
    let params = [
        value(attr::VALUE_INOUT, OwnerRow::SECTION.into(), 0),
        memref(attr::TMEM_INPUT, place.0, size_of::<Selector>() as u64, 0),
        value(attr::VALUE_INOUT, 0, 0),
        memref(attr::TMEM_OUTPUT, CLIENT.0, 8192, 0),
    ];
    let reply = world.invoke(session, inspect::CMD_LIST, &params);
    assert_eq!(reply.result, TeeResult::SUCCESS);
    let bytes = world.read(CLIENT, reply.params[3].b as usize);
    let rows = bytes.chunks(size_of::<OwnerRow>());
    let owners: Vec<OwnerRow> = rows
        .map(|row| OwnerRow::read_from_bytes(row).unwrap())
        .collect();
    let came = came.load(Ordering::Relaxed);
    assert!(owners.iter().any(|row| row.session == came && came != 0));
    // The list is in one block, which has room for it and no more: nothing was taken while the time stood still.
    let statistics = u32::from(OwnerId::STATS.0);
    let statistics = owners.iter().find(|row| row.number == statistics).unwrap();
    let own = (owners.len() * size_of::<OwnerRow>()) as u32;
    assert_eq!(
        (statistics.heap_bytes, statistics.heap_blocks),
        (0x1_0000 - own, 9)
    );
    charges.store(false, Ordering::Relaxed);
    for session in [came, session] {
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    }
    assert_eq!(world.accounts(), before);
}
