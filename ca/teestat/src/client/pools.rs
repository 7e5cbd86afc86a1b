//! Calls to the `inspect` pTA about heaps: call sites, checks, blocks.

use alloc::vec::Vec;

use tally_abi::pta::inspect;
use tally_records::{BlockRow, Selector, SiteRow};
use teec::{Context, Error, ErrorKind, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue};
use zerocopy::{FromBytes, IntoBytes};

use super::lists::{each, session};
use super::{ClientError, Result, value_out};

/// Call sites of a heap.
///
/// # Errors
/// As for [`super::rows`].
pub fn sites(context: &Context<'_>, of: &Selector) -> Result<Vec<SiteRow>> {
    let mut rows = Vec::new();
    each(context, of, &mut |row: &SiteRow| {
        if !rows.iter_mut().any(|known: &mut SiteRow| known.join(row)) {
            rows.try_reserve(1).map_err(|_| ClientError::NoMemory)?;
            rows.push(*row);
        }
        Ok::<(), ClientError>(())
    })?;
    Ok(rows)
}

/// Checks a pool: one of [`tally_records::damage`], and where.
///
/// # Errors
/// As [`sites`]; `Busy` if the pool is changed all the while.
pub fn check(context: &Context<'_>, of: &Selector) -> Result<(u32, u32)> {
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(of.as_bytes()),
        value_out(),
        ParamNone,
        ParamNone,
    );
    session(context)?
        .invoke_command(inspect::CMD_CHECK, &mut op)
        .map_err(|error| ClientError::Invoke("check of a pool", error))?;
    Ok((op.parameters().1.a(), op.parameters().1.b()))
}

/// The live block that has the byte at an offset, or at an address where those are shown.
///
/// # Errors
/// As [`sites`]; `ItemNotFound` if none has, `AccessDenied` for an address where those are hidden.
pub fn block(context: &Context<'_>, of: &Selector, at: u64) -> Result<BlockRow> {
    const WHAT: &str = "block";
    let mut buffer = [0; size_of::<BlockRow>()];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(of.as_bytes()),
        ParamValue::new(at as u32, (at >> 32) as u32, ParamType::ValueInput),
        ParamTmpRef::new_output(&mut buffer),
        ParamNone,
    );
    session(context)?
        .invoke_command(inspect::CMD_BLOCK, &mut op)
        .map_err(|error| ClientError::Invoke(WHAT, error))?;
    BlockRow::read_from_bytes(&buffer).map_err(|_| ClientError::BadSize(WHAT, buffer.len()))
}

/// What is in a block; `None` in builds that do not show it.
///
/// # Errors
/// As [`block`].
pub fn block_bytes(
    context: &Context<'_>,
    of: &Selector,
    block: &BlockRow,
) -> Result<Option<Vec<u8>>> {
    let mut buffer: Vec<u8> = Vec::new();
    let size = usize::try_from(block.size).map_err(|_| ClientError::NoMemory)?;
    buffer
        .try_reserve_exact(size)
        .map_err(|_| ClientError::NoMemory)?;
    buffer.resize(size, 0);
    let at = block.offset;
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(of.as_bytes()),
        ParamValue::new(at as u32, (at >> 32) as u32, ParamType::ValueInput),
        ParamTmpRef::new_output(&mut buffer),
        value_out(),
    );
    let result = session(context)?.invoke_command(inspect::CMD_BLOCK_BYTES, &mut op);
    let not_supported = |error: &Error| error.kind() == ErrorKind::NotSupported;
    match result {
        Ok(()) => Ok(Some(buffer)),
        Err(error) if not_supported(&error) => Ok(None),
        Err(error) => Err(ClientError::Invoke("bytes of a block", error)),
    }
}
