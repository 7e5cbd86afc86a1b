//! Longest wait of a normal-world interrupt while the secure world answers questions.
//!
//! **Invariant:** interrupts come often enough to fall into every stretch that is longer than what is
//! looked for; the TA asked about has many live blocks.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use serde_json::json;
use ta_uuids::heap;
use teec::{Context, Operation, ParamNone, ParamType, ParamValue};
use teestat::{Memory, STATUS_OK, client};

use crate::machine::interrupts;
use crate::names::MachineNames;
use crate::results;

/// A tick every 20,000 instructions, when time is instructions.
const HERTZ: u64 = 50_000;
const LIVE_BLOCKS: u32 = 20_000;

/// The questions of `teestat` that look at more than a figure.
const QUESTIONS: &[&[&str]] = &[
    &["meminfo"],
    &["pools"],
    &["owners"],
    &["ta", "-v"],
    &["maps"],
    &["slabinfo", "kernel"],
    &["slabinfo", "heap"],
    &["allocinfo", "kernel"],
    &["allocinfo", "heap"],
    &["blocks", "heap"],
    &["pool", "dump", "heap"],
    &["pool", "check", "kernel"],
    &["pool", "check", "heap"],
    &["leaks", "list"],
    &["leaks", "diff"],
    &["leaks", "scan", "kernel"],
    &["leaks", "scan", "heap"],
    &["leaks", "ta", "heap"],
    &["advise"],
    &["audit"],
    &["ledger", "heap"],
    &["top", "-n", "1"],
];

/// Takes what is printed, and forgets it.
struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, _text: &str) -> fmt::Result {
        Ok(())
    }
}

/// Measures all of them.
pub(super) fn run(context: &Context<'static>) -> Result<(), String> {
    let mut session = context.open_session(heap::UUID).map_err(super::told)?;
    ask(context, &["leaks", "mark"])?;
    let mut op = Operation::new(
        0,
        ParamValue::new(LIVE_BLOCKS, 20, ParamType::ValueInput),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    session
        .invoke_command(heap::CMD_LEAK, &mut op)
        .map_err(super::told)?;
    for question in QUESTIONS {
        measure(&question.join(" "), || ask(context, question))?;
    }
    measure("snapshot", || {
        let taken = client::take_snapshot(context).map_err(|error| format!("{error}"))?;
        client::drop_snapshot(context, taken.0).map_err(|error| format!("{error}"))
    })
}

fn measure(name: &str, asked: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    interrupts::longest_wait_micros();
    interrupts::set_hertz(HERTZ);
    let result = asked();
    interrupts::set_hertz(0);
    let micros = interrupts::longest_wait_micros();
    results::write(&json!({ "wait": name, "micros": micros }));
    super::say(&format!(
        "{name}: an interrupt waited {micros} us at most\n"
    ));
    result
}

fn ask(context: &Context<'_>, question: &[&str]) -> Result<(), String> {
    let mut complaint = String::new();
    let memory = &mut Memory::default();
    let status = teestat::run(
        question,
        context,
        &mut Nowhere,
        &mut complaint,
        &MachineNames,
        memory,
    );
    match status {
        STATUS_OK => Ok(()),
        _ => Err(format!("teestat {question:?}: {complaint}")),
    }
}
