//! Measured loops. Two hints enclose each, for a plugin that counts instructions; the results
//! file says what was between them, in order.
//!
//! **Invariant:** nothing but the measured calls runs between the hints; the tick is off.

mod storage;
mod waits;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use serde_json::json;
use ta_uuids::{heap, hello, keepalive};
use tally_abi::TeeUuid;
use tally_abi::pta::control;
use tally_records::Selector;
use teec::{Context, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};
use teestat::client;

use crate::machine::console::Console;
use crate::machine::{cpu, interrupts};
use crate::{results, tee};
use core::fmt::Write;

/// Begin and end of a measured loop.
const BEGIN: u32 = 100;
const END: u32 = 101;

/// One measure: its loop or loops.
type Measure = fn(&Context<'static>) -> Result<(), String>;

const MIB: usize = 1 << 20;
/// Allocated and freed pairs that the heap TA measures.
const PAIRS: u32 = 1000;

/// Measures by name, in the order they run.
static MEASURES: &[(&str, Measure)] = &[
    ("pta_invoke", pta_invoke),
    ("ta_invoke", ta_invoke),
    ("ta_load_32k", ta_load_32k),
    ("ta_load_8m", ta_load_8m),
    ("ta_keepalive_open_close", ta_keepalive_open_close),
    ("memref_1m", memref_1m),
    ("scan_kernel", scan_kernel),
    ("scan_ta_1m", scan_ta_1m),
    ("heap_pair", heap_pairs),
    ("storage", storage::run),
    ("wait", waits::run),
    ("storage_wait", waits::stored::run),
];

fn say(text: &str) {
    // The console takes everything.
    let _ = Console.write_str(text);
}

fn told(error: teec::Error) -> String {
    error.to_string()
}

/// Runs `body` once to warm up, then `iterations` times between the hints.
fn measure(
    name: &str,
    iterations: u32,
    mut body: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    body().map_err(|why| format!("{name}: {why}"))?;
    let start = cpu::micros();
    cpu::mark::<BEGIN>();
    let mut result = Ok(());
    for _ in 0..iterations {
        result = result.and_then(|()| body());
    }
    cpu::mark::<END>();
    let micros = cpu::micros() - start;
    result.map_err(|why| format!("{name}: {why}"))?;
    results::write(&json!({ "bench": name, "iterations": iterations }));
    say(&format!(
        "{name:<26} {iterations:>6} times, {:>9} ns each by the counter\n",
        micros * 1000 / u64::from(iterations.max(1))
    ));
    Ok(())
}

fn open_close(context: &Context<'_>, uuid: TeeUuid) -> Result<(), String> {
    context
        .open_session(uuid)
        .map_err(told)?
        .close()
        .map_err(told)
}

/// Runs all measures, or those whose name contains the one word of `args`.
pub(crate) fn run(args: &[&str]) -> Result<u8, String> {
    let filter = match args {
        [] => "",
        [filter] => *filter,
        [_, word, ..] => return Err(format!("`{word}` is too much: bench takes one word")),
    };
    let wanted: Vec<&(&str, Measure)> = MEASURES
        .iter()
        .filter(|(name, _)| name.contains(filter))
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        return Err(format!(
            "no measure is called `{filter}`; there are {names}"
        ));
    }
    let context = tee::context()?;
    interrupts::set_hertz(0);
    let result = wanted.iter().try_for_each(|(_, run)| run(&context));
    interrupts::set_hertz(interrupts::USUAL_HERTZ);
    result.map(|()| 0)
}

fn pta_invoke(context: &Context<'static>) -> Result<(), String> {
    let mut session = context.open_session(control::UUID).map_err(told)?;
    measure("pta_invoke", 100, || {
        // A command that is none: the way in and out, and nothing between.
        match session.invoke_plain(u32::MAX) {
            Err(error) if error.origin() != teec::ErrorOrigin::COMMS => Ok(()),
            Err(error) => Err(told(error)),
            Ok(()) => Err("an unknown command succeeded".to_string()),
        }
    })
}

fn ta_invoke(context: &Context<'static>) -> Result<(), String> {
    let mut session = context.open_session(hello::UUID).map_err(told)?;
    measure("ta_invoke", 100, || {
        session.invoke_plain(hello::CMD_NOP).map_err(told)
    })
}

fn ta_load_32k(context: &Context<'static>) -> Result<(), String> {
    measure("ta_load_32k", 5, || open_close(context, hello::UUID))
}

fn ta_load_8m(context: &Context<'static>) -> Result<(), String> {
    measure("ta_load_8m", 5, || open_close(context, heap::UUID))
}

fn ta_keepalive_open_close(context: &Context<'static>) -> Result<(), String> {
    measure("ta_keepalive_open_close", 50, || {
        open_close(context, keepalive::UUID)
    })
}

fn memref_1m(context: &Context<'static>) -> Result<(), String> {
    // Wrong parameters for `nop` would be refused in the TA, after the memory was mapped;
    // filling nothing takes the same way and succeeds.
    let mut session = context.open_session(hello::UUID).map_err(told)?;
    let mut buffer = vec![0_u8; MIB];
    measure("memref_1m", 10, || fill_nothing(&mut session, &mut buffer))
}

fn scan_kernel(context: &Context<'static>) -> Result<(), String> {
    // Two more TAs than none, so that there is something to look at.
    let _open = [
        context.open_session(hello::UUID).map_err(told)?,
        context.open_session(hello::UUID).map_err(told)?,
    ];
    measure("scan_kernel", 5, || scan(context, &Selector::KERNEL))
}

fn scan_ta_1m(context: &Context<'static>) -> Result<(), String> {
    let mut session = context.open_session(heap::UUID).map_err(told)?;
    // 16 blocks of 64 KiB that the session holds.
    for _ in 0..16 {
        let size = ParamValue::new(1 << 16, 0, ParamType::ValueInput);
        let handle = ParamValue::new(0, 0, ParamType::ValueOutput);
        let mut op = Operation::new(0, size, handle, ParamNone, ParamNone);
        session
            .invoke_command(heap::CMD_ALLOC, &mut op)
            .map_err(told)?;
    }
    measure("scan_ta_1m", 5, || scan(context, &Selector::ta(heap::UUID)))
}

/// One scan, which must find nothing.
fn scan(context: &Context<'_>, heap: &Selector) -> Result<(), String> {
    let rows = client::leaks::scan(context, heap).map_err(|error| error.to_string())?;
    match rows.iter().all(|row| row.suspects == 0) {
        true => Ok(()),
        false => Err("a scan found blocks that nothing points to".to_string()),
    }
}

fn fill_nothing(session: &mut Session<'_>, buffer: &mut [u8]) -> Result<(), String> {
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_output(buffer),
        ParamValue::new(0, 0, ParamType::ValueInput),
        ParamNone,
        ParamNone,
    );
    session
        .invoke_command(hello::CMD_FILL, &mut op)
        .map_err(told)
}

/// The heap TA sets its own hints.
fn heap_pairs(context: &Context<'_>) -> Result<(), String> {
    let strategies = [
        ("default", heap::strategy::DEFAULT),
        ("first_fit", heap::strategy::FIRST_FIT),
        ("untracked", heap::strategy::UNTRACKED),
        ("accounts", heap::strategy::ACCOUNTS),
        ("light", heap::strategy::LIGHT),
        ("depth_1", heap::strategy::DEPTH_1),
        ("depth_4", heap::strategy::DEPTH_4),
        ("depth_8", heap::strategy::DEPTH_8),
    ];
    for (name, strategy) in strategies {
        for live in [10, 100, 1000, 10_000] {
            let mut session = context.open_session(heap::UUID).map_err(told)?;
            let mut op = Operation::new(
                0,
                ParamValue::new(live, PAIRS, ParamType::ValueInput),
                ParamValue::new(strategy, 0, ParamType::ValueInput),
                ParamNone,
                ParamNone,
            );
            session
                .invoke_command(heap::CMD_BENCH, &mut op)
                .map_err(|error| format!("heap_pair {name} {live}: {error}"))?;
            results::write(&json!({
                "bench": "heap_pair", "iterations": PAIRS, "strategy": name, "live": live,
            }));
            say(&format!("heap_pair {name} {live}: done\n"));
        }
    }
    Ok(())
}
