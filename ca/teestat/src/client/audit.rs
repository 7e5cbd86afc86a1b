//! Calls to the pseudo-TA `audit`.

use tally_abi::TeeUuid;
use tally_abi::pta::audit;
use teec::{Context, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};

use super::{ClientError, Result, open, value_out};

/// How much the audit has seen and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditTotals {
    /// Events ever, repeated ones too.
    pub events: u32,
    /// Events that the ring has no more.
    pub dropped: u32,
    /// Call stacks that had no room.
    pub stacks_dropped: u32,
}

fn session<'t>(context: &Context<'t>) -> Result<Session<'t>> {
    open(context, "audit pTA", audit::UUID)
}

/// How much was seen and lost.
///
/// # Errors
/// [`ClientError`].
pub fn audit_totals(context: &Context<'_>) -> Result<AuditTotals> {
    let mut op = Operation::new(0, value_out(), value_out(), ParamNone, ParamNone);
    session(context)?
        .invoke_command(audit::CMD_TOTALS, &mut op)
        .map_err(|error| ClientError::Invoke("events", error))?;
    let (p0, p1, _, _) = op.parameters();
    Ok(AuditTotals {
        events: p0.a(),
        dropped: p0.b(),
        stacks_dropped: p1.a(),
    })
}

/// Does [`audit::ledger`] with a TA's commands.
///
/// # Errors
/// [`ClientError`]; `OutOfMemory` when too many TAs are looked at in detail.
pub fn set_ledger(context: &Context<'_>, uuid: TeeUuid, what: u32) -> Result<()> {
    let bytes = uuid.to_bytes();
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&bytes),
        ParamValue::new(what, 0, ParamType::ValueInput),
        ParamNone,
        ParamNone,
    );
    session(context)?
        .invoke_command(audit::CMD_LEDGER, &mut op)
        .map_err(|error| ClientError::Invoke("ledger", error))
}

/// Switches the test-only fault of the kernel that leaves behind what was closed too early.
///
/// # Errors
/// [`ClientError`]; `NotSupported` unless the kernel has test hooks.
pub fn set_buffer_fault(context: &Context<'_>, on: bool) -> Result<()> {
    let on = ParamValue::new(u32::from(on), 0, ParamType::ValueInput);
    let mut op = Operation::new(0, on, ParamNone, ParamNone, ParamNone);
    session(context)?
        .invoke_command(audit::CMD_FAULT, &mut op)
        .map_err(|error| ClientError::Invoke("fault", error))
}
