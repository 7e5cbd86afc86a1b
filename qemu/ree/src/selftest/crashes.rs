//! TAs that crash, loop, and are ended.
//!
//! **Invariant:** every test ends with the TA gone.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use ta_uuids::crash;
use teec::{ErrorKind, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};
use teestat::client;

use super::{
    Bench, ONE_CPU, Outcome, Test, equal, fails, holds, second_cpu, value_in, value_out, works,
};
use crate::jobs;
use crate::machine::{cpu, interrupts};

pub(super) const TESTS: &[Test] = &[
    ("a null read ends the TA", dies::<{ crash::CMD_NULL_READ }>),
    (
        "a wild write ends the TA",
        dies::<{ crash::CMD_WILD_WRITE }>,
    ),
    (
        "a write to code ends the TA",
        dies::<{ crash::CMD_WRITE_CODE }>,
    ),
    (
        "executing data ends the TA",
        dies::<{ crash::CMD_EXEC_DATA }>,
    ),
    (
        "a stack overflow ends the TA",
        dies::<{ crash::CMD_STACK_OVERFLOW }>,
    ),
    (
        "a division by zero ends the TA",
        dies::<{ crash::CMD_DIVIDE }>,
    ),
    (
        "an undefined instruction ends the TA",
        dies::<{ crash::CMD_UNDEFINED }>,
    ),
    (
        "a breakpoint ends the TA",
        dies::<{ crash::CMD_BREAKPOINT }>,
    ),
    ("a panic ends the TA", dies::<{ crash::CMD_PANIC }>),
    (
        "reading the kernel ends the TA",
        dies::<{ crash::CMD_KERNEL_READ }>,
    ),
    (
        "reading a system register ends the TA",
        dies::<{ crash::CMD_SYSREG }>,
    ),
    (
        "calling the monitor ends the TA",
        dies::<{ crash::CMD_SMC }>,
    ),
    ("TEE_Panic ends the TA", dies::<{ crash::CMD_TEE_PANIC }>),
    ("a panic deep down gives its blocks back", panic_holding),
    ("what is allowed does no harm", harmless),
    ("system calls with bad pointers are refused", bad_pointers),
    ("writing to input memory", write_input),
    ("refusing and panicking when opened", on_open),
    ("an endless loop is ended from the other CPU", endless_loop),
    (
        "an endless loop without interrupts is ended at once",
        loop_without_ticks,
    ),
    ("killing what is not loaded is refused", kill_nobody),
    ("killing an idle TA closes its sessions", kill_idle),
];

/// The command ends its TA, and that TA alone.
fn dies<const COMMAND: u32>(bench: &Bench) -> Outcome {
    let mut other = bench.open(crash::UUID)?;
    let mut session = bench.open(crash::UUID)?;
    fails(session.invoke_plain(COMMAND), ErrorKind::TargetDead)?;
    fails(session.invoke_plain(crash::CMD_NOP), ErrorKind::TargetDead)?;
    works(other.invoke_plain(crash::CMD_NOP))
}

fn panic_holding(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    fails(
        value_in(&mut session, crash::CMD_PANIC_HOLDING, 5, 0),
        ErrorKind::TargetDead,
    )
}

fn harmless(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    works(session.invoke_plain(crash::CMD_UNALIGNED))?;
    works(value_out(&mut session, crash::CMD_BAD_SYSCALL)).map(drop)
}

fn bad_pointers(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    let (calls, taken) = works(value_out(&mut session, crash::CMD_BAD_POINTERS))?;
    holds(calls > 0, "no call was made")?;
    equal(taken, 0, "calls that were not refused")
}

fn write_input(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    let buffer = [0x5a_u8; 5000];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&buffer),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    match session.invoke_command(crash::CMD_WRITE_INPUT, &mut op) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::TargetDead => {}
        Err(error) => return Err(format!("{error}")),
    }
    holds(
        core::hint::black_box(&buffer).iter().all(|&b| b == 0x5a),
        "the input was changed",
    )
}

fn open_with(bench: &Bench, what: u32) -> teec::Result<Session<'static>> {
    let mut op = Operation::new(
        0,
        ParamValue::new(what, 0, ParamType::ValueInput),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    bench
        .context
        .open_session_with_operation(crash::UUID, &mut op)
}

fn on_open(bench: &Bench) -> Outcome {
    let mut fine = works(open_with(bench, crash::on_open::FINE))?;
    fails(
        open_with(bench, crash::on_open::REFUSE),
        ErrorKind::AccessDenied,
    )?;
    fails(
        open_with(bench, crash::on_open::PANIC),
        ErrorKind::TargetDead,
    )?;
    works(fine.invoke_plain(crash::CMD_NOP))
}

/// Loops on the second CPU; this one stays alive, sees ticks, and ends it.
fn endless_loop(bench: &Bench) -> Outcome {
    if !second_cpu()? {
        return bench.skipped(ONE_CPU);
    }
    let (job, code) = loop_elsewhere(bench)?;
    let result = watch_and_kill(bench);
    while jobs::collect(job).is_none() {
        cpu::doze();
    }
    result?;
    was_killed(&code)
}

/// As [`endless_loop`], but nothing interrupts the second CPU.
fn loop_without_ticks(bench: &Bench) -> Outcome {
    /// Long for a call, but a machine may be busy with other things.
    const AT_ONCE_MICROS: u64 = 1_000_000;
    if !second_cpu()? {
        return bench.skipped(ONE_CPU);
    }
    let (job, code) = loop_elsewhere(bench)?;
    // The other CPU's tick stops with its next one.
    interrupts::set_hertz(0);
    let looping = begins_to_loop(bench);
    let before = interrupts::ticks(1);
    let ended = client::kill(&bench.context, crash::UUID).map_err(|e| format!("{e}"));
    let killed = cpu::micros();
    let mut done = None;
    while done.is_none() && cpu::micros() - killed < AT_ONCE_MICROS {
        done = jobs::collect(job);
    }
    let ticks = interrupts::ticks(1) - before;
    interrupts::set_hertz(interrupts::USUAL_HERTZ);
    holds(done.is_some(), "the loop goes on")?;
    let restart = jobs::start("tick", || {
        interrupts::set_hertz(interrupts::USUAL_HERTZ);
        0
    });
    while restart.is_some_and(|job| jobs::collect(job).is_none()) {
        cpu::doze();
    }
    looping?;
    equal(ended?, 1, "instances ended")?;
    equal(ticks, 0, "ticks that may have ended the loop")?;
    was_killed(&code)
}

/// Has the second CPU run a TA that loops: the job, and where it says what that came back with.
fn loop_elsewhere(bench: &Bench) -> Result<(u32, Arc<AtomicU32>), String> {
    let context = bench.context;
    let code = Arc::new(AtomicU32::new(0));
    let there = code.clone();
    let job = jobs::start("loop", move || match context.open_session(crash::UUID) {
        Ok(mut session) => {
            let result = session.invoke_plain(crash::CMD_LOOP);
            there.store(
                result.map_or_else(|e| e.raw_code(), |()| 1),
                Ordering::Relaxed,
            );
            0
        }
        Err(error) => {
            there.store(error.raw_code(), Ordering::Relaxed);
            1
        }
    });
    Ok((job.ok_or("no second CPU")?, code))
}

fn was_killed(code: &AtomicU32) -> Outcome {
    equal(
        tally_abi::TeeResult(code.load(Ordering::Relaxed)),
        tally_abi::TeeResult::TARGET_DEAD,
        "what the looping call returned",
    )
}

/// Waits until the TA loops, and then a while longer.
fn begins_to_loop(bench: &Bench) -> Outcome {
    let start = cpu::micros();
    let mut looping = false;
    while !looping && cpu::micros() - start < 10_000_000 {
        let tas = client::ta_stats(&bench.context).map_err(|e| format!("{e}"))?;
        looping = tas
            .iter()
            .any(|ta| ta.uuid == crash::UUID && ta.sess_num > 0);
        cpu::doze();
    }
    let again = cpu::micros();
    while cpu::micros() - again < 100_000 {
        cpu::doze();
    }
    holds(looping, "the loop never began")
}

fn watch_and_kill(bench: &Bench) -> Outcome {
    let told = |e| format!("{e}");
    let before = interrupts::ticks(0);
    let looping = begins_to_loop(bench);
    let ticks = interrupts::ticks(0) - before;
    let other = interrupts::ticks(1);
    let ended = client::kill(&bench.context, crash::UUID).map_err(told)?;
    looping?;
    holds(ticks > 0 && other > 0, "no ticks while the TA looped")?;
    equal(ended, 1, "instances ended")
}

fn kill_nobody(bench: &Bench) -> Outcome {
    match client::kill(&bench.context, crash::UUID) {
        Err(error) if error.kind() == Some(ErrorKind::ItemNotFound) => Ok(()),
        Err(error) => Err(format!("{error}")),
        Ok(n) => Err(format!("ended {n} instances of nothing")),
    }
}

fn kill_idle(bench: &Bench) -> Outcome {
    let mut one = bench.open(crash::UUID)?;
    let two = bench.open(crash::UUID)?;
    let ended =
        client::kill(&bench.context, crash::UUID).map_err(|e| -> String { format!("{e}") })?;
    equal(ended, 2, "instances ended")?;
    fails(one.invoke_plain(crash::CMD_NOP), ErrorKind::TargetDead)?;
    drop((one, two));
    Ok(())
}
