//! Calls of the leak finder: marks, differences, scans.
//!
//! **Invariant:** answers are checked for size before they are read.

use alloc::vec::Vec;

use tally_abi::pta::{inspect, memleak};
use tally_records::{LeakRecord, ScanRow, Selector};
use teec::{Context, Direction, Operation, ParamNone, ParamTmpRef};
use zerocopy::IntoBytes;

use super::lists::{listed_in, session};
use super::{ClientError, Result, fetch_by, memleak_session, records, value_out};

/// Bytes that are kept free for records that come while a list is fetched.
const SPARE: usize = 512;

/// Sets a mark with a name (empty: without one) and returns its number.
///
/// # Errors
/// [`ClientError`]; `BadParameters` for a name that is none.
pub fn mark(context: &Context<'_>, name: &str) -> Result<u32> {
    let memory = match name.as_bytes() {
        [] => ParamTmpRef::new_null(Direction::Input),
        bytes => ParamTmpRef::new_input(bytes),
    };
    let mut op = Operation::new(0, memory, value_out(), ParamNone, ParamNone);
    memleak_session(context)?
        .invoke_command(memleak::CMD_MARK, &mut op)
        .map_err(|error| ClientError::Invoke("mark", error))?;
    Ok(op.parameters().1.a())
}

/// Looks for blocks that nothing points to.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` for a TA that is not loaded, `OutOfMemory` if there are no pages
/// for the marks.
pub fn scan(context: &Context<'_>, of: &Selector) -> Result<Vec<ScanRow>> {
    let mut session = memleak_session(context)?;
    let bytes = fetch_by("scan", SPARE, &mut |memory| {
        let of = ParamTmpRef::new_input(of.as_bytes());
        let mut op = Operation::new(0, of, memory, ParamNone, ParamNone);
        let result = session.invoke_command(memleak::CMD_SCAN, &mut op);
        (result, op.parameters().1.updated_size())
    })?;
    records("scan", &bytes)
}

/// Live blocks of the heaps that are selected, by owner, call stack and mark. The session that asks is left out.
///
/// # Errors
/// As for [`super::rows`].
pub fn live(context: &Context<'_>, of: &Selector) -> Result<Vec<LeakRecord>> {
    let mut session = session(context)?;
    let (mut found, _) = listed_in::<LeakRecord>(&mut session, of)?;
    let own = session.id();
    found.retain(|r| r.blocks > 0 && !(r.owner == inspect::UUID && r.session == own));
    Ok(found)
}

/// Hides what was found so far; returns how many blocks that were.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` for a TA that is not loaded.
pub fn clear(context: &Context<'_>, of: &Selector) -> Result<u32> {
    let which = ParamTmpRef::new_input(of.as_bytes());
    let mut op = Operation::new(0, which, value_out(), ParamNone, ParamNone);
    memleak_session(context)?
        .invoke_command(memleak::CMD_CLEAR, &mut op)
        .map_err(|error| ClientError::Invoke("clear", error))?;
    Ok(op.parameters().1.a())
}
