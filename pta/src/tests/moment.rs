//! Snapshots of one moment, taken while TAs come and go.

use super::watch::{drop_it, rows_of, take, whole};
use super::*;
use std::ops::Range;
use std::sync::Mutex;
use tally_abi::pta::watch;
use tally_abi::rpc;
use tally_core::testing::world::Event;
use tally_records::snapshot::Header;
use tally_records::{PoolRow, TaDetail, consistency, pool_kind, state};

/// Uses, owners and TAs of a snapshot add up.
fn adds_up(snapshot: &[u8]) {
    let (header, _) = Header::read_from_prefix(snapshot).unwrap();
    assert_eq!(header.dropped, 0);
    let uses: Vec<MeminfoRow> = rows_of(snapshot);
    let owners: Vec<OwnerRow> = rows_of(snapshot);
    let tas: Vec<TaDetail> = rows_of(snapshot);
    assert_eq!(
        uses.iter().map(|row| row.bytes).sum::<u64>(),
        header.secure_ram
    );
    let owned: u64 = owners.iter().map(|row| u64::from(row.pages)).sum();
    let all: u64 = uses.iter().map(|row| row.pages).sum();
    assert_eq!(owned + uses[0].pages, all, "what is not free is somebody's");
    for ta in &tas {
        let owner = owners.iter().find(|row| row.uuid == ta.uuid);
        let owned = owner.map_or(0, |row| u64::from(row.pages) * 4096);
        let by_region = ta.uss + ta.tables;
        assert_eq!(by_region, owned, "{} by region and by owner", ta.uuid);
    }
    let pools: Vec<PoolRow> = rows_of(snapshot);
    assert_eq!(pools.len(), 2 + tas.len());
    for (ta, row) in tas.iter().zip(&pools[2..]) {
        assert_eq!(ta.heap.as_bytes(), row.pool.as_bytes());
        assert_eq!(row.pool.owner, ta.uuid);
        assert_eq!((row.kind, row.instance), (pool_kind::TA_HEAP, ta.instance));
    }
    // What a walk alone tells.
    let walked = tas.iter().find(|ta| ta.uuid == TA).unwrap();
    let is_changing = walked.heap.inconsistent == consistency::CHANGING;
    assert!(is_changing || walked.heap.largest_free != 0);
}

#[test]
fn a_snapshot_is_of_one_moment_whatever_comes_and_goes_meanwhile() {
    let others = [0x81, 0x82, 0x83, 0x84, 0x85, 0x86].map(TeeUuid::from_u128);
    with(watch::UUID, |world, session| {
        let first = TeeUuid::from_u128(0x80);
        world.install(first, 0, 100);
        let first = world.opened(first);
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100]);
        let ta = ta_with_pool(world, image, &[]);
        for uuid in others {
            world.install(uuid, 0, 100);
        }
        let opened: Arc<Mutex<Vec<u32>>> = Arc::default();
        let open = move |world: &World, which: Range<usize>, opened: &Mutex<Vec<u32>>| {
            let sessions = others[which].iter().map(|uuid| world.opened(*uuid));
            *opened.lock().unwrap() = sessions.collect();
        };
        let close = |world: &World, opened: &Mutex<Vec<u32>>| {
            for session in std::mem::take(&mut *opened.lock().unwrap()) {
                assert_eq!(world.close(session), TeeResult::SUCCESS);
            }
        };
        // Whenever interrupts come through, a TA begins, or more do than there is room made for, or
        // they end, or one takes the place of another.
        for (before, then) in [(0..0, 0..1), (0..0, 0..6), (0..6, 0..0), (0..1, 1..2)] {
            let mut n = 0;
            loop {
                open(world, before.clone(), &opened);
                let (list, then) = (opened.clone(), then.clone());
                world.at_interrupt(n, move |world| {
                    close(world, &list);
                    open(world, then, &list);
                });
                let (result, number, _) = take(world, session);
                let met = !world.forget_interrupt();
                assert_eq!(result, TeeResult::SUCCESS);
                adds_up(&whole(world, session, number, 1 << 17));
                assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
                close(world, &opened);
                if !met {
                    break;
                }
                n += 1;
            }
            assert!(n > 12, "snapshots let interrupts through");
        }
        for session in [first, ta] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn a_heap_that_grows_during_a_snapshot_is_of_the_moment_or_said_to_be_changing() {
    // Bug: its figures were those of before the moment, beside the memory that it had at that moment.
    with(watch::UUID, |world, session| {
        let mut changed = 0;
        for n in 0..16 {
            let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100]);
            let ta = ta_with_pool(world, image, &[]);
            world.at_interrupt(n, move |world| {
                let (image, _) = tally_ledger::fuzzing::image(HEAP + 8192, &[100, 200, 300]);
                world.ta(|run| run.call(svc::tally::HEAP_GROW, &[(HEAP + 8192) as u64, 0]));
                world.ta(move |run| {
                    let at = run.stack(0);
                    let base = run.load_u64(at);
                    run.store(base, &image);
                    run.exit(TeeResult::SUCCESS)
                });
                assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
            });
            let (result, number, _) = take(world, session);
            let _ = world.forget_interrupt();
            assert_eq!(result, TeeResult::SUCCESS);
            let snapshot = whole(world, session, number, 1 << 17);
            assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
            adds_up(&snapshot);
            let tas: Vec<TaDetail> = rows_of(&snapshot);
            let ta_row = tas.iter().find(|row| row.uuid == TA).unwrap();
            let pool = u64::from(ta_row.heap.alloc.size) + ta_row.heap.tables;
            assert_eq!(ta_row.heap_committed, pool, "at interrupt {n}");
            changed += u32::from(ta_row.heap.inconsistent == consistency::CHANGING);
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
        }
        assert!((1..16).contains(&changed), "{changed}");
    });
}

#[test]
fn pages_that_changed_hands_during_a_snapshot_are_said_to_be_changing() {
    const LATER: TeeUuid = TeeUuid::from_u128(0x81);
    with(watch::UUID, |world, session| {
        world.install(LATER, 0, 100);
        let mut seen = [0; 2];
        for n in 0..16 {
            let opened: Arc<Mutex<Option<u32>>> = Arc::default();
            let later = opened.clone();
            world.at_interrupt(n, move |world| {
                *later.lock().unwrap() = Some(world.opened(LATER))
            });
            let (result, number, _) = take(world, session);
            let met = !world.forget_interrupt();
            assert_eq!(result, TeeResult::SUCCESS);
            let pools: Vec<PoolRow> = rows_of(&whole(world, session, number, 1 << 17));
            assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
            let pages = pools.iter().find(|row| row.kind == pool_kind::TA_MEMORY);
            let is_changing = pages.unwrap().pool.inconsistent == consistency::CHANGING;
            assert!(met || !is_changing, "nothing changed");
            seen[usize::from(is_changing)] += 1;
            let opened = opened.lock().unwrap().take();
            if let Some(opened) = opened {
                assert_eq!(world.close(opened), TeeResult::SUCCESS);
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    });
}

#[test]
fn a_ta_that_is_being_loaded_is_in_a_snapshot_and_has_no_pool_yet() {
    const LATER: TeeUuid = TeeUuid::from_u128(0x81);
    with(watch::UUID, |world, session| {
        world.install(LATER, 0, 100);
        let ta = world.opened(TA);
        world.on(Event::Command(rpc::cmd::LOAD_TA), move |world| {
            let (result, number, _) = take(world, session);
            assert_eq!(result, TeeResult::SUCCESS);
            let snapshot = whole(world, session, number, 1 << 17);
            let tas: Vec<TaDetail> = rows_of(&snapshot);
            let told: Vec<_> = tas.iter().map(|ta| (ta.uuid, ta.state)).collect();
            assert_eq!(told, [(TA, state::IDLE), (LATER, state::LOADING)]);
            let pools: Vec<PoolRow> = rows_of(&snapshot);
            let told: Vec<_> = pools.iter().map(PoolRow::instance).collect();
            assert_eq!(told, [None, None, Some(tas[0].instance)]);
            assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
        });
        let later = world.opened(LATER);
        for session in [ta, later] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}
