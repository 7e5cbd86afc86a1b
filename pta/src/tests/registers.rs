//! TAs that come back with any registers: overflow in the kernel is a panic, so none may come of them.

use super::*;
use tally_core::testing::world::Event;
use tally_mem::machine::{Abort, Access, Trap};
use tally_records::{RegionRow, ScanRow, TaDetail};

/// Numbers at which sums and differences wrap.
const EDGES: [u64; 9] = [
    0,
    1,
    7,
    0x10_0000_0000,
    0x6f_ffff_fff8,
    1 << 63,
    !0xfff,
    u64::MAX - 7,
    u64::MAX,
];

/// Asks all that is told of a TA's memory and stack, and scans its heap.
fn ask_everything(world: &World) {
    let of = Selector::ta(TA);
    let _ = listed::<TaDetail>(world, &of);
    let _ = listed::<RegionRow>(world, &of);
    let _ = listed::<LeakRecord>(world, &of);
    let scans = world.opened(memleak::UUID);
    let params = [selector(world, &of), out(4 * size_of::<ScanRow>() as u64)];
    let _ = world.invoke(scans, memleak::CMD_SCAN, &params);
    assert_eq!(world.close(scans), TeeResult::SUCCESS);
    let status = world.opened(inspect::UUID);
    world.write(SELECTOR_AT, &TA.to_bytes());
    let name = memref(attr::TMEM_INPUT, SELECTOR_AT.0, 16, 0);
    let _ = world.invoke(status, inspect::CMD_STATUS, &[name]);
    assert_eq!(world.close(status), TeeResult::SUCCESS);
}

#[test]
fn whatever_a_ta_has_in_its_registers_when_it_dies_costs_its_own_life_only() {
    with(stats::UUID, |world, _| {
        let abort = |va, translation| {
            Trap::Abort(Abort {
                va,
                esr: 0,
                access: Access::Write,
                translation,
            })
        };
        for edge in EDGES {
            for trap in [
                abort(edge, true),
                abort(edge, false),
                Trap::Fault { esr: edge },
                Trap::Syscall,
            ] {
                let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100]);
                let ta = ta_with_pool(world, image, &[]);
                world.ta(move |run| {
                    run.context.x = [edge; 31];
                    run.context.x[8] = svc::PANIC;
                    (run.context.sp, run.context.pc) = (edge, edge);
                    trap
                });
                assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
                ask_everything(world);
                assert_eq!(world.close(ta), TeeResult::SUCCESS);
            }
        }
    });
}

#[test]
fn whatever_a_ta_has_in_its_registers_it_can_be_asked_about() {
    with(stats::UUID, |world, _| {
        for edge in EDGES {
            let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100]);
            let ta = ta_with_pool(world, image, &[]);
            world.ta(move |run| {
                run.context.x = [edge; 31];
                run.context.sp = edge;
                Trap::ForeignInterrupt
            });
            world.on(Event::Interrupt, ask_everything);
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn every_system_call_takes_any_numbers() {
    with(stats::UUID, |world, _| {
        let calls = (0..=70).chain([
            svc::tally::HEAP_RESERVE,
            svc::tally::HEAP_GROW,
            svc::tally::HEAP_ALARM,
        ]);
        for number in calls.filter(|number| *number != svc::WAIT) {
            for edge in EDGES {
                let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100]);
                let ta = ta_with_pool(world, image, &[]);
                world.ta(move |run| {
                    run.context.x = [edge; 31];
                    run.context.x[8] = number;
                    Trap::Syscall
                });
                world.ta(move |run| {
                    // A pointer that is one, and numbers that are none.
                    let at = run.stack(0);
                    run.context.x = [edge; 31];
                    (run.context.x[0], run.context.x[8]) = (at, number);
                    Trap::Syscall
                });
                world.ta(move |run| {
                    let at = run.stack(0);
                    run.context.x = [at; 31];
                    (run.context.x[1], run.context.x[8]) = (edge, number);
                    Trap::Syscall
                });
                world.ta(|run| run.exit(TeeResult::SUCCESS));
                let _ = world.invoke(ta, 0, &[]);
                world.clear_ta_steps();
                assert_eq!(world.close(ta), TeeResult::SUCCESS);
            }
        }
    });
}
