//! Calls of the leak finder: marks, differences, scans.
//!
//! **Invariant:** answers are checked for size before they are read.

use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_abi::pta::memleak;
use tally_records::{EndedRow, LeakRecord, MarkRow, ScanRow, SuspectRow};
use teec::{Context, Direction, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue};

use super::{ClientError, Result, fetch_by, memleak_session, records, value_out};

/// Octets that are kept free for records that come while a list is fetched.
const SPARE: usize = 512;

/// Sets a mark with a name (empty: without one) and returns its number.
///
/// # Errors
/// [`ClientError`]; `BadParameters` for a name that is none.
pub fn mark_named(context: &Context<'_>, name: &str) -> Result<u32> {
    let memory = match name.as_bytes() {
        [] => ParamTmpRef::new_null(Direction::Input),
        octets => ParamTmpRef::new_input(octets),
    };
    let mut op = Operation::new(0, memory, value_out(), ParamNone, ParamNone);
    memleak_session(context)?
        .invoke_command(memleak::CMD_MARK_NAMED, &mut op)
        .map_err(|error| ClientError::Invoke("mark", error))?;
    Ok(op.parameters().1.a())
}

/// The marks that are known, oldest first, and how many were dropped.
///
/// # Errors
/// [`ClientError`].
pub fn marks(context: &Context<'_>) -> Result<(Vec<MarkRow>, u32)> {
    let mut session = memleak_session(context)?;
    let mut dropped = 0;
    let bytes = fetch_by("marks", SPARE, &mut |memory| {
        let mut op = Operation::new(0, value_out(), memory, ParamNone, ParamNone);
        let result = session.invoke_command(memleak::CMD_MARKS, &mut op);
        dropped = op.parameters().0.b();
        (result, op.parameters().1.updated_size())
    })?;
    Ok((records("marks", &bytes)?, dropped))
}

/// Live blocks that were allocated from mark `from` (0: ever) until mark `until` (0: now), grouped,
/// in the heaps of one TA or in all. The session that asks is left out.
///
/// # Errors
/// [`ClientError`]; `BadParameters` for a mark that is not known, `ItemNotFound` for a TA that is
/// not loaded.
pub fn diff(
    context: &Context<'_>,
    (from, until): (u32, u32),
    ta: Option<TeeUuid>,
) -> Result<Vec<LeakRecord>> {
    let mut session = memleak_session(context)?;
    let octets = ta.map(TeeUuid::to_octets);
    let bytes = fetch_by("live blocks", SPARE, &mut |memory| {
        let which = match &octets {
            Some(octets) => ParamTmpRef::new_input(octets),
            None => ParamTmpRef::new_null(Direction::Input),
        };
        let marks = ParamValue::new(from, until, ParamType::ValueInput);
        let flags = ParamValue::new(0, 0, ParamType::ValueInput);
        let mut op = Operation::new(0, marks, flags, which, memory);
        let result = session.invoke_command(memleak::CMD_DIFF, &mut op);
        (result, op.parameters().3.updated_size())
    })?;
    let mut found: Vec<LeakRecord> = records("live blocks", &bytes)?;
    let own = session.id();
    found.retain(|r| r.blocks > 0 && !(r.owner == memleak::UUID && r.session == own));
    Ok(found)
}

/// TA instances that ended since a mark, oldest first, and how many the table dropped since boot.
///
/// # Errors
/// [`ClientError`].
pub fn ended(context: &Context<'_>, since: u32) -> Result<(Vec<EndedRow>, u32)> {
    let mut session = memleak_session(context)?;
    let mut dropped = 0;
    let bytes = fetch_by("ended instances", SPARE, &mut |memory| {
        let since = ParamValue::new(since, 0, ParamType::ValueInput);
        let mut op = Operation::new(0, since, value_out(), memory, ParamNone);
        let result = session.invoke_command(memleak::CMD_ENDED, &mut op);
        dropped = op.parameters().1.a();
        (result, op.parameters().2.updated_size())
    })?;
    Ok((records("ended instances", &bytes)?, dropped))
}

/// Looks for blocks that nothing points to, in the kernel heap (nil) or in all instances of a TA.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` for a TA that is not loaded, `OutOfMemory` if there are no pages
/// for the marks.
pub fn scan(context: &Context<'_>, heap: TeeUuid) -> Result<Vec<ScanRow>> {
    let mut session = memleak_session(context)?;
    let octets = heap.to_octets();
    let bytes = fetch_by("scan", SPARE, &mut |memory| {
        let which = ParamTmpRef::new_input(&octets);
        let mut op = Operation::new(0, which, memory, ParamNone, ParamNone);
        let result = session.invoke_command(memleak::CMD_SCAN, &mut op);
        (result, op.parameters().1.updated_size())
    })?;
    records("scan", &bytes)
}

/// What the last scan found that is still there.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` for a TA that is not loaded.
pub fn suspects(context: &Context<'_>, heap: TeeUuid) -> Result<Vec<SuspectRow>> {
    let mut session = memleak_session(context)?;
    let octets = heap.to_octets();
    let bytes = fetch_by("suspects", SPARE, &mut |memory| {
        let which = ParamTmpRef::new_input(&octets);
        let mut op = Operation::new(0, which, memory, ParamNone, ParamNone);
        let result = session.invoke_command(memleak::CMD_SUSPECTS, &mut op);
        (result, op.parameters().1.updated_size())
    })?;
    records("suspects", &bytes)
}

/// Hides what was found so far; returns how many blocks that were.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` for a TA that is not loaded.
pub fn clear(context: &Context<'_>, heap: TeeUuid) -> Result<u32> {
    let octets = heap.to_octets();
    let which = ParamTmpRef::new_input(&octets);
    let mut op = Operation::new(0, which, value_out(), ParamNone, ParamNone);
    memleak_session(context)?
        .invoke_command(memleak::CMD_CLEAR, &mut op)
        .map_err(|error| ClientError::Invoke("clear", error))?;
    Ok(op.parameters().1.a())
}
