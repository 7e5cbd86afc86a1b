//! Lists of the account: the records of any section.
//!
//! **Invariant:** answers are checked for size before they are read; what the kernel may give in parts takes one
//! buffer of fixed size, however long the list is.

use alloc::vec::Vec;

use tally_abi::pta::inspect;
use tally_records::{Described, Record, Selector};
use teec::{Context, ErrorKind, Operation, ParamTmpRef, ParamType, ParamValue, Session};
use zerocopy::IntoBytes;

use super::{ClientError, Result, open, records};

/// Bytes of the buffer that lists come through.
const BUFFER: usize = 8192;
/// Records that are kept free for such as come while a list is fetched that comes at once.
const SPARE: usize = 4;

pub(super) fn session<'t>(context: &Context<'t>) -> Result<Session<'t>> {
    open(context, "inspect pTA", inspect::UUID)
}

/// All records of what is selected.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` for a TA that is not loaded, `TargetDead` for the memory of a dead one,
/// `BadParameters` for a mark that is not known, `CorruptObject` for a heap whose books make no sense.
pub fn rows<T: Record + Described>(context: &Context<'_>, of: &Selector) -> Result<Vec<T>> {
    Ok(listed(context, of)?.0)
}

/// All records of what is selected, and how many the kernel has had no room for.
///
/// # Errors
/// As [`rows`].
pub fn listed<T: Record + Described>(
    context: &Context<'_>,
    of: &Selector,
) -> Result<(Vec<T>, u32)> {
    listed_in(&mut session(context)?, of)
}

/// As [`listed`], in a session to `inspect` ([`tally_abi::pta::inspect`]).
///
/// # Errors
/// As [`rows`].
pub fn listed_in<T: Record + Described>(
    session: &mut Session<'_>,
    of: &Selector,
) -> Result<(Vec<T>, u32)> {
    let mut rows: Vec<T> = Vec::new();
    let dropped = parts(session, of, &mut |part: &[T]| {
        rows.try_reserve(part.len())
            .map_err(|_| ClientError::NoMemory)?;
        rows.extend_from_slice(part);
        Ok::<(), ClientError>(())
    })?;
    Ok((rows, dropped))
}

/// Hands all records of what is selected to `each`.
///
/// # Errors
/// As [`rows`]; those of `each`.
pub fn each<T: Record + Described, E: From<ClientError>>(
    context: &Context<'_>,
    of: &Selector,
    each: &mut dyn FnMut(&T) -> core::result::Result<(), E>,
) -> core::result::Result<(), E> {
    let mut session = session(context)?;
    parts(&mut session, of, &mut |part: &[T]| {
        part.iter().try_for_each(&mut *each)
    })?;
    Ok(())
}

/// Hands all records to `take`, part by part; how many the kernel has had no room for.
fn parts<T: Record + Described, E: From<ClientError>>(
    session: &mut Session<'_>,
    of: &Selector,
    take: &mut dyn FnMut(&[T]) -> core::result::Result<(), E>,
) -> core::result::Result<u32, E> {
    let what = T::TABLE.list;
    let mut buffer: Vec<u8> = Vec::new();
    let mut room = BUFFER;
    let (mut low, mut high) = (0, 0);
    loop {
        let more = room.saturating_sub(buffer.len());
        buffer
            .try_reserve_exact(more)
            .map_err(|_| ClientError::NoMemory)?;
        buffer.resize(room, 0);
        let mut op = Operation::new(
            0,
            ParamValue::new(T::SECTION, 0, ParamType::ValueInout),
            ParamTmpRef::new_input(of.as_bytes()),
            ParamValue::new(low, high, ParamType::ValueInout),
            ParamTmpRef::new_output(&mut buffer),
        );
        let result = session.invoke_command(inspect::CMD_LIST, &mut op);
        let (dropped, _, cursor, memory) = op.parameters();
        let (dropped, size) = (dropped.a(), memory.updated_size());
        let next = (cursor.a(), cursor.b());
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::ShortBuffer && size > room => {
                room = size.saturating_add(SPARE * size_of::<T>());
                continue;
            }
            Err(error) => return Err(ClientError::Invoke(what, error).into()),
        }
        let bytes = buffer.get(..size).unwrap_or_default();
        take(&records(what, bytes)?)?;
        (low, high) = next;
        if next == (0, 0) {
            return Ok(dropped);
        }
    }
}
