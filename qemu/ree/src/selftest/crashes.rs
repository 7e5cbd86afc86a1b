//! TAs that loop, and are ended from another CPU.
//!
//! **Invariant:** every test ends with the TA gone.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use ta_uuids::crash;
use teestat::client;

use super::{Bench, ONE_CPU, Outcome, Test, equal, holds, second_cpu};
use crate::jobs;
use crate::machine::{cpu, interrupts};

pub(super) const TESTS: &[Test] = &[
    ("an endless loop is ended from the other CPU", endless_loop),
    (
        "an endless loop without interrupts is ended at once",
        loop_without_ticks,
    ),
];

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
