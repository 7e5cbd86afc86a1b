//! Rows of refusals: of every kind, every field.

use super::*;
use tally_abi::image::ImageFault;
use tally_abi::msg::cmd;
use tally_account::book::Book;
use tally_core::guest_id::GuestId;
use tally_core::observer::{Limit, Observer, Refusal};
use tally_core::refused::{Refused, RefusedEntry, RefusedImage, SharedTable};
use tally_core::ta::enter::STACK_RESERVE;
use tally_core::ta::instance::InstanceRef;
use tally_core::testing::world::{Event, header};
use tally_mem::machine::{Trap, UserContext};
use tally_mem::owner::OwnerId;
use tally_mem::refused::{RefusedPages, Short};
use tally_mem::text::label;
use tally_records::{FailureRow, failed_pool, owner_kind};

const OTHER: TeeUuid = TeeUuid::from_u128(0x99);
/// Where the stand-in for the kernel heap says that the kernel stands.
const STACK: [u64; 8] = [0x40, 0, 0, 0, 0, 0, 0, 0];

/// The rows that came since there were so many, without their numbers and times.
fn since(world: &World, before: usize) -> Vec<FailureRow> {
    let rows: Vec<FailureRow> = rows(world);
    let unnumbered = |row: &FailureRow| FailureRow {
        number: 0,
        at_ms: 0,
        ..*row
    };
    rows[before..].iter().map(unnumbered).collect()
}

/// The row that telling of this leaves.
fn told(world: &World, refused: Refused) -> FailureRow {
    let before = rows::<FailureRow>(world).len();
    Book::refused(&world.kernel, GuestId::FIRST, &refused);
    let rows = since(world, before);
    assert_eq!(rows.len(), 1);
    rows[0]
}

/// The TA's latest instance and its owner.
fn instance(world: &World) -> (InstanceRef, OwnerId) {
    let state = world.kernel.state();
    let named = state.guest(GuestId::FIRST).instances.named();
    let found = named.filter(|(_, found)| found.uuid == TA).last();
    found.map(|(name, found)| (name, found.owner)).unwrap()
}

/// The lines that `work` has on the console.
pub(super) fn lines(work: impl FnOnce()) -> Vec<String> {
    tally_core::testing::logged::lines(log::LevelFilter::Error, work)
}

#[test]
fn a_refusal_is_reported_with_limit_figures_holder_and_call_stack() {
    with(inspect::UUID, |world, _| {
        let reported = |refused| lines(|| Book::refused(&world.kernel, GuestId::FIRST, &refused));
        let entry = |holder| {
            Refused::Entry(RefusedEntry {
                table: SharedTable::Sessions,
                asker: TA,
                wanted: 5,
                used: 30,
                size: 32,
                holder,
                held: 20,
            })
        };
        for (holder, name) in [
            (OTHER, "TA 00000000-0000-0000-0000-000000000099"),
            (TeeUuid::nil(), "the normal world"),
        ] {
            let most = format!("  30 of 32 in use, 5 more wanted; {name} has most: 20");
            let lines = [
                "Memory allocation failed: size 0 pool sessions owner TA 00000000-0000-0000-0000-000000000077",
                "  the limit is the share of the sessions",
                &most,
                "Image kernel: b1b1b1b1b1b1b1b1",
                "Call stack:",
                " site kernel.rs:1",
            ];
            assert_eq!(reported(entry(holder)), lines);
        }
        let pages = RefusedPages {
            short: Short::SecureRam,
            owner: OwnerId::KERNEL,
            wanted: 3,
            used: 70,
            size: 80,
            left: 2,
        };
        let lines = [
            "Memory allocation failed: size 12288 pool Physical TA memory owner kernel",
            "  the limit is secure RAM, what is left of it for TAs",
            "  286720 of 327680 bytes in use, 8192 left",
            "Image kernel: b1b1b1b1b1b1b1b1",
            "Call stack:",
            " site kernel.rs:1",
        ];
        assert_eq!(reported(Refused::Pages(pages)), lines);
    });
}

#[test]
fn a_refused_entry_is_told_by_table_asker_and_holder() {
    with(inspect::UUID, |world, _| {
        let tables = [
            (SharedTable::Sessions, failed_pool::SESSIONS),
            (SharedTable::Instances, failed_pool::INSTANCES),
            (SharedTable::SharedMemory, failed_pool::SHARED_MEMORY),
            (SharedTable::PageRuns, failed_pool::PAGE_RUNS),
            (SharedTable::SharedPages, failed_pool::SHARED_PAGES),
            (SharedTable::Channels, failed_pool::CHANNELS),
            (SharedTable::Buffers, failed_pool::BUFFERS),
            (SharedTable::Objects, failed_pool::OBJECTS),
        ];
        let askers = [
            (TA, owner_kind::TA, "ta"),
            (TeeUuid::nil(), owner_kind::GUEST, "guest"),
        ];
        for (table, pool) in tables {
            for (asker, kind, name) in askers {
                let entry = RefusedEntry {
                    table,
                    asker,
                    wanted: 5,
                    used: 30,
                    size: 32,
                    holder: OTHER,
                    held: 20,
                };
                let row = FailureRow {
                    pool,
                    owner_kind: kind,
                    owner: asker,
                    label: label(name),
                    wanted_entries: 5,
                    used_entries: 30,
                    entries: 32,
                    holder: OTHER,
                    held_entries: 20,
                    frames: STACK,
                    ..FailureRow::default()
                };
                assert_eq!(told(world, Refused::Entry(entry)), row);
            }
        }
    });
}

#[test]
fn refused_pages_are_told_by_what_is_short_and_whose_they_were() {
    with(inspect::UUID, |world, session| {
        let ta = world.opened(TA);
        let owner_of_session = {
            let mut state = world.kernel.state();
            let sessions = &mut state.guest_mut(GuestId::FIRST).sessions;
            sessions.by_id_mut(session).unwrap().owner
        };
        let owners = [
            (
                OwnerId::KERNEL,
                owner_kind::KERNEL,
                TeeUuid::nil(),
                0,
                "kernel",
            ),
            (
                OwnerId::GUEST,
                owner_kind::GUEST,
                TeeUuid::nil(),
                0,
                "guest",
            ),
            (instance(world).1, owner_kind::TA, TA, 0, "ta"),
            (
                owner_of_session,
                owner_kind::SESSION,
                inspect::UUID,
                session,
                "session",
            ),
        ];
        for (owner, kind, uuid, session, name) in owners {
            let whose = FailureRow {
                owner_kind: kind,
                owner: uuid,
                session,
                label: label(name),
                frames: STACK,
                ..FailureRow::default()
            };
            let bytes = FailureRow {
                size: 3 * 4096,
                used: 70 * 4096,
                pool_size: 80 * 4096,
                largest_free: 2 * 4096,
                ..whose
            };
            let entries = FailureRow {
                wanted_entries: 3,
                used_entries: 70,
                entries: 80,
                holder: uuid,
                held_entries: 70,
                ..whose
            };
            for (short, pool, row) in [
                (Short::SecureRam, failed_pool::TA_RAM, bytes),
                (Short::Quota, failed_pool::TA_QUOTA, bytes),
                (Short::Regions, failed_pool::REGIONS, entries),
            ] {
                let pages = RefusedPages {
                    short,
                    owner,
                    wanted: 3,
                    used: 70,
                    size: 80,
                    left: 2,
                };
                let row = FailureRow { pool, ..row };
                assert_eq!(told(world, Refused::Pages(pages)), row, "{name}");
            }
        }
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_refused_image_is_told_by_its_fault_and_not_reported_again() {
    with(inspect::UUID, |world, _| {
        let ta = world.opened(TA);
        let image = RefusedImage {
            size: 1234,
            why: ImageFault::TooLarge,
            owner: instance(world).1,
        };
        let row = FailureRow {
            pool: failed_pool::IMAGE,
            size: 1234,
            fault: ImageFault::TooLarge.code(),
            owner_kind: owner_kind::TA,
            owner: TA,
            label: label("ta"),
            ..FailureRow::default()
        };
        let windows = world.kernel.machine.interruptible_calls();
        Book::refused(&world.kernel, GuestId::FIRST, &Refused::Image(image));
        assert_eq!(world.kernel.machine.interruptible_calls(), windows);
        assert_eq!(since(world, 0), [row]);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn what_a_ta_is_refused_during_a_call_names_the_session_and_the_time() {
    with(inspect::UUID, |world, _| {
        let ta = world.opened(TA);
        world.kernel.machine.advance(5_000_000);
        world.ta(|_| Trap::ForeignInterrupt);
        world.on(Event::Interrupt, move |world| {
            let pages = RefusedPages {
                short: Short::Quota,
                owner: instance(world).1,
                wanted: 1,
                used: 2,
                size: 2,
                left: 0,
            };
            Book::refused(&world.kernel, GuestId::FIRST, &Refused::Pages(pages));
            let row = rows::<FailureRow>(world)[0];
            assert_eq!((row.number, row.at_ms, row.session), (1, 5000, ta));
        });
        assert_eq!(world.invoke(ta, 7, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_refused_heap_is_told_with_the_figures_of_the_limit_that_it_met() {
    with(inspect::UUID, |world, _| {
        // Another instance, which has some of the quota.
        let other = world.opened(TA);
        let ta = ta_with_heap(world, &[0]);
        let (instance, _) = instance(world);
        let (used, limit, all, available) = {
            let state = world.kernel.state();
            let space = state.instance(instance).unwrap().space.as_ref().unwrap();
            assert!(space.quota_used() > space.charged_pages());
            (
                u64::from(space.quota_used()) * 4096,
                u64::from(space.limit_pages()) * 4096,
                state.pages.figures(),
                u64::from(state.pages.available()) * 4096,
            )
        };
        let limits = [
            (
                Limit::HeapSize,
                failed_pool::TA_HEAP,
                (0, 1 << 16, 0),
                "the heap size that the TA declares (heap_size)",
            ),
            (
                Limit::Quota,
                failed_pool::TA_QUOTA,
                (used, limit, limit - used),
                "the TA's page quota, which all of its instances share",
            ),
            (
                Limit::SecureRam,
                failed_pool::TA_RAM,
                (all.allocated, all.size, available),
                "secure RAM, what is left of it for TAs",
            ),
            (
                Limit::KernelHeap,
                failed_pool::KERNEL_HEAP,
                (0, 0, 0),
                "the kernel heap (HEAP_BYTES)",
            ),
        ];
        for (n, (met, pool, figures, text)) in limits.into_iter().enumerate() {
            let refusal = Refusal {
                size: 77,
                wanted: 1 << 20,
                limit: met,
            };
            let context = UserContext::default();
            Book::heap_refused(&world.kernel, instance, &context, &refusal);
            let row = since(world, n)[0];
            assert_eq!((row.pool, row.size), (pool, 77), "{met:?}");
            let told = (row.used, row.pool_size, row.largest_free);
            assert_eq!(told, figures, "{met:?}");
            assert_eq!((row.owner, row.image), (TA, TA));
            assert_eq!(row.owner_kind, owner_kind::TA);
            assert_eq!(row.label, label("ta"));
            let report = world.kernel.state().guest(GuestId::FIRST).book.last_oom;
            let mut lines = report.text().lines();
            let line = format!("  the limit is {text}");
            assert_eq!(lines.nth(1), Some(&*line));
        }
        for session in [ta, other] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

/// What the normal world is refused names nobody but itself, and says how much it wanted of what.
#[test]
fn whatever_the_normal_world_is_refused_is_in_the_log_once() {
    const TOO_BIG: u64 = (64 << 20) + 4096;
    with(inspect::UUID, |world, session| {
        let lent = |kind| memref(kind, CLIENT.0, TOO_BIG, 9);
        let of_normal_world = FailureRow {
            owner_kind: owner_kind::GUEST,
            label: label("guest"),
            frames: STACK,
            ..FailureRow::default()
        };
        let too_big = FailureRow {
            pool: failed_pool::SHARED_PAGES,
            wanted_entries: 16385,
            used_entries: 0,
            entries: 16384,
            ..of_normal_world
        };
        let listed = attr::TMEM_INPUT | attr::NONCONTIG;
        for kind in [attr::TMEM_INPUT, listed] {
            let before = rows::<FailureRow>(world).len();
            let reply = world.send(header(cmd::REGISTER_SHM, 0, 0), &[lent(kind)]);
            assert_eq!(reply.result, TeeResult::OUT_OF_MEMORY);
            assert_eq!(since(world, before), [too_big], "registered, {kind:#x}");
            let reply = world.invoke(session, 0, &[lent(kind)]);
            assert_eq!(reply.result, TeeResult::OUT_OF_MEMORY);
            assert_eq!(since(world, before + 1), [too_big], "lent, {kind:#x}");
        }
        // What is wrong is no refusal.
        let before = rows::<FailureRow>(world).len();
        let unknown = memref(attr::RMEM_INPUT, 0, 16, 77);
        let reply = world.invoke(session, 0, &[unknown]);
        assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
        assert_eq!(since(world, before), []);

        let mut opened = Vec::new();
        let refused = loop {
            let reply = world.open(rng::UUID, &[]);
            if reply.result != TeeResult::SUCCESS {
                break reply.result;
            }
            opened.push(reply.session);
        };
        assert_eq!(refused, TeeResult::OUT_OF_MEMORY);
        // One more is the one that asks.
        assert_eq!(opened.len(), 95);
        let sessions = FailureRow {
            pool: failed_pool::SESSIONS,
            wanted_entries: 1,
            used_entries: 96,
            entries: 96,
            held_entries: 96,
            ..of_normal_world
        };
        assert_eq!(since(world, before), [sessions]);
        for session in opened {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

/// Secure RAM that a heap did not get was told twice where nobody settled it.
#[test]
fn a_heap_that_secure_ram_is_too_small_for_is_in_the_log_once() {
    with(inspect::UUID, |world, _| {
        const ALL: u64 = 200 * 4096;
        let ta = world.opened(TA);
        world.ta(|run| {
            let at = run.stack(0);
            run.store(at, &[0; 8]);
            run.call(svc::tally::HEAP_RESERVE, &[ALL, at])
        });
        world.ta(|run| run.call(svc::tally::HEAP_GROW, &[8192, 0]));
        // An attempt is told to nobody.
        world.ta(|run| run.call(svc::tally::HEAP_GROW, &[ALL, 0]));
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::OUT_OF_MEMORY);
            assert!(rows::<FailureRow>(run.world).is_empty());
            run.call(svc::tally::HEAP_GROW, &[ALL, 77])
        });
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
        let told = since(world, 0);
        assert_eq!(told.len(), 1);
        let row = told[0];
        assert_eq!((row.pool, row.size), (failed_pool::TA_RAM, 77));
        assert_eq!((row.owner, row.session), (TA, ta));
        assert_eq!(world.kernel.state().pages.figures().failures, 1);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

/// A chain of TAs that ended for want of stack was nowhere to be seen.
#[test]
fn who_is_not_entered_for_want_of_stack_is_in_the_log_once() {
    with(inspect::UUID, |world, _| {
        let ta = world.opened(TA);
        let machine = &world.kernel.machine;
        machine.set_stack_left(Some(STACK_RESERVE - 1));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::OUT_OF_MEMORY);
        machine.set_stack_left(None);
        let [row] = rows::<FailureRow>(world)[..] else {
            panic!("one row");
        };
        assert_eq!(row.pool, failed_pool::KERNEL_STACK);
        assert_eq!((row.size, row.pool_size), (16 << 10, 32 << 10));
        assert_eq!((row.used, row.largest_free), (20 << 10, 12 << 10));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn whoever_is_refused_again_and_again_drops_nobody_elses_from_the_log() {
    for (one, others) in [(TA, TeeUuid::nil()), (OTHER, TA), (TeeUuid::nil(), OTHER)] {
        with(inspect::UUID, |world, _| {
            let tell = |asker| {
                let entry = RefusedEntry {
                    table: SharedTable::Buffers,
                    asker,
                    wanted: 1,
                    used: 64,
                    size: 64,
                    holder: asker,
                    held: 64,
                };
                Book::refused(&world.kernel, GuestId::FIRST, &Refused::Entry(entry));
            };
            tell(one);
            for _ in 0..40 {
                tell(others);
            }
            let rows: Vec<FailureRow> = rows(world);
            let of_one = rows.iter().filter(|row| row.owner == one);
            assert_eq!(of_one.count(), 1, "{one} beside {others}");
        });
    }
}
