//! Depth of a TA's stack, and overflow of it.
//!
//! **Invariant:** every test compares the accounts before and after.

use super::*;
use tally_abi::pta::inspect;
use tally_account::testing::Run;
use tally_core::guest_id::GuestId;
use tally_core::testing::world::TA_STACK;
use tally_mem::addr::UserVa;
use tally_mem::machine::{Abort, Access, SecureMemory, Trap};
use tally_mem::space::Target;
use tally_records::{CommandRow, HistoryRow, TaDetail, cause};

/// Bytes of the parameters, which lie at the top.
const PARAMS: u64 = 80;
const PAGE: u64 = 4096;

/// Deepest use as it is told of the TA, and in detail of its last command.
fn deepest(world: &World, command: u32) -> (u64, u64) {
    let told = rows::<TaDetail>(world)[0].stack_deepest;
    let commands: Vec<CommandRow> = rows(world);
    let row = commands.iter().find(|row| row.command == command).unwrap();
    (told, row.stack_deepest)
}

/// A TA whose calls are looked at in detail.
fn in_detail(world: &World) -> u32 {
    let mut state = world.kernel.state();
    let commands = &mut state.guest_mut(GuestId::FIRST).book.commands;
    assert!(commands.set_detail(TA, true));
    drop(state);
    world.opened(TA)
}

fn command(world: &World, ta: u32, number: u32, work: impl FnOnce(&mut Run<'_>) + Send + 'static) {
    world.ta(move |run| {
        work(run);
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(ta, number, &[]).result, TeeResult::SUCCESS);
}

#[test]
fn zeros_on_the_stack_are_use_of_the_stack() {
    // Bug: what was looked for was the lowest byte that is not zero.
    with(inspect::UUID, |world, _| {
        let ta = in_detail(world);
        command(world, ta, 1, |run| run.store(run.context.sp - 5000, &[0]));
        assert_eq!(deepest(world, 1), (PARAMS + 5000, PARAMS + 5000));
        command(world, ta, 2, |run| run.store(run.context.sp - 100, &[0]));
        assert_eq!(deepest(world, 2), (PARAMS + 5000, PARAMS + 100));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn the_stack_pointer_at_a_trap_is_use_of_the_stack() {
    with(inspect::UUID, |world, _| {
        let ta = in_detail(world);
        let trap = |depth: u64| {
            world.ta(move |run| {
                run.context.sp -= depth;
                Trap::ForeignInterrupt
            });
            world.ta(move |run| {
                run.context.sp = run.context.sp.wrapping_add(depth);
                run.exit(TeeResult::SUCCESS)
            });
        };
        trap(6000);
        assert_eq!(world.invoke(ta, 1, &[]).result, TeeResult::SUCCESS);
        assert_eq!(deepest(world, 1), (PARAMS + 6000, PARAMS + 6000));
        // Another stack, of the TA's own making.
        trap(TA_STACK);
        assert_eq!(world.invoke(ta, 2, &[]).result, TeeResult::SUCCESS);
        assert_eq!(deepest(world, 2), (PARAMS + 6000, PARAMS));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

/// Has the TA die of a write, with its stack pointer so far below where it began.
fn dies(world: &World, write: impl FnOnce(&mut Run<'_>) -> u64 + Send + 'static) -> TaDetail {
    let ta = in_detail(world);
    world.ta(move |run| {
        let va = write(run);
        Trap::Abort(Abort {
            va,
            esr: 0,
            access: Access::Write,
            translation: true,
        })
    });
    assert_eq!(world.invoke(ta, 1, &[]).result, TeeResult::TARGET_DEAD);
    let told = rows::<TaDetail>(world)[0];
    assert_eq!(world.close(ta), TeeResult::SUCCESS);
    told
}

#[test]
fn a_stack_overflow_is_told_from_other_deaths() {
    // Bug: it was "crashed", and its deepest use that of some call before.
    with(inspect::UUID, |world, _| {
        const FRAME: u64 = 584 << 10;
        let frame = dies(world, |run| {
            run.context.sp -= FRAME;
            run.context.sp + 256
        });
        assert_eq!(frame.cause, cause::STACK_OVERFLOW);
        assert_eq!(frame.stack_deepest, PARAMS + FRAME);
        let history: Vec<HistoryRow> = rows(world);
        assert_eq!(history[0].stack_max, PARAMS + FRAME);
        let commands: Vec<CommandRow> = rows(world);
        let row = commands.iter().find(|row| row.command == 1).unwrap();
        assert_eq!(row.stack_deepest, PARAMS + FRAME);
        // A function that is entered with the stack at its very end.
        let push = dies(world, |run| {
            run.context.sp -= TA_STACK - PARAMS;
            run.context.sp - 16
        });
        assert_eq!(push.cause, cause::STACK_OVERFLOW);
        assert_eq!(push.stack_deepest, TA_STACK + 16);
        // Wild pointers: to next below the stack, and a stack pointer that leads nowhere.
        let wild = dies(world, |run| run.context.sp - TA_STACK - 8);
        assert_eq!(wild.cause, cause::CRASHED);
        assert!(wild.stack_deepest <= TA_STACK);
        let nowhere = dies(world, |run| {
            run.context.sp = 64;
            64
        });
        assert_eq!(nowhere.cause, cause::CRASHED);
    });
}

#[test]
fn a_frame_that_is_touched_page_by_page_is_told_whole() {
    with(inspect::UUID, |world, _| {
        const FRAME: u64 = 584 << 10;
        let probe = |code: [u32; 2]| {
            dies(world, move |run| {
                let pc = run.context.pc & !(PAGE - 1);
                let state = run.world.kernel.state();
                let instances = &state.guest(GuestId::FIRST).instances;
                let space = instances.iter().next().unwrap().1.space.as_ref().unwrap();
                let machine = &run.world.kernel.machine;
                let Some(Target::Secure(pa)) = space.resident(machine, UserVa(pc)) else {
                    panic!("no code");
                };
                machine.write_secure(pa, code.as_bytes());
                run.context.pc = pc + 4;
                run.context.x[9] = run.context.sp - FRAME;
                run.context.sp -= TA_STACK - PARAMS + PAGE;
                run.context.sp
            })
        };
        // cmp sp, x9; str xzr, [sp]
        let whole = probe([0xeb29_63ff, 0xf900_03ff]);
        assert_eq!(whole.cause, cause::STACK_OVERFLOW);
        assert_eq!(whole.stack_deepest, PARAMS + FRAME);
        // The same registers in other code.
        let other = probe([0xd503_201f, 0xf900_03ff]);
        assert_eq!(other.cause, cause::STACK_OVERFLOW);
        assert_eq!(other.stack_deepest, TA_STACK + PAGE);
    });
}

#[test]
fn a_call_that_ends_while_a_ta_is_looked_at_counts() {
    // Bug: the row had the depth of when it was begun, which was 0 of a TA that was being loaded then.
    let mut met = 0;
    for n in 0..8 {
        with(inspect::UUID, |world, _| {
            let (image, _) = tally_ledger::fuzzing::image(HEAP, &[8; 200]);
            let ta = ta_with_pool(world, image, &[]);
            world.at_interrupt(n, move |world| {
                world.ta(|run| {
                    run.context.sp -= 6000;
                    Trap::SecureInterrupt
                });
                world.ta(|run| {
                    run.context.sp += 6000;
                    run.exit(TeeResult::SUCCESS)
                });
                assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
            });
            let row = rows::<TaDetail>(world)[0];
            if !world.forget_interrupt() && row.stack_deepest >= 6000 {
                met += 1;
            }
            world.clear_ta_steps();
            assert_eq!(world.close(ta), TeeResult::SUCCESS);
        });
    }
    assert!(met > 0);
}
