//! Calls to the pseudo-TA `watch`: snapshots and watchpoints.
//!
//! **Invariant:** a snapshot is read piece by piece, in constant memory.

use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_abi::pta::watch;
use teec::{Context, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};

use super::{ClientError, Result, open, value_out};

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

fn session<'t>(context: &Context<'t>) -> Result<Session<'t>> {
    open(context, "watch pTA", watch::UUID)
}

/// Takes a snapshot; its number and bytes.
///
/// # Errors
/// [`ClientError`].
pub fn take_snapshot(context: &Context<'_>) -> Result<(u32, u32)> {
    let mut op = Operation::new(0, value_out(), ParamNone, ParamNone, ParamNone);
    session(context)?
        .invoke_command(watch::CMD_TAKE, &mut op)
        .map_err(|error| ClientError::Invoke("snapshot", error))?;
    Ok((op.parameters().0.a(), op.parameters().0.b()))
}

/// Hands a snapshot's bytes to `take`, in pieces, until it wants no more; how many there were.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` if there is none of this number, `NoData` if its watchpoint was
/// not met yet.
pub fn read_snapshot(
    context: &Context<'_>,
    number: u32,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<usize> {
    let mut session = session(context)?;
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(CHUNK)
        .map_err(|_| ClientError::NoMemory)?;
    buffer.resize(CHUNK, 0);
    let mut done = 0;
    loop {
        let from = ParamValue::new(number, done as u32, ParamType::ValueInput);
        let piece = ParamTmpRef::new_output(&mut buffer);
        let mut op = Operation::new(0, from, piece, ParamNone, ParamNone);
        session
            .invoke_command(watch::CMD_READ, &mut op)
            .map_err(|error| ClientError::Invoke("reading a snapshot", error))?;
        let len = op.parameters().1.updated_size().min(CHUNK);
        done += len;
        if !take(&buffer[..len]) || len < CHUNK {
            return Ok(done);
        }
    }
}

/// Forgets a snapshot or a watchpoint.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` if there is none of this number.
pub fn drop_snapshot(context: &Context<'_>, number: u32) -> Result<()> {
    let which = ParamValue::new(number, 0, ParamType::ValueInput);
    let mut op = Operation::new(0, which, ParamNone, ParamNone, ParamNone);
    session(context)?
        .invoke_command(watch::CMD_DROP, &mut op)
        .map_err(|error| ClientError::Invoke("dropping a snapshot", error))
}

/// Arms a watchpoint ([`tally_records::trigger`]); its number.
///
/// # Errors
/// [`ClientError`].
pub fn arm(context: &Context<'_>, uuid: TeeUuid, trigger: u32, wanted: u32) -> Result<u32> {
    let bytes = uuid.to_bytes();
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&bytes),
        ParamValue::new(trigger, wanted, ParamType::ValueInput),
        value_out(),
        ParamNone,
    );
    session(context)?
        .invoke_command(watch::CMD_ARM, &mut op)
        .map_err(|error| ClientError::Invoke("watch", error))?;
    Ok(op.parameters().2.a())
}
