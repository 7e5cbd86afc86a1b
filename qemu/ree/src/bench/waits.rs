//! Longest wait of a normal-world interrupt while the secure world does what clients and TAs can have it do.
//!
//! **Invariant:** interrupts come often enough to fall into every stretch that is longer than what is
//! looked for; the TA asked about has many live blocks.

mod calls;
mod commands;
mod questions;
pub(super) mod stored;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use serde_json::json;
use ta_uuids::{glutton, heap, hello, keepalive};
use teec::{Context, Operation, ParamNone, ParamType, ParamValue, Session};
use teestat::{FileSink, Files, Host, HostNames, Memory, STATUS_USAGE, client};

use super::told;
use crate::machine::{cpu, interrupts};
use crate::names::MachineNames;
use crate::results;

/// A tick every 20,000 instructions, when time is instructions.
const HERTZ: u64 = 50_000;
const LIVE_BLOCKS: u32 = 20_000;
/// TAs whose place questions take at most.
const ASKING: usize = 32;
/// The most call sites and frames that a pool's books can have.
const MOST_SITES: u32 = 8192;
const MOST_FRAMES: u32 = 8;

/// Takes what is printed or written to a file, and forgets it.
struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, _text: &str) -> fmt::Result {
        Ok(())
    }
}

impl FileSink for Nowhere {
    fn write(&mut self, _data: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

impl Files for Nowhere {
    fn create(&self, _path: &str) -> Result<Box<dyn FileSink>, String> {
        Ok(Box::new(Self))
    }
}

impl Host for Nowhere {
    fn names(&self) -> &dyn HostNames {
        &MachineNames
    }

    fn files(&self) -> &dyn Files {
        self
    }
}

/// Measures all of them.
pub(super) fn run(context: &Context<'static>) -> Result<(), String> {
    let mut session = context.open_session(heap::UUID).map_err(told)?;
    ask(context, &["leaks", "mark"])?;
    values(&mut session, heap::CMD_LEAK, LIVE_BLOCKS, 20)?;
    measure("teestat snapshot", || {
        let taken = client::take_snapshot(context).map_err(|error| format!("{error}"))?;
        client::drop_snapshot(context, taken.0).map_err(|error| format!("{error}"))
    })?;
    commands::run(context)?;
    all_questions(context, "")?;
    drop(session);
    let mut session = context.open_session(glutton::UUID).map_err(told)?;
    measure("forged books, an allocation refused", || {
        values_out(&mut session, glutton::CMD_FORGE, MOST_SITES, MOST_FRAMES)
    })?;
    all_questions(context, ", with forged books")?;
    measure("forged books, session closed", || {
        // What it does with its heap ends it.
        drop(session);
        Ok(())
    })?;
    let mut many = as_many_as_fit(context);
    // A list of so many owners is refused.
    many.drain(1..=2);
    measure(
        "kernel heap full, with as many TAs and sessions as fit",
        || ask(context, &["owners"]),
    )?;
    // Questions take sessions, and memory.
    many.drain(1..=ASKING);
    all_questions(context, ", with as many TAs and sessions as fit")?;
    measure("all sessions closed, with as many as fit", || {
        drop(many);
        Ok(())
    })?;
    calls::run(context)
}

/// Sessions of small TAs, each with an instance of its own, until one is refused; then of one instance.
fn as_many_as_fit(context: &Context<'static>) -> Vec<Session<'static>> {
    let of_each = core::iter::from_fn(|| context.open_session(hello::UUID).ok());
    let of_one = core::iter::from_fn(|| context.open_session(keepalive::UUID).ok());
    let mut sessions: Vec<Session<'static>> = context
        .open_session(keepalive::UUID)
        .into_iter()
        .chain(of_each)
        .collect();
    sessions.extend(of_one);
    super::say(&format!("{} sessions fit\n", sessions.len()));
    sessions
}

/// Asks whatever `teestat` can be asked.
fn all_questions(context: &Context<'static>, when: &str) -> Result<(), String> {
    // Without memory there is none.
    let number = client::take_snapshot(context).map_or(0, |taken| taken.0);
    for question in questions::all(&format!("{number}"))? {
        let words: Vec<&str> = question.iter().map(String::as_str).collect();
        let name = format!("teestat {}{when}", words.join(" "));
        measure(&name, || ask(context, &words))?;
    }
    // Dropped by one of the questions, as a rule.
    let _ = client::drop_snapshot(context, number);
    Ok(())
}

/// Runs `work` with ticks, between hints; what came of it, and the longest wait. [`record`] follows.
fn measure_of<R>(work: impl FnOnce() -> R) -> (R, u64) {
    interrupts::longest_wait_micros();
    interrupts::set_hertz(HERTZ);
    cpu::mark::<{ super::BEGIN }>();
    let result = work();
    cpu::mark::<{ super::END }>();
    interrupts::set_hertz(0);
    (result, interrupts::longest_wait_micros())
}

/// Names what was measured last; it does not count without a name.
fn record(name: &str, micros: u64) {
    results::write(&json!({ "wait": name, "micros": micros }));
    if !name.is_empty() {
        super::say(&format!(
            "{name}: an interrupt waited {micros} us at most\n"
        ));
    }
}

fn measure(name: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let (result, micros) = measure_of(work);
    record(name, micros);
    result.map_err(|why| format!("{name}: {why}"))
}

/// Asks, whatever the answer: it fails where there is nothing to tell.
fn ask(context: &Context<'_>, question: &[&str]) -> Result<(), String> {
    let mut complaint = String::new();
    let memory = &mut Memory::default();
    let status = teestat::run(
        question,
        context,
        &mut Nowhere,
        &mut complaint,
        &Nowhere,
        memory,
    );
    match status {
        STATUS_USAGE => Err(format!("teestat {question:?}: {complaint}")),
        _ => Ok(()),
    }
}

fn values(session: &mut Session<'_>, command: u32, a: u32, b: u32) -> Result<(), String> {
    let values = ParamValue::new(a, b, ParamType::ValueInput);
    let mut op = Operation::new(0, values, ParamNone, ParamNone, ParamNone);
    session.invoke_command(command, &mut op).map_err(told)
}

fn values_out(session: &mut Session<'_>, command: u32, a: u32, b: u32) -> Result<(), String> {
    let values = ParamValue::new(a, b, ParamType::ValueInput);
    let out = ParamValue::new(0, 0, ParamType::ValueOutput);
    let mut op = Operation::new(0, values, out, ParamNone, ParamNone);
    session.invoke_command(command, &mut op).map_err(told)
}
