//! The tour: boots, loads two TAs, shows their figures, makes a leak and finds it.
//!
//! **Invariant:** succeeds only if everything was as it says.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use ta_uuids::{heap, hello};
use tally_abi::TeeUuid;
use tally_records::MeminfoRow;
use tally_records::Selector;
use teec::{Context, Operation, ParamNone, ParamType, ParamValue};
use teestat::client;

use crate::machine::console::Console;
use crate::names::MachineNames;
use crate::{shell, tee};

const BLOCKS: u32 = 10;
const BYTES: u32 = 28;

fn say(text: &str) {
    // The console takes everything.
    let _ = Console.write_str(text);
}

fn explain(text: &str) {
    say(&format!("\n# {text}\n"));
}

/// Types a command, as a person would.
fn typed(command: &str) -> Result<(), String> {
    say(&format!("tally> {command}\n"));
    match shell::execute(command) {
        0 => Ok(()),
        status => Err(format!("`{command}` ended with status {status}")),
    }
}

fn told(error: impl ToString) -> String {
    error.to_string()
}

/// Runs the tour; 0 if everything was as it should be.
pub(crate) fn run() -> u8 {
    match tee::context().and_then(|context| steps(&context)) {
        Ok(()) => {
            explain(
                "That was the tour: everything was as it should be. `help` lists the commands.",
            );
            0
        }
        Err(why) => {
            say(&format!("\nThe tour ended early: {why}\n"));
            1
        }
    }
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

fn steps(context: &Context<'static>) -> Result<(), String> {
    explain("The monitor started the secure kernel, then this normal world. Who answers?");
    typed("caps")?;
    explain("Secure RAM by use, before any trusted application (TA) is loaded.");
    typed("teestat meminfo")?;
    let kept = loaded(context)?;
    let before = client::rows::<MeminfoRow>(context, &Selector::ALL).map_err(told)?;

    explain("Two TAs are fetched from this world's archive, checked, and run at EL0.");
    let mut greeter = context.open_session(hello::UUID).map_err(told)?;
    let mut op = Operation::new(
        0,
        ParamValue::new(41, 0, ParamType::ValueInout),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    greeter
        .invoke_command(hello::CMD_INC, &mut op)
        .map_err(told)?;
    let answer = op.parameters().0.a();
    say(&format!("hello: 41 + 1 = {answer}\n"));
    check(answer == 42, "hello cannot count")?;
    let mut heap_session = context.open_session(heap::UUID).map_err(told)?;
    say("heap: a session is open\n");

    explain("The kernel's pools, as OP-TEE's own tool prints them.");
    typed("teestat alloc")?;
    explain("The TAs and their heaps. The kernel reads these figures without entering the TAs.");
    typed("teestat ta")?;
    let all = loaded(context)?;
    for uuid in [hello::UUID, heap::UUID] {
        check(
            all.contains(&uuid),
            "a TA with an open session is not listed",
        )?;
    }

    explain("Now a leak. First a mark, then the heap TA loses 10 blocks of 28 bytes.");
    typed("teestat leaks mark")?;
    let mark = shell::last_mark().ok_or("no mark was set")?;
    let mut op = Operation::new(
        0,
        ParamValue::new(BLOCKS, BYTES, ParamType::ValueInput),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    heap_session
        .invoke_command(heap::CMD_LEAK, &mut op)
        .map_err(told)?;
    say("heap leak: done\n");
    explain("What was allocated since the mark and is still there, by owner and call stack:");
    typed("teestat leaks diff")?;
    find_leak(context, mark)?;

    explain(match kept.is_empty() {
        true => "The sessions close, the TAs go, and all they had is back, to the byte.",
        false => {
            "The sessions close. What was loaded before the tour stays, with what leaked in it:"
        }
    });
    greeter.close().map_err(told)?;
    heap_session.close().map_err(told)?;
    if !kept.is_empty() {
        check(loaded(context)? == kept, "a TA of the tour has not gone")?;
        return typed("teestat ta; sessions");
    }
    typed("teestat meminfo")?;
    let after = client::rows::<MeminfoRow>(context, &Selector::ALL).map_err(told)?;
    if before != after {
        return Err("memory is not as it was before".to_string());
    }
    say("the same as before, to the byte\n");
    Ok(())
}

/// Those of the tour's TAs that are loaded.
fn loaded(context: &Context<'_>) -> Result<Vec<TeeUuid>, String> {
    let all = client::ta_stats(context).map_err(told)?;
    let mut ours: Vec<TeeUuid> = all.iter().map(|ta| ta.uuid).collect();
    ours.retain(|uuid| [hello::UUID, heap::UUID].contains(uuid));
    ours.sort();
    Ok(ours)
}

/// Looks for the leak where the tool looks for it.
fn find_leak(context: &Context<'_>, mark: u32) -> Result<(), String> {
    let records = client::leaks::live(context, &Selector::ALL.since(mark)).map_err(told)?;
    let (mut blocks, mut bytes) = (0, 0);
    for record in records.iter().filter(|r| r.owner == heap::UUID) {
        blocks += record.blocks;
        bytes += record.bytes;
        let mut frames = record.frames.iter().take_while(|&&frame| frame != 0);
        let named = frames.any(|&frame| {
            teestat::frame_name(context, &MachineNames, record.image, frame)
                .contains(heap::LEAK_FUNCTION)
        });
        check(named, "the leak's call stack does not name its function")?;
    }
    check(
        blocks == BLOCKS && bytes == u64::from(BLOCKS * BYTES),
        "the leak is listed with wrong figures",
    )
}
