//! Snapshots as clients reach them.
//!
//! **Invariant:** every test compares the accounts before and after.

use super::*;
use tally_abi::pta::watch;
use tally_account::inspector::Inspector;
use tally_core::guest_id::GuestId;
use tally_ledger::{ALARM_OFFSET, Config, Tracking};
use tally_mem::injection::Injection;
use tally_records::snapshot::{Header, MAGIC, Section, VERSION};
use tally_records::{Record, SiteRow, SnapshotRow, TaDetail, pool_kind, snapshot_state, trigger};

const OUT: MsgParam = value(attr::VALUE_OUTPUT, 0, 0);

pub(super) fn take(world: &World, session: u32) -> (TeeResult, u64, u64) {
    let reply = world.invoke(session, watch::CMD_TAKE, &[OUT]);
    (reply.result, reply.params[0].a, reply.params[0].b)
}

pub(super) fn drop_it(world: &World, session: u32, number: u64) -> TeeResult {
    let which = [value(attr::VALUE_INPUT, number, 0)];
    world.invoke(session, watch::CMD_DROP, &which).result
}

/// A whole snapshot, read in pieces of `piece` bytes.
pub(super) fn whole(world: &World, session: u32, number: u64, piece: u64) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let from = value(attr::VALUE_INPUT, number, all.len() as u64);
        let reply = world.invoke(session, watch::CMD_READ, &[from, out(piece)]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        let len = reply.params[1].b;
        all.extend(world.read(CLIENT, len as usize));
        if len < piece {
            return all;
        }
    }
}

/// The records of one section of a snapshot, all of which must be well-formed.
pub(super) fn rows_of<T: Record>(snapshot: &[u8]) -> Vec<T> {
    let (header, mut rest) = Header::read_from_prefix(snapshot).unwrap();
    assert_eq!((header.magic, header.version), (MAGIC, VERSION));
    assert_eq!(header.header_bytes as usize, size_of::<Header>());
    assert_eq!(header.total_bytes as usize, snapshot.len());
    let mut found = None;
    while !rest.is_empty() {
        let (section, records) = Section::read_from_prefix(rest).unwrap();
        let len = section.record_bytes as usize;
        assert!(len.is_multiple_of(8));
        let (records, behind) = records.split_at(len * section.count as usize);
        if section.kind == T::SECTION {
            let rows = records.chunks(len);
            found = Some(rows.map(|row| T::read_from_bytes(row).unwrap()).collect());
        }
        rest = behind;
    }
    found.unwrap()
}

#[test]
fn a_snapshot_is_taken_read_in_pieces_and_dropped() {
    with(watch::UUID, |world, session| {
        let ta = ta_with_heap(world, b"no heap at all");
        let (result, number, bytes) = take(world, session);
        assert_eq!(result, TeeResult::SUCCESS);
        let snapshot = whole(world, session, number, 4096);
        assert_eq!(snapshot.len() as u64, bytes);
        for piece in [1 << 17, 40, 1000] {
            assert_eq!(whole(world, session, number, piece), snapshot);
        }
        let (header, _) = Header::read_from_prefix(&snapshot).unwrap();
        let uses = rows_of::<MeminfoRow>(&snapshot);
        let sum: u64 = uses.iter().map(|row| row.bytes).sum();
        assert_eq!(sum, header.secure_ram);
        assert_eq!(header.build, tally_account::testing::BUILD);
        let look = Inspector {
            kernel: &world.kernel,
            guest: GuestId::FIRST,
        };
        assert!(header.boot != 0 && header.boot == look.boot());
        let pools = rows_of::<PoolRow>(&snapshot);
        let kinds = pools.iter().map(|row| row.kind);
        let all = [
            pool_kind::KERNEL_HEAP,
            pool_kind::TA_MEMORY,
            pool_kind::TA_HEAP,
        ];
        assert!(kinds.eq(all));
        let tas = rows_of::<TaDetail>(&snapshot);
        assert_eq!(pools[2].instance(), Some(tas[0].instance));
        assert_eq!(rows_of::<LeakRecord>(&snapshot).len(), 1);
        assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
        assert_eq!(drop_it(world, session, number), TeeResult::ITEM_NOT_FOUND);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn there_are_so_many_snapshots_at_a_time() {
    with(watch::UUID, |world, session| {
        let numbers: Vec<u64> = (0..watch::SLOTS)
            .map(|_| {
                let (result, number, _) = take(world, session);
                assert_eq!(result, TeeResult::SUCCESS);
                number
            })
            .collect();
        assert_eq!(take(world, session).0, TeeResult::OUT_OF_MEMORY);
        let rows: Vec<SnapshotRow> = rows(world);
        assert!(
            rows.iter()
                .map(|row| u64::from(row.number))
                .eq(numbers.iter().copied())
        );
        assert!(rows.iter().all(|row| row.state == snapshot_state::TAKEN));
        for number in numbers {
            assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn what_is_no_snapshot_is_refused() {
    with(watch::UUID, |world, session| {
        let (_, number, bytes) = take(world, session);
        let read = |number, offset| {
            let from = value(attr::VALUE_INPUT, number, offset);
            world.invoke(session, watch::CMD_READ, &[from, out(64)])
        };
        assert_eq!(read(number, bytes).result, TeeResult::SUCCESS);
        assert_eq!(read(number, bytes).params[1].b, 0);
        for offset in [bytes + 1, u64::from(u32::MAX)] {
            assert_eq!(read(number, offset).result, TeeResult::BAD_PARAMETERS);
        }
        assert_eq!(read(number + 1, 0).result, TeeResult::ITEM_NOT_FOUND);
        assert_eq!(drop_it(world, session, 0), TeeResult::ITEM_NOT_FOUND);
        assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
    });
}

#[test]
fn a_snapshot_without_memory_leaves_nothing() {
    with(watch::UUID, |world, session| {
        for failing in 0.. {
            world.kernel.state().pages.fail_nth(Some(failing));
            let (result, number, _) = take(world, session);
            let not_met = world.kernel.state().pages.failure_pending();
            world.kernel.state().pages.fail_nth(None);
            match result {
                TeeResult::SUCCESS => {
                    assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
                    if not_met {
                        break;
                    }
                }
                refused => assert_eq!(refused, TeeResult::OUT_OF_MEMORY),
            }
            assert!(rows::<SnapshotRow>(world).is_empty());
        }
    });
}

#[test]
fn a_site_that_is_not_counted_has_one_row_however_many_blocks_it_has() {
    let light = Config {
        tracking: Tracking::Light,
        depth: 1,
        ..Config::TA
    };
    with(watch::UUID, |world, session| {
        // More blocks than one step of a walk looks at.
        let (image, blocks) = tally_ledger::fuzzing::image_as(&light, HEAP, &[8; 700]);
        let ta = ta_with_pool(world, image, &[]);
        let (_, number, _) = take(world, session);
        let sites = rows_of::<SiteRow>(&whole(world, session, number, 4096));
        let figures: Vec<_> = sites
            .iter()
            .filter(|row| row.pool == TA)
            .map(|row| (row.live_blocks, row.live_bytes))
            .collect();
        assert_eq!(figures, [(blocks.len() as u64, 8 * 700)]);
        assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

fn arm(world: &World, session: u32, trigger: u32, wanted: u64) -> u64 {
    let place = PhysAddr(CLIENT.0 + 8 * 4096);
    world.write(place, &TA.to_bytes());
    let params = [
        memref(attr::TMEM_INPUT, place.0, 16, 0),
        value(attr::VALUE_INPUT, trigger.into(), wanted),
        OUT,
    ];
    let reply = world.invoke(session, watch::CMD_ARM, &params);
    assert_eq!(reply.result, TeeResult::SUCCESS);
    reply.params[2].a
}

#[test]
fn a_heap_that_the_command_itself_creates_is_watched() {
    with(watch::UUID, |world, session| {
        let number = arm(world, session, trigger::HEAP, 10);
        // The TA finds the alarm where it will have its pool.
        let ta = ta_with_heap(world, &[]);
        world.ta(|run| {
            let heap = run.load_u64(run.stack(0));
            assert_eq!(run.load_u64(heap + ALARM_OFFSET as u64), 10);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_watchpoint_above_no_bytes_keeps_the_others_from_nothing() {
    // Bug: `heap>0` set the alarm to 0, which is none, and no watchpoint of the heap was met.
    with(watch::UUID, |world, session| {
        let numbers = [0, 1000].map(|wanted| arm(world, session, trigger::HEAP, wanted));
        let ta = ta_with_heap(world, &[]);
        world.ta(|run| {
            let heap = run.load_u64(run.stack(0));
            assert_eq!(run.load_u64(heap + ALARM_OFFSET as u64), 1);
            run.call(svc::tally::HEAP_ALARM, &[24])
        });
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        let rows: Vec<SnapshotRow> = rows(world);
        let states = rows.iter().map(|row| row.state);
        assert!(states.eq([snapshot_state::TAKEN, snapshot_state::ARMED]));
        for number in numbers {
            assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
        }
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn one_rise_of_the_heap_meets_every_watchpoint_below_it() {
    with(watch::UUID, |world, session| {
        let trigger = trigger::HEAP;
        let numbers = [50_000, 10_000, 90_000].map(|wanted| arm(world, session, trigger, wanted));
        let ta = ta_with_heap(world, &[]);
        world.ta(|run| run.call(svc::tally::HEAP_ALARM, &[60_000]));
        world.ta(|run| {
            let heap = run.load_u64(run.stack(0));
            // The one above waits on, and the heap knows of it.
            assert_eq!(run.load_u64(heap + ALARM_OFFSET as u64), 90_000);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        let rows: Vec<SnapshotRow> = rows(world);
        assert!(rows.iter().map(|row| row.state).eq([
            snapshot_state::TAKEN,
            snapshot_state::TAKEN,
            snapshot_state::ARMED,
        ]));
        for number in numbers {
            assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
        }
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_refusal_that_is_watched_is_counted_in_its_snapshot() {
    with(watch::UUID, |world, session| {
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100]);
        let ta = ta_with_pool(world, image, &[]);
        let number = arm(world, session, trigger::FAILURE, 0);
        // The TA counts it when it is told, which this one never does.
        world.ta(|run| run.call(svc::tally::HEAP_GROW, &[1 << 20, 7777]));
        world.ta(|run| run.exit(TeeResult::OUT_OF_MEMORY));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::OUT_OF_MEMORY);
        let failures = |snapshot: &[u8]| {
            let pools = rows_of::<PoolRow>(snapshot);
            let heap = pools.into_iter().find(|row| row.pool.owner == TA).unwrap();
            (
                heap.pool.alloc.num_alloc_fail,
                heap.pool.alloc.biggest_alloc_fail,
            )
        };
        assert_eq!(failures(&whole(world, session, number, 4096)), (1, 7777));
        let (_, later, _) = take(world, session);
        assert_eq!(failures(&whole(world, session, later, 4096)), (0, 0));
        for number in [number, later] {
            assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
        }
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

/// It asked for each record anew; each refusal is a row of the list of refusals, which is in the snapshot: with the
/// kernel heap used up it never ended.
#[test]
fn a_snapshot_asks_no_more_for_memory_that_was_refused() {
    with(watch::UUID, |world, session| {
        let ta = ta_with_heap(world, b"no heap at all");
        // More rows of commands than what was made room for at once.
        for command in 0..60 {
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            assert_eq!(world.invoke(ta, command, &[]).result, TeeResult::SUCCESS);
        }
        for first in 0.. {
            let all_from = Injection::new(first, u32::MAX);
            world.kernel.state().pages.inject(all_from);
            let (result, number, _) = take(world, session);
            let refused = world.kernel.state().pages.inject(Injection::NONE).refused();
            assert!(refused <= 1, "page {first}: asked {refused} times");
            if result == TeeResult::SUCCESS {
                assert_eq!(drop_it(world, session, number), TeeResult::SUCCESS);
            } else {
                assert_eq!(result, TeeResult::OUT_OF_MEMORY);
            }
            if refused == 0 {
                assert!(first > 1, "few pages");
                break;
            }
        }
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}
