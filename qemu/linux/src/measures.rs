//! Measured loops of a client's calls. Two hints enclose each, for a plugin that counts
//! instructions; the results say what was between them, in order.
//!
//! **Invariant:** nothing but the measured calls runs between the hints in this process.
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "the hints are instructions")
)]

use std::time::{Duration, Instant};

use ta_uuids::{crash, hello, keepalive};
use tally_abi::TeeUuid;
use tally_abi::pta::stats;
use teec::{Context, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue};

use crate::bench::{self, Outcome};
use crate::results::Results;
use crate::{account, lateness};

/// Executes `hint #N`: nothing, but the plugin sees it.
macro_rules! mark {
    ($n:literal) => {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a hint that no processor has a meaning for does nothing.
        unsafe {
            std::arch::asm!(concat!("hint #", $n), options(nomem, nostack));
        }
    };
}

/// Sleeps of a millisecond.
const SLEEPS: usize = 2000;

/// Runs all measures; their names go to `results`.
pub(crate) fn run(results: &str) -> Outcome {
    let mut results = Results::open(results).map_err(|error| format!("{results}: {error}"))?;
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    facts(&mut results, &context)?;
    calls(&mut results, &context)?;
    latenesses(&mut results, &context)?;
    results.close().map_err(|error| format!("results: {error}"))
}

/// What the secure world has of its memory before any TA is loaded.
fn facts(results: &mut Results, context: &Context<'_>) -> Outcome {
    let object = account::teestat(context, "meminfo")?;
    let rows = object["meminfo"].as_array().ok_or("meminfo has no rows")?;
    let free = rows.iter().find(|row| row["use"] == "free");
    let free = free.and_then(|row| row["bytes"].as_u64());
    let free = free.ok_or("meminfo does not say what is free")?;
    results
        .fact("secure_free", free)
        .map_err(|error| format!("results: {error}"))
}

fn calls(results: &mut Results, context: &Context<'_>) -> Outcome {
    let mut session = bench::open(context, stats::UUID)?;
    // A command that is none: the way in and out, and nothing between.
    measure(results, "pta_invoke", 100, || {
        match session.invoke_plain(u32::MAX) {
            Err(error) if error.origin() != teec::ErrorOrigin::COMMS => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(()) => Err("an unknown command succeeded".into()),
        }
    })?;
    let mut session = bench::open(context, hello::UUID)?;
    measure(results, "ta_invoke", 100, || {
        session
            .invoke_plain(hello::CMD_NOP)
            .map_err(|error| error.to_string())
    })?;
    let mut page = [0_u8; 4096];
    measure(results, "ta_invoke_memref_4k", 100, || {
        // Filling nothing: the reference is mapped, and no byte of it is touched.
        let to = ParamTmpRef::new_output(&mut page);
        let nothing = ParamValue::new(0, 0, ParamType::ValueInput);
        let mut operation = Operation::new(0, to, nothing, ParamNone, ParamNone);
        session
            .invoke_command(hello::CMD_FILL, &mut operation)
            .map_err(|error| error.to_string())
    })?;
    measure(results, "ta_open_close_loaded", 50, || {
        open_close(context, keepalive::UUID)
    })?;
    measure(results, "ta_load", 5, || open_close(context, hello::UUID))
}

/// How late a sleeper wakes on the one CPU, by what else is done there.
fn latenesses(results: &mut Results, context: &Context<'_>) -> Outcome {
    let mut tell = |name: &str| -> Outcome {
        let lateness = lateness::measure(SLEEPS)?;
        println!("{name}: {lateness:?}");
        results
            .lateness(name, &lateness)
            .map_err(|error| format!("results: {error}"))
    };
    tell("idle")?;
    for (name, child) in [("linux_loop", "spin"), ("ta_load", "reload")] {
        let child = bench::child(child)?;
        std::thread::sleep(Duration::from_millis(100));
        let told = tell(name);
        bench::finish(child)?;
        told?;
    }
    let child = bench::child("loop")?;
    let loaded = bench::until("the loop", || {
        let found = account::teestat(context, "ta").ok();
        found.is_some_and(|object| object.to_string().contains(&crash::UUID.to_string()))
    });
    let told = loaded.and_then(|()| tell("ta_loop"));
    let killed = bench::program("teestat", &["kill", &crash::UUID.to_string()]);
    bench::end(child)?;
    told.and(killed.map(drop))
}

pub(crate) fn open_close(context: &Context<'_>, uuid: TeeUuid) -> Outcome {
    bench::open(context, uuid)?
        .close()
        .map_err(|error| error.to_string())
}

/// Runs `body` three times to warm up, then `iterations` times between the hints.
pub(crate) fn measure(
    results: &mut Results,
    name: &str,
    iterations: u32,
    body: impl FnMut() -> Outcome,
) -> Outcome {
    measure_in_pieces(results, name, (iterations, 1), body)
}

/// As [`measure`], where each time does so many pieces, one of which the figure is of.
pub(crate) fn measure_in_pieces(
    results: &mut Results,
    name: &str,
    (iterations, pieces): (u32, u32),
    mut body: impl FnMut() -> Outcome,
) -> Outcome {
    (0..3).try_for_each(|_| body())?;
    let begun = Instant::now();
    mark!("100");
    let result = (0..iterations).try_for_each(|_| body());
    mark!("101");
    let time = begun.elapsed();
    result.map_err(|why| format!("{name}: {why}"))?;
    println!("{name}: {iterations} times");
    results
        .measure(name, iterations * pieces, time)
        .map_err(|error| format!("results: {error}"))
}
