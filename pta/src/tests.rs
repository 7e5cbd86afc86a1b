//! Tests of the pseudo-TAs as clients reach them, on a model of the machine.
//!
//! **Invariant:** every test compares the accounts before and after.

mod cursors;
mod ends;
mod figures;
mod gates;
mod kernel_heap;
mod leaks;
mod moment;
mod order;
mod random;
mod refusals;
mod registers;
mod selected;
mod stack;
mod stored;
mod tas;
mod watch;

use std::sync::Arc;
use tally_abi::msg::{MsgParam, attr};
use tally_abi::pta::stats::{AllocStats, TaStats, alloc_id};
use tally_abi::pta::{control, device, inspect, memleak, rng, stats};
use tally_abi::ta::svc;
use tally_abi::{TeeResult, TeeUuid};
use tally_account::book::Shown;
use tally_account::testing::{World, world};
use tally_core::testing::world::{CLIENT, Reply, memref, value};
use tally_mem::addr::PhysAddr;
use tally_records::{LeakRecord, MeminfoRow, OwnerRow, PoolRow, Record, Selector};
use zerocopy::{FromBytes, IntoBytes};

const TA: TeeUuid = TeeUuid::from_u128(0x77);
/// Bytes of the TA's heap.
const HEAP: usize = 32 << 10;

/// Runs `test` with a session to `pta` and checks that everything is back afterwards.
fn with(pta: TeeUuid, test: impl FnOnce(&Arc<World>, u32)) {
    let world = world(crate::ALL, Shown::default());
    world.install(TA, 0, 100);
    let before = world.accounts();
    let session = world.opened(pta);
    test(&world, session);
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    assert_eq!(world.accounts(), before);
}

/// A buffer for output.
fn out(len: u64) -> MsgParam {
    memref(attr::TMEM_OUTPUT, CLIENT.0, len, 0)
}

/// The records that came to [`out`], of `len` bytes in all.
fn records<T: FromBytes>(world: &World, len: u64) -> Vec<T> {
    assert_eq!(len as usize % size_of::<T>(), 0);
    world
        .read(CLIENT, len as usize)
        .chunks(size_of::<T>())
        .map(|bytes| T::read_from_bytes(bytes).unwrap())
        .collect()
}

/// Where a selector is put.
const SELECTOR_AT: PhysAddr = PhysAddr(CLIENT.0 + 16 * 4096);

/// A parameter that selects.
fn selector(world: &World, of: &Selector) -> MsgParam {
    world.write(SELECTOR_AT, of.as_bytes());
    memref(
        attr::TMEM_INPUT,
        SELECTOR_AT.0,
        size_of::<Selector>() as u64,
        0,
    )
}

/// One part of a list: the result, what was dropped, where to go on, and the bytes that came or are needed.
fn part_of<T: Record>(
    world: &World,
    session: u32,
    of: &Selector,
    cursor: u64,
    room: u64,
) -> (TeeResult, u64, u64, u64) {
    let params = [
        value(attr::VALUE_INOUT, T::SECTION.into(), 0),
        selector(world, of),
        value(attr::VALUE_INOUT, cursor & 0xffff_ffff, cursor >> 32),
        out(room),
    ];
    let reply = world.invoke(session, inspect::CMD_LIST, &params);
    let [dropped, _, next, rows] = reply.params[..] else {
        panic!("{reply:?}");
    };
    (reply.result, dropped.a, next.b << 32 | next.a, rows.b)
}

/// A whole list, in parts of two records or as many as come at once.
fn listed<T: Record>(world: &World, of: &Selector) -> Result<Vec<T>, TeeResult> {
    let session = world.opened(inspect::UUID);
    let (mut rows, mut cursor, mut room) = (Vec::new(), 0, 2 * size_of::<T>() as u64);
    let listed = loop {
        match part_of::<T>(world, session, of, cursor, room) {
            (TeeResult::SUCCESS, _, next, len) => {
                rows.extend(records::<T>(world, len));
                cursor = next;
                if cursor == 0 {
                    break Ok(rows);
                }
                assert!(len > 0, "a list that does not go on");
            }
            (TeeResult::SHORT_BUFFER, _, _, needed) => {
                assert!(needed > room);
                room = needed;
            }
            (error, ..) => break Err(error),
        }
    };
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    listed
}

/// A whole list of everything.
fn rows<T: Record>(world: &World) -> Vec<T> {
    listed(world, &Selector::ALL).unwrap()
}

/// Asks for a list twice: for its size with no room, and for the list itself.
fn list<T: FromBytes>(world: &World, session: u32, command: u32, first: &[MsgParam]) -> Vec<T> {
    let ask = |len| -> Reply {
        let mut params = first.to_vec();
        params.push(if len == 0 {
            memref(attr::TMEM_OUTPUT, 0, 0, 0)
        } else {
            out(len)
        });
        world.invoke(session, command, &params)
    };
    let short = ask(0);
    let size = short.params[first.len()].b;
    if size == 0 {
        assert_eq!(short.result, TeeResult::SUCCESS);
        return Vec::new();
    }
    assert_eq!(short.result, TeeResult::SHORT_BUFFER);
    let shorter = ask(size - 1);
    assert_eq!(shorter.result, TeeResult::SHORT_BUFFER);
    assert_eq!(shorter.params[first.len()].b, size);
    let whole = ask(size);
    assert_eq!(whole.result, TeeResult::SUCCESS);
    assert_eq!(whole.params[first.len()].b, size);
    records(world, size)
}

/// Opens a session to the TA, which reserves a heap and stores `bytes` at its start.
fn ta_with_heap(world: &World, bytes: &'static [u8]) -> u32 {
    let session = world.opened(TA);
    world.ta(|run| {
        let at = run.stack(0);
        run.store(at, &[0; 8]);
        run.call(svc::tally::HEAP_RESERVE, &[1 << 16, at])
    });
    world.ta(|run| run.call(svc::tally::HEAP_GROW, &[8192, 0]));
    world.ta(move |run| {
        let at = run.stack(0);
        let heap = run.load_u64(at);
        run.store(heap, bytes);
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    session
}

/// Opens a session to the TA, whose heap is `heap` then, with the address of its start written over the
/// words at these places that say an offset.
fn ta_with_pool(world: &World, heap: Vec<u8>, pointers: &'static [usize]) -> u32 {
    let session = world.opened(TA);
    world.ta(|run| {
        let at = run.stack(0);
        run.store(at, &[0; 8]);
        run.call(svc::tally::HEAP_RESERVE, &[1 << 16, at])
    });
    world.ta(|run| run.call(svc::tally::HEAP_GROW, &[HEAP as u64, 0]));
    world.ta(move |run| {
        let at = run.stack(0);
        let base = run.load_u64(at);
        run.store(base, &heap);
        for &place in pointers {
            let offset = run.load_u64(base + place as u64);
            run.store(base + place as u64, &(base + offset).to_le_bytes());
        }
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    session
}

#[test]
fn pools_are_reported_one_or_all_with_the_size_needed() {
    with(stats::UUID, |world, session| {
        let id = |id| [value(attr::VALUE_INPUT, u64::from(id), 0)];
        let all: Vec<AllocStats> = list(world, session, stats::CMD_ALLOC_STATS, &id(alloc_id::ALL));
        assert_eq!(all.len(), 5);
        assert!(all[2].desc.starts_with(b"Physical TA memory\0"));
        assert!(all[2].allocated <= all[2].max_allocated && all[2].allocated < all[2].size);
        let one: Vec<AllocStats> = list(
            world,
            session,
            stats::CMD_ALLOC_STATS,
            &id(alloc_id::TA_RAM),
        );
        assert_eq!(one.len(), 1);
        assert_eq!((one[0].desc, one[0].size), (all[2].desc, all[2].size));
        let params = [id(6)[0], out(64)];
        let reply = world.invoke(session, stats::CMD_ALLOC_STATS, &params);
        assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
    });
}

#[test]
fn loaded_tas_are_listed_and_dead_ones_say_so() {
    with(stats::UUID, |world, session| {
        let tas = |world: &World| list::<TaStats>(world, session, stats::CMD_TA_STATS, &[]);
        assert!(tas(world).is_empty());
        let ta = world.opened(TA);
        let listed = tas(world);
        assert_eq!(listed.len(), 1);
        let figures = (listed[0].uuid, listed[0].panicked, listed[0].sess_num);
        assert_eq!(figures, (TA, 0, 1));
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(tas(world)[0].panicked, 1);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        assert!(tas(world).is_empty());
    });
}

#[test]
fn both_times_come_and_a_pager_there_is_none() {
    with(stats::UUID, |world, session| {
        world.kernel.machine.advance(3_250_000);
        let value_out = value(attr::VALUE_OUTPUT, 0, 0);
        let reply = world.invoke(session, stats::CMD_GET_TIME, &[value_out; 2]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        assert_eq!((reply.params[0].a, reply.params[0].b), (1_700_000_000, 5));
        assert_eq!((reply.params[1].a, reply.params[1].b), (3, 250));
        world.fail_event(Some(0));
        let reply = world.invoke(session, stats::CMD_GET_TIME, &[value_out; 2]);
        assert_eq!(reply.result, TeeResult::GENERIC);
        let reply = world.invoke(session, stats::CMD_PAGER_STATS, &[value_out; 3]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        let reply = world.invoke(session, stats::CMD_MEMLEAK_STATS, &[]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
    });
}

#[test]
fn wrong_types_are_refused_by_every_command() {
    for (pta, commands) in [
        (stats::UUID, 7),
        (control::UUID, 9),
        (memleak::UUID, 10),
        (inspect::UUID, 16),
    ] {
        with(pta, |world, session| {
            for command in 0..commands {
                let params = [value(attr::VALUE_INOUT, 0, 0), out(64), out(64), out(64)];
                let result = world.invoke(session, command, &params).result;
                let refused = [TeeResult::BAD_PARAMETERS, TeeResult::NOT_SUPPORTED];
                assert!(refused.contains(&result), "{command}: {result}");
            }
        });
    }
}

#[test]
fn memory_by_use_adds_up_to_all_of_it() {
    with(control::UUID, |world, session| {
        let total = |world: &World| -> u64 {
            let rows: Vec<MeminfoRow> = rows(world);
            assert!(rows.iter().all(|row| row.bytes == row.pages * 4096));
            rows.iter().map(|row| row.bytes).sum()
        };
        let value_out = value(attr::VALUE_OUTPUT, 0, 0);
        let reply = world.invoke(session, control::CMD_SECURE_RAM, &[value_out]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        let told = reply.params[0].b << 32 | reply.params[0].a;
        let pages = u64::from(world.kernel.state().pages.total_pages());
        assert_eq!(told, pages * 4096);
        assert_eq!(total(world), told);
        let ta = world.opened(TA);
        assert_eq!(total(world), told);
        let owners: Vec<OwnerRow> = rows(world);
        assert!(owners.iter().any(|row| row.uuid == TA && row.pages > 0));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        let owners: Vec<OwnerRow> = rows(world);
        assert!(owners.iter().all(|row| row.uuid != TA));
    });
}

#[test]
fn a_ta_that_scribbles_over_its_books_is_inconsistent_and_nothing_else() {
    with(control::UUID, |world, _| {
        let ta = ta_with_heap(world, &[0xa5; 4096]);
        let pools: Vec<PoolRow> = rows(world);
        assert_eq!(pools.len(), 3);
        let books = pools.iter().map(|row| row.pool.inconsistent);
        assert!(books.eq([0, 0, 1]));
        assert_eq!(pools[2].pool.owner, TA);
        // Its death, and a list of its leaks, are as of any other.
        let records: Vec<LeakRecord> = listed(world, &Selector::TAS).unwrap();
        assert!(records.is_empty());
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn kill_takes_a_uuid_that_is_loaded() {
    with(control::UUID, |world, session| {
        let kill = |bytes: [u8; 16], len: u64| {
            world.write(PhysAddr(CLIENT.0 + 4096), &bytes);
            let params = [
                memref(attr::TMEM_INPUT, CLIENT.0 + 4096, len, 0),
                value(attr::VALUE_OUTPUT, 0, 0),
            ];
            let reply = world.invoke(session, control::CMD_KILL, &params);
            (reply.result, reply.params[1].a)
        };
        assert_eq!(kill(TA.to_bytes(), 16), (TeeResult::ITEM_NOT_FOUND, 0));
        assert_eq!(kill(TA.to_bytes(), 15).0, TeeResult::BAD_PARAMETERS);
        let sessions = [world.opened(TA), world.opened(TA)];
        assert_eq!(kill(TA.to_bytes(), 16), (TeeResult::SUCCESS, 2));
        for ta in sessions {
            assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn what_there_is_not_is_said() {
    with(control::UUID, |world, session| {
        let reply = world.invoke(session, control::CMD_LAST_OOM, &[out(1024)]);
        assert_eq!(reply.result, TeeResult::NO_DATA);
        let fault = [value(attr::VALUE_INPUT, 0, 0)];
        let reply = world.invoke(session, control::CMD_FAULT, &fault);
        assert_eq!(reply.result, TeeResult::NOT_SUPPORTED);
        let none = value(attr::VALUE_INPUT, 0, 0);
        let inject = [none, none, value(attr::VALUE_OUTPUT, 0, 0)];
        let reply = world.invoke(session, control::CMD_INJECT, &inject);
        assert_eq!(reply.result, TeeResult::NOT_SUPPORTED);
        let reply = world.invoke(session, control::CMD_RESET, &[]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
    });
}

#[test]
fn a_refused_heap_is_reported_to_who_asks() {
    with(control::UUID, |world, session| {
        let ta = ta_with_heap(world, &[0]);
        world.ta(|run| run.call(svc::tally::HEAP_GROW, &[1 << 20, 77]));
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::OUT_OF_MEMORY);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        let short = world.invoke(session, control::CMD_LAST_OOM, &[out(4)]);
        assert_eq!(short.result, TeeResult::SHORT_BUFFER);
        let size = short.params[0].b;
        let reply = world.invoke(session, control::CMD_LAST_OOM, &[out(size)]);
        assert_eq!(
            (reply.result, reply.params[0].b),
            (TeeResult::SUCCESS, size)
        );
        let text = String::from_utf8(world.read(CLIENT, size as usize)).unwrap();
        assert!(
            text.contains("size 77") && text.contains(&TA.to_string()),
            "{text}"
        );
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn who_tells_of_all_refuses_tas() {
    with(stats::UUID, |world, _| {
        let ta = world.opened(TA);
        for (target, expected) in [
            (control::UUID, TeeResult::ACCESS_DENIED),
            (memleak::UUID, TeeResult::ACCESS_DENIED),
            (tally_abi::pta::watch::UUID, TeeResult::ACCESS_DENIED),
            (tally_abi::pta::inspect::UUID, TeeResult::ACCESS_DENIED),
            (tally_abi::pta::audit::UUID, TeeResult::ACCESS_DENIED),
            (stats::UUID, TeeResult::SUCCESS),
        ] {
            world.ta(move |run| {
                let (uuid, out) = (run.stack(0), run.stack(16));
                run.store(uuid, target.as_bytes());
                run.store(out, &[0; 8]);
                run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
            });
            world.ta(move |run| {
                assert_eq!(run.result(), expected, "{target}");
                let id = run.load_u32(run.stack(16));
                run.call(svc::CLOSE_TA_SESSION, &[u64::from(id)])
            });
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        }
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

/// A TA could reset all maxima, and fill the console with the kernel's blocks.
#[test]
fn a_ta_reads_stats_and_changes_none() {
    use tally_abi::ta::param_type::{MEMREF_OUTPUT, NONE, VALUE_INPUT};
    with(stats::UUID, |world, session| {
        let ta = world.opened(TA);
        let most = || {
            let which = value(attr::VALUE_INPUT, u64::from(alloc_id::TA_RAM), 0);
            let size = size_of::<AllocStats>() as u64;
            let reply = world.invoke(session, stats::CMD_ALLOC_STATS, &[which, out(size)]);
            assert_eq!(reply.result, TeeResult::SUCCESS);
            records::<AllocStats>(world, size)[0].max_allocated
        };
        let before = most();
        world.ta(|run| {
            let (uuid, out) = (run.stack(0), run.stack(16));
            run.store(uuid, stats::UUID.as_bytes());
            run.store(out, &[0; 8]);
            run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
        });
        for (reset, expected) in [(0, TeeResult::SUCCESS), (1, TeeResult::ACCESS_DENIED)] {
            world.ta(move |run| {
                let vals = [u64::from(alloc_id::TA_RAM), reset, run.stack(512), 512];
                let types = [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE];
                order::call_pta(run, stats::CMD_ALLOC_STATS, types, &vals)
            });
            world.ta(move |run| {
                assert_eq!(run.result(), expected);
                order::call_pta(run, stats::CMD_MEMLEAK_STATS, [NONE; 4], &[])
            });
            world.ta(|run| {
                assert_eq!(run.result(), TeeResult::ACCESS_DENIED);
                run.exit(TeeResult::SUCCESS)
            });
            assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        }
        assert_eq!(most(), before);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_pool_is_reset_after_it_was_read_if_that_is_asked() {
    with(stats::UUID, |world, session| {
        let ta = world.opened(TA);
        let ask = |reset| {
            let which = value(attr::VALUE_INPUT, u64::from(alloc_id::TA_RAM), reset);
            let size = size_of::<AllocStats>() as u64;
            let reply = world.invoke(session, stats::CMD_ALLOC_STATS, &[which, out(size)]);
            assert_eq!(reply.result, TeeResult::SUCCESS);
            records::<AllocStats>(world, size)[0]
        };
        assert!(ask(0).max_allocated > ask(0).allocated, "loading took more");
        let read = ask(1);
        assert!(read.max_allocated > read.allocated, "read before the reset");
        let after = ask(0);
        assert_eq!(after.max_allocated, after.allocated);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn marks_count_and_leaks_are_listed_since_them() {
    with(memleak::UUID, |world, session| {
        let none = memref(attr::TMEM_INPUT, 0, 0, 0);
        for mark in 1..3 {
            let params = [none, value(attr::VALUE_OUTPUT, 0, 0)];
            let reply = world.invoke(session, memleak::CMD_MARK, &params);
            assert_eq!(
                (reply.result, reply.params[1].a),
                (TeeResult::SUCCESS, mark)
            );
        }
        let since = |mark| listed::<LeakRecord>(world, &Selector::KERNEL.since(mark));
        let leaks = since(1).unwrap();
        assert_eq!(leaks.len(), 1);
        assert_eq!((leaks[0].blocks, leaks[0].block_size), (2, 32));
        assert_eq!(leaks[0].mark, 1, "blocks of the model carry it");
        assert!(since(2).unwrap().is_empty());
        for unknown in [3, 0x1_0000, 0x1_0001] {
            assert_eq!(since(unknown), Err(TeeResult::BAD_PARAMETERS));
        }
        let name = |offset, len| {
            let params = [value(attr::VALUE_INPUT, offset, 0), out(len)];
            world.invoke(session, memleak::CMD_NAME, &params)
        };
        assert_eq!(name(0x40, 64).params[1].b, 16);
        assert_eq!(world.read(CLIENT, 16), b"site kernel.rs:1");
        assert_eq!(name(0x40, 3).result, TeeResult::SHORT_BUFFER);
        assert_eq!(name(0x44, 64).result, TeeResult::ITEM_NOT_FOUND);
    });
}

#[test]
fn the_random_number_generator_is_a_device() {
    with(device::UUID, |world, session| {
        let devices = list::<[u8; 16]>(world, session, device::CMD_GET_DEVICES, &[]);
        assert_eq!(devices, [rng::UUID.to_bytes()]);
        let late = list::<[u8; 16]>(world, session, device::CMD_GET_DEVICES_SUPP, &[]);
        assert!(late.is_empty());
        assert_eq!(
            world.invoke(session, 9, &[]).result,
            TeeResult::NOT_IMPLEMENTED
        );
    });
}

#[test]
fn what_there_is_no_driver_for_is_told_apart_from_what_is_no_command() {
    with(stats::UUID, |world, session| {
        for (command, params, told) in [
            (
                stats::CMD_PRINT_DRIVER_INFO,
                vec![value(attr::VALUE_INPUT, 0, 0)],
                TeeResult::NOT_SUPPORTED,
            ),
            (
                stats::CMD_PRINT_DRIVER_INFO,
                vec![],
                TeeResult::BAD_PARAMETERS,
            ),
            (99, vec![], TeeResult::BAD_PARAMETERS),
        ] {
            assert_eq!(world.invoke(session, command, &params).result, told);
        }
    });
}
