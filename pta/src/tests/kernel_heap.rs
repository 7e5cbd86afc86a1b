//! Accounts of the kernel heap by owner, in lists and in snapshots.
//!
//! **Invariant:** every test compares the accounts before and after.

use super::watch::{drop_it, rows_of, take, whole};
use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tally_abi::pta::watch;
use tally_abi::ta::flags;
use tally_account::testing::world_charging;
use tally_mem::owner::OwnerId;
use tally_records::TaDetail;
use tally_records::snapshot::Header;

/// Bytes and blocks that the model's kernel heap has of an owner.
fn charged(owner: OwnerId) -> (u32, u32) {
    let number = u32::from(owner.0);
    (0x1_0000 + 100 * number, 10 + number)
}

/// Runs `test` in a world whose kernel heap has something of every owner while the switch is on, with a TA of two
/// sessions, and sessions to the inspector and for snapshots.
fn with_charges(test: impl FnOnce(&Arc<World>, [u32; 2], &AtomicBool)) {
    let charges = Arc::new(AtomicBool::new(false));
    let seen = charges.clone();
    let account = move |owner| match seen.load(Ordering::Relaxed) {
        true => charged(owner),
        false => (0, 0),
    };
    let world = world_charging(crate::ALL, Shown::default(), Arc::new(account));
    world.install(TA, flags::SINGLE_INSTANCE | flags::MULTI_SESSION, 100);
    let before = world.accounts();
    let sessions = [TA, TA, inspect::UUID, watch::UUID].map(|uuid| world.opened(uuid));
    charges.store(true, Ordering::Relaxed);
    test(&world, [sessions[2], sessions[3]], &charges);
    // Who has something would stay an owner.
    charges.store(false, Ordering::Relaxed);
    for session in sessions {
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    }
    assert_eq!(world.accounts(), before);
}

/// A list that comes in one part, without another session.
fn at_once<T: Record>(world: &World, session: u32) -> Vec<T> {
    let (result, _, next, len) = part_of::<T>(world, session, &Selector::ALL, 0, 8192);
    assert_eq!((result, next), (TeeResult::SUCCESS, 0));
    records(world, len)
}

#[test]
fn a_list_of_owners_leaves_out_what_it_takes_itself() {
    with_charges(|world, [session, _], _| {
        let owners: Vec<OwnerRow> = at_once(world, session);
        let own = (owners.len() * size_of::<OwnerRow>()) as u32;
        for row in owners {
            let owner = OwnerId(row.number as u16);
            let (bytes, blocks) = charged(owner);
            let expected = match owner {
                OwnerId::STATS => (bytes - own, blocks - 1),
                _ => (bytes, blocks),
            };
            assert_eq!((row.heap_bytes, row.heap_blocks), expected, "{owner:?}");
        }
    });
}

#[test]
fn a_tas_kernel_heap_is_its_own_and_its_sessions() {
    with_charges(|world, [inspect, watch], _| {
        let adds_up = |tas: &[TaDetail], owners: &[OwnerRow]| {
            let own = || owners.iter().filter(|row| row.uuid == TA);
            assert_eq!(own().count(), 3, "the instance and two sessions");
            let bytes: u64 = own().map(|row| u64::from(row.heap_bytes)).sum();
            let blocks: u64 = own().map(|row| u64::from(row.heap_blocks)).sum();
            assert_eq!((tas[0].kernel_heap, tas[0].kernel_blocks), (bytes, blocks));
        };
        adds_up(&at_once(world, inspect), &at_once(world, inspect));
        let (result, number, _) = take(world, watch);
        assert_eq!(result, TeeResult::SUCCESS);
        let snapshot = whole(world, watch, number, 1 << 17);
        adds_up(&rows_of(&snapshot), &rows_of(&snapshot));
        assert_eq!(drop_it(world, watch, number), TeeResult::SUCCESS);
    });
}

/// Opens a session at each of these interrupts, counted from the one before.
fn open_at(world: &World, gaps: [usize; 3], from: usize, opened: Arc<Mutex<Vec<u32>>>) {
    if let Some(gap) = gaps.get(from) {
        world.at_interrupt(*gap, move |world| {
            let session = world.opened(stats::UUID);
            opened.lock().unwrap().push(session);
            open_at(world, gaps, from + 1, opened);
        });
    }
}

#[test]
fn a_snapshot_has_room_for_a_few_owners_that_come_whenever_it_looks() {
    with_charges(|world, [_, watch], charges| {
        // More than there are interrupts while it looks once.
        const MOST: usize = 6;
        for n in 0..MOST * MOST * MOST {
            let gaps = [n / MOST / MOST, n / MOST % MOST, n % MOST];
            let opened: Arc<Mutex<Vec<u32>>> = Arc::default();
            open_at(world, gaps, 0, opened.clone());
            let (result, number, _) = take(world, watch);
            world.forget_interrupt();
            assert_eq!(result, TeeResult::SUCCESS);
            let snapshot = whole(world, watch, number, 1 << 17);
            let (header, _) = Header::read_from_prefix(&snapshot).unwrap();
            assert_eq!(header.dropped, 0, "{gaps:?}");
            assert_eq!(drop_it(world, watch, number), TeeResult::SUCCESS);
            charges.store(false, Ordering::Relaxed);
            for session in std::mem::take(&mut *opened.lock().unwrap()) {
                assert_eq!(world.close(session), TeeResult::SUCCESS);
            }
            charges.store(true, Ordering::Relaxed);
        }
    });
}
