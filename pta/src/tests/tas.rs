//! The inspector as clients reach it.
//!
//! **Invariant:** every test compares the accounts before and after.

use super::refusals::lines;
use super::*;
use tally_abi::crypto::{algorithm, mode, object_type};
use tally_abi::pta::inspect;
use tally_abi::shdr::{self, SignedHeader};
use tally_abi::ta::svc;
use tally_account::book::Shown;
use tally_core::guest_id::GuestId;
use tally_core::testing::caller::Caller;
use tally_core::testing::world::{Event, PANICS_LDELF, signed_image};
use tally_mem::machine::Trap;
use tally_records::FailureRow;
use tally_records::HistoryRow;
use tally_records::RegionRow;
use tally_records::SessionRow;
use tally_records::TaDetail;
use tally_records::cause;
use tally_records::consistency;
use tally_records::damage;
use tally_records::failed_pool;
use tally_records::prot;
use tally_records::state;
use tally_records::{BlockRow, ChunkRow, ClassRow, SiteRow, SuspectRow};

fn tas(world: &World, of: &Selector) -> Vec<TaDetail> {
    listed(world, of).unwrap()
}

fn regions(world: &World, of: &Selector) -> Vec<RegionRow> {
    listed(world, of).unwrap()
}

#[test]
fn a_ta_is_told_whole_while_it_is_idle() {
    with(inspect::UUID, |world, _| {
        assert!(tas(world, &Selector::TAS).is_empty());
        let ta = ta_with_heap(world, &[0]);
        let all = tas(world, &Selector::ta(TA));
        assert_eq!(all.len(), 1);
        let one = all[0];
        assert_eq!((one.uuid, one.state, one.sessions), (TA, state::IDLE, 1));
        assert_eq!((one.heap_committed, one.heap_reserved), (8192, 1 << 16));
        assert_eq!(one.shared, 0);
        assert!(one.uss > 0 && one.uss == one.pss && one.pss == one.rss && one.rss < one.vss);
        assert!(one.charged <= one.charged_max && one.charged_max <= one.quota);
        assert!(one.stack_deepest > 0 && one.stack_deepest <= one.stack);
        assert_eq!(one.stack_pointer, 0, "hidden");
        let rows = regions(world, &Selector::ta(TA));
        assert_eq!(rows.len() as u32, one.regions);
        assert_eq!(rows.iter().map(|row| row.populated).sum::<u64>(), one.rss);
        assert_eq!(rows.iter().map(|row| row.bytes).sum::<u64>(), one.vss);
        assert!(rows.iter().all(|row| (row.va, row.pa) == (0, 0)), "hidden");
        let who = Selector::instance(TA, one.instance);
        let sessions: Vec<SessionRow> = listed(world, &who).unwrap();
        assert_eq!(sessions.len(), 1);
        assert_eq!((sessions[0].session, sessions[0].opener), (ta, 0));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn what_a_ta_holds_of_cryptography_is_told_and_what_it_never_closed_stays_told() {
    with(inspect::UUID, |world, _| {
        let ta = Caller::new(world, TA);
        let none = tas(world, &Selector::ta(TA))[0];
        assert_eq!((none.objects, none.operations, none.crypto), (0, 0, 0));
        let sha256 = [algorithm::SHA256.into(), mode::DIGEST.into(), 0, 0];
        let state = ta.handle(svc::CRYP_STATE_ALLOC, &sha256).unwrap();
        for _ in 0..2 {
            let aes = [object_type::AES.into(), 128];
            ta.handle(svc::CRYP_OBJ_ALLOC, &aes).unwrap();
        }
        let one = tas(world, &Selector::ta(TA))[0];
        assert_eq!((one.objects, one.operations), (2, 1));
        assert!(one.crypto > 0);
        ta.expect(TeeResult::SUCCESS, svc::CRYP_STATE_FREE, &[state]);
        let much = [object_type::GENERIC_SECRET.into(), 4096];
        while ta.handle(svc::CRYP_OBJ_ALLOC, &much).is_ok() {}
        let full = tas(world, &Selector::ta(TA))[0];
        let refused: Vec<FailureRow> = listed(world, &Selector::TAS).unwrap();
        let last = refused.last().unwrap();
        assert_eq!(
            (last.pool, last.owner),
            (failed_pool::CRYPTOGRAPHY, TA),
            "{last:?}"
        );
        assert_eq!((last.used, last.pool_size), (full.crypto, 40 << 10));
        ta.close();
        let ended: Vec<HistoryRow> = listed(world, &Selector::TAS).unwrap();
        assert_eq!(ended[0].unclosed, full.objects);
    });
}

#[test]
fn a_ta_is_told_whole_while_it_is_busy() {
    with(inspect::UUID, |world, _| {
        let ta = world.opened(TA);
        world.kernel.machine.advance(5_000_000);
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, move |world| {
            let one = tas(world, &Selector::ta(TA))[0];
            assert_eq!(one.state, state::BUSY);
            assert_eq!((one.command, one.session), (77, ta));
            assert_eq!(one.busy_since_ms, 5000);
            // The client's buffer: shared with the normal world.
            assert_eq!((one.shared, one.pss), (4096, one.uss + 2048));
            let rows = regions(world, &Selector::ta(TA));
            let shared = rows
                .iter()
                .find(|row| row.prot & prot::SHARED != 0)
                .unwrap();
            assert_eq!(shared.session, ta);
            assert!(shared.prot & prot::NON_SECURE != 0);
        });
        let buffer = memref(attr::TMEM_INPUT, CLIENT.0 + 20 * 4096, 100, 0);
        assert_eq!(world.invoke(ta, 77, &[buffer]).result, TeeResult::SUCCESS);
        assert_eq!(tas(world, &Selector::ta(TA))[0].state, state::IDLE);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_dead_ta_keeps_its_last_figures() {
    with(inspect::UUID, |world, _| {
        let ta = ta_with_heap(world, &[0]);
        world.ta(|run| {
            run.store(run.stack(0), &[1; 16]);
            run.call(svc::PANIC, &[1])
        });
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
        let one = tas(world, &Selector::ta(TA))[0];
        assert_eq!((one.state, one.sessions, one.rss), (state::DEAD, 1, 0));
        assert!(0 < one.stack_deepest && one.stack_deepest <= one.stack);
        assert!(0 < one.charged_max && one.charged_max <= one.quota);
        assert_eq!((one.heap_committed, one.heap_reserved), (0, 1 << 16));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        let rows: Vec<HistoryRow> = rows(world);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].uuid, rows[0].ended, rows[0].died), (TA, 1, 1));
        assert_eq!(rows[0].stack_max, one.stack_deepest);
    });
}

#[test]
fn a_dead_ta_tells_how_it_died() {
    // Bug: panicked, crashed and killed were all dead, and when and in what was not told.
    with(inspect::UUID, |world, _| {
        let control = world.opened(control::UUID);
        let fate = |ta| {
            let one = tas(world, &Selector::ta(TA))[0];
            assert_eq!(one.state, state::DEAD);
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
            (
                one.cause,
                one.panic_code,
                one.command,
                one.session == ta,
                one.died_ms,
            )
        };
        let ta = world.opened(TA);
        world.kernel.machine.advance(5_000_000);
        world.ta(|run| run.call(svc::PANIC, &[0xabc]));
        assert_eq!(world.invoke(ta, 77, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(fate(ta), (cause::PANICKED, 0xabc, 77, true, 5000));
        let ta = world.opened(TA);
        world.ta(|_| Trap::Fault { esr: 0 });
        assert_eq!(world.invoke(ta, 78, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(fate(ta), (cause::CRASHED, 0, 78, true, 5000));
        let ta = world.opened(TA);
        world.write(SELECTOR_AT, &TA.to_bytes());
        let uuid = memref(attr::TMEM_INPUT, SELECTOR_AT.0, 16, 0);
        let who = [uuid, value(attr::VALUE_OUTPUT, 0, 0)];
        let reply = world.invoke(control, control::CMD_KILL, &who);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        assert_eq!(fate(ta), (cause::KILLED, 0, 0, false, 5000));
        assert_eq!(world.close(control), TeeResult::SUCCESS);
    });
}

#[test]
fn a_dead_ta_is_said_to_be_dead_by_who_asks_for_its_memory() {
    with(inspect::UUID, |world, session| {
        let of = Selector::ta(TA);
        let memory = || {
            let check = [selector(world, &of), value(attr::VALUE_OUTPUT, 0, 0)];
            let zero = value(attr::VALUE_INPUT, 0, 0);
            let block = [selector(world, &of), zero, out(4096)];
            [
                listed::<RegionRow>(world, &of).err(),
                listed::<SiteRow>(world, &of).err(),
                listed::<ClassRow>(world, &of).err(),
                listed::<BlockRow>(world, &of).err(),
                listed::<ChunkRow>(world, &of).err(),
                listed::<LeakRecord>(world, &of).err(),
                listed::<SuspectRow>(world, &of).err(),
                Some(world.invoke(session, inspect::CMD_CHECK, &check).result),
                Some(world.invoke(session, inspect::CMD_BLOCK, &block).result),
            ]
        };
        let dead = ta_with_heap(world, &[0]);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(dead, 0, &[]).result, TeeResult::TARGET_DEAD);
        assert_eq!(memory(), [Some(TeeResult::TARGET_DEAD); 9]);
        let memleak = world.opened(memleak::UUID);
        let scan = [selector(world, &of), out(4096)];
        let reply = world.invoke(memleak, memleak::CMD_SCAN, &scan);
        assert_eq!(reply.result, TeeResult::TARGET_DEAD);
        assert_eq!(world.close(memleak), TeeResult::SUCCESS);
        // Where another instance lives, that one is meant.
        let alive = world.opened(TA);
        let [regions, .., check, block] = memory();
        assert_eq!(regions, None);
        assert_eq!(check, Some(TeeResult::SUCCESS));
        assert_eq!(block, Some(TeeResult::ITEM_NOT_FOUND), "it has no heap");
        for ta in [dead, alive] {
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn who_is_not_there_is_not_found() {
    with(inspect::UUID, |world, session| {
        let ta = world.opened(TA);
        for who in [
            Selector::ta(TeeUuid::from_u128(0x78)),
            Selector::instance(TA, 99),
        ] {
            let missing = Some(TeeResult::ITEM_NOT_FOUND);
            assert_eq!(listed::<TaDetail>(world, &who).err(), missing);
            assert_eq!(listed::<RegionRow>(world, &who).err(), missing);
            assert_eq!(listed::<SessionRow>(world, &who).err(), missing);
        }
        for wrong in [
            Selector {
                part: 5,
                ..Selector::ALL
            },
            Selector {
                instance: 1,
                ..Selector::ALL
            },
            Selector {
                uuid: TA,
                ..Selector::KERNEL
            },
            Selector {
                instance: 1,
                ..Selector::ta(TA)
            },
            Selector {
                reserved: 1,
                ..Selector::TAS
            },
        ] {
            let refused = Some(TeeResult::BAD_PARAMETERS);
            assert_eq!(
                listed::<TaDetail>(world, &wrong).err(),
                refused,
                "{wrong:?}"
            );
        }
        for len in [0, 16, 31, 33] {
            let wrong = memref(attr::TMEM_INPUT, SELECTOR_AT.0, len, 0);
            let check = [wrong, value(attr::VALUE_OUTPUT, 0, 0)];
            let reply = world.invoke(session, inspect::CMD_CHECK, &check);
            assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
        }
        let uuid = |uuid: TeeUuid| {
            world.write(SELECTOR_AT, &uuid.to_bytes());
            memref(attr::TMEM_INPUT, SELECTOR_AT.0, 16, 0)
        };
        let nobody = [uuid(TeeUuid::nil())];
        let reply = world.invoke(session, inspect::CMD_STATUS, &nobody);
        assert_eq!(reply.result, TeeResult::ITEM_NOT_FOUND);
        let known = [uuid(TA)];
        let reply = world.invoke(session, inspect::CMD_STATUS, &known);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn the_kernels_mappings_come_with_their_guards() {
    with(inspect::UUID, |world, _| {
        let rows = regions(world, &Selector::KERNEL);
        let sizes: Vec<(u64, u64)> = rows.iter().map(|row| (row.bytes, row.populated)).collect();
        assert_eq!(sizes, [(0x3000, 0x3000), (0x1000, 0), (0x1000, 0x1000)]);
        assert!(rows.iter().all(|row| row.va == 0 && row.pa == 0), "hidden");
    });
}

#[test]
fn addresses_are_shown_by_a_build_that_shows_them() {
    let shown = Shown {
        addresses: true,
        contents: false,
    };
    let world = world(crate::ALL, shown);
    world.install(TA, 0, 100);
    let ta = world.opened(TA);
    assert!(
        regions(&world, &Selector::KERNEL)
            .iter()
            .all(|row| row.va != 0)
    );
    let rows = regions(&world, &Selector::ta(TA));
    assert!(rows.iter().all(|row| row.va != 0));
    assert!(
        rows.windows(2)
            .all(|two| two[0].va + two[0].bytes <= two[1].va)
    );
    assert!(tas(&world, &Selector::ta(TA))[0].stack_pointer != 0);
    assert_eq!(world.close(ta), TeeResult::SUCCESS);
}

#[test]
fn a_refused_heap_and_refused_pages_are_in_the_log() {
    with(inspect::UUID, |world, _| {
        let log = |world: &World| -> Vec<FailureRow> { rows(world) };
        assert!(log(world).is_empty());
        let ta = ta_with_heap(world, &[0]);
        world.ta(|run| run.call(svc::tally::HEAP_GROW, &[1 << 20, 77]));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        let rows = log(world);
        assert_eq!(rows.len(), 1);
        let last = rows[0];
        assert_eq!(
            (last.number, last.size, last.pool),
            (1, 77, failed_pool::TA_HEAP)
        );
        assert_eq!(
            (last.owner, last.session, last.pool_size),
            (TA, ta, 1 << 16)
        );
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        world
            .kernel
            .state()
            .guest_mut(GuestId::FIRST)
            .ta_quota_pages = 5;
        let reply = world.open(TA, &[]);
        assert_eq!(reply.result, TeeResult::OUT_OF_MEMORY);
        let rows = log(world);
        assert_eq!(rows.len(), 2, "each refusal once");
        assert_eq!((rows[1].number, rows[1].pool), (2, failed_pool::TA_QUOTA));
        assert_eq!((rows[1].owner, rows[1].pool_size), (TA, 5 * 4096));
    });
}

#[test]
fn scribbled_books_are_refused_and_small_buffers_as_well() {
    with(inspect::UUID, |world, session| {
        let ta = ta_with_heap(world, &[0xa5; 4096]);
        let of = Selector::ta(TA);
        let corrupt = Some(TeeResult::CORRUPT_OBJECT);
        assert_eq!(listed::<SiteRow>(world, &of).err(), corrupt);
        assert_eq!(listed::<BlockRow>(world, &of).err(), corrupt);
        assert_eq!(listed::<ChunkRow>(world, &of).err(), corrupt);
        // Of all heaps, this one has no rows.
        assert!(listed::<SiteRow>(world, &Selector::TAS).unwrap().is_empty());
        let params = [selector(world, &of), value(attr::VALUE_OUTPUT, 0, 0)];
        let reply = world.invoke(session, inspect::CMD_CHECK, &params);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        assert_eq!(reply.params[1].a, u64::from(damage::WALK));
        let params = [
            selector(world, &of),
            value(attr::VALUE_INPUT, 0, 0),
            out(64),
            value(attr::VALUE_OUTPUT, 0, 0),
        ];
        let reply = world.invoke(session, inspect::CMD_BLOCK_BYTES, &params);
        assert_eq!(reply.result, TeeResult::NOT_SUPPORTED);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

/// Bug: a log's calls were named by whatever was built last.
#[test]
fn reports_say_of_which_build_their_calls_are() {
    with(inspect::UUID, |world, _| {
        let image = signed_image(TA, &[0, 0, 0, 0, 0xb1]);
        let hash = *image[size_of::<SignedHeader>()..].first_chunk().unwrap();
        let said = format!("Image {TA}: {:016x}", shdr::image_id(&hash));
        world.install_image(TA, image);
        let ta = ta_with_heap(world, &[0]);
        for (number, args, code) in [
            (svc::tally::HEAP_GROW, [1 << 20, 77], TeeResult::SUCCESS),
            (svc::PANIC, [1, 0], TeeResult::TARGET_DEAD),
        ] {
            world.ta(move |run| run.call(number, &args));
            let lines = lines(|| assert_eq!(world.invoke(ta, 0, &[]).result, code));
            assert!(lines.contains(&said), "{code}: {lines:?}");
        }
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        world.install_image(TA, signed_image(TA, &PANICS_LDELF));
        let lines = lines(|| assert_ne!(world.open(TA, &[]).result, TeeResult::SUCCESS));
        for said in ["Image ldelf: 0000000000001de1", " ldelf+0x40"] {
            assert!(lines.iter().any(|line| line == said), "{said}: {lines:?}");
        }
    });
}

#[test]
fn an_instance_says_of_which_build_it_is_and_so_does_what_it_was_refused() {
    // Bug: the host took the names of a TA's calls from any ELF file of that UUID.
    with(inspect::UUID, |world, _| {
        let mut ids = Vec::new();
        for build in [0xb1, 0xb2] {
            // No flags.
            let payload = [0, 0, 0, 0, build];
            let image = signed_image(TA, &payload);
            let hash = *image[size_of::<SignedHeader>()..].first_chunk().unwrap();
            world.install_image(TA, image);
            let ta = ta_with_heap(world, &[0]);
            assert_eq!(
                tas(world, &Selector::ta(TA))[0].image_id,
                shdr::image_id(&hash)
            );
            world.ta(|run| run.call(svc::tally::HEAP_GROW, &[1 << 20, 77]));
            assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
            ids.push(shdr::image_id(&hash));
        }
        // Both have ended, and what they were refused still says who they were.
        let refused: Vec<FailureRow> = rows(world);
        let refused: Vec<u64> = refused.iter().map(|row| row.image_id).collect();
        assert_eq!(refused, ids);
        assert_ne!(ids[0], ids[1]);
    });
}

#[test]
fn a_list_goes_on_where_it_was_whatever_goes_meanwhile() {
    // Bug: lists went by index, so that rows behind one that went were left out.
    with(inspect::UUID, |world, session| {
        let uuids = [0x81, 0x82, 0x83, 0x84, 0x85].map(TeeUuid::from_u128);
        for uuid in uuids {
            world.install(uuid, 0, 100);
        }
        let sessions = uuids.map(|uuid| world.opened(uuid));
        let part = |cursor| {
            let room = 2 * size_of::<TaDetail>() as u64;
            let part = part_of::<TaDetail>(world, session, &Selector::TAS, cursor, room);
            let (TeeResult::SUCCESS, 0, next, len) = part else {
                panic!("{part:?}");
            };
            let rows = records::<TaDetail>(world, len);
            (rows.iter().map(|row| row.uuid).collect::<Vec<_>>(), next)
        };
        let (first, cursor) = part(0);
        assert_eq!(first, uuids[..2]);
        for gone in [sessions[0], sessions[2]] {
            assert_eq!(world.close(gone), TeeResult::SUCCESS);
        }
        assert_eq!(part(cursor), (uuids[3..].to_vec(), 0));
        for session in [1, 3, 4].map(|n| sessions[n]) {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

/// A header that claimed 8,192 call sites of 8 frames held interrupts up for 9 ms at each question.
#[test]
fn books_with_more_call_sites_than_can_be_read_at_one_go_make_no_sense() {
    with(inspect::UUID, |world, _| {
        for (sites, inconsistent) in [(256, 0), (512, consistency::INCONSISTENT)] {
            let cfg = tally_ledger::Config {
                sites,
                depth: 1,
                ..tally_ledger::Config::TA
            };
            let (image, _) = tally_ledger::fuzzing::image_as(&cfg, HEAP, &[100, 28]);
            let ta = ta_with_pool(world, image, &[]);
            let heap = tas(world, &Selector::ta(TA))[0].heap;
            assert_eq!(heap.inconsistent, inconsistent, "{sites}");
            assert_eq!(heap.live_blocks, u64::from(sites == 256) * 2);
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
        }
    });
}

/// The report was written with the state locked.
#[test]
fn a_refusal_is_reported_line_by_line() {
    with(inspect::UUID, |world, _| {
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100, 28]);
        let ta = ta_with_pool(world, image, &[]);
        world.ta(|run| run.call(svc::tally::HEAP_GROW, &[1 << 30, 16]));
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::OUT_OF_MEMORY);
            run.exit(TeeResult::SUCCESS)
        });
        let windows = || world.kernel.machine.interruptible_calls();
        let before = windows();
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        assert!(windows() >= before + 8, "{}", windows() - before);
        assert_eq!(rows::<FailureRow>(world).len(), 1);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_heap_that_no_quota_allows_is_a_refusal_that_is_told() {
    // Bug: such a TA could allocate nothing, and nothing said why.
    with(inspect::UUID, |world, _| {
        let ta = world.opened(TA);
        world.ta(|run| {
            let out = run.stack(512);
            run.store(out, &[0; 8]);
            run.call(svc::tally::HEAP_RESERVE, &[64 << 20, out])
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::OUT_OF_MEMORY);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        let [row] = rows::<FailureRow>(world)[..] else {
            panic!("one row");
        };
        assert_eq!((row.pool, row.size), (failed_pool::TA_QUOTA, 64 << 20));
        assert_eq!(row.pool_size, 2560 * 4096);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}
