//! TAs that crash, and are ended.
//!
//! **Invariant:** every test ends with the TA gone.

use alloc::format;
use alloc::string::String;
use ta_uuids::crash;
use teec::{ErrorKind, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};
use teestat::client;

use crate::{Bench, Outcome, Test, equal, fails, holds, value_in, value_out, works};

pub(crate) const TESTS: &[Test] = &[
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
    ("scalable vectors end the TA", dies::<{ crash::CMD_SVE }>),
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

fn open_with<'t>(bench: &Bench<'t>, what: u32) -> teec::Result<Session<'t>> {
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
