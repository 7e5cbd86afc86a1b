//! Calls to the `inspect` pTA about pools: call sites, classes, blocks, chunks, checks.
//!
//! **Invariant:** long lists come through one buffer of fixed size, however long they are.

use alloc::vec::Vec;

use tally_abi::pta::inspect;
use tally_records::{BlockRow, ChunkRow, ClassRow, SiteRow};
use teec::{Context, Error, ErrorKind, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue};
use zerocopy::FromBytes;

use super::inspect::{Subject, list, session};
use super::{ClientError, Result, value_out};

/// Octets of the buffer that lists come through.
const BUFFER: usize = 8192;

/// Hands all records of a list to `each`.
fn stream<T: FromBytes, E: From<ClientError>>(
    context: &Context<'_>,
    what: &'static str,
    command: u32,
    who: &Subject,
    each: &mut dyn FnMut(&T) -> core::result::Result<(), E>,
) -> core::result::Result<(), E> {
    let mut buffer: Vec<u8> = Vec::new();
    buffer
        .try_reserve_exact(BUFFER)
        .map_err(|_| ClientError::NoMemory)?;
    buffer.resize(BUFFER, 0);
    let mut session = session(context)?;
    let (mut low, mut high) = (0, 0);
    loop {
        let cursor = ParamValue::new(low, high, ParamType::ValueInout);
        let mut op = Operation::new(
            0,
            ParamTmpRef::new_input(who.octets()),
            cursor,
            ParamTmpRef::new_output(&mut buffer),
            ParamNone,
        );
        session
            .invoke_command(command, &mut op)
            .map_err(|error| ClientError::Invoke(what, error))?;
        let (_, cursor, memory, _) = op.parameters();
        (low, high) = (cursor.a(), cursor.b());
        let size = memory.updated_size().min(BUFFER);
        for record in buffer[..size].chunks(size_of::<T>()) {
            let record =
                T::read_from_bytes(record).map_err(|_| ClientError::BadSize(what, record.len()))?;
            each(&record)?;
        }
        if (low, high) == (0, 0) {
            return Ok(());
        }
    }
}

/// Call sites of a pool. [`Subject::NOBODY`]: of the kernel heap.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` for a TA that is not loaded, `CorruptObject` for books that make
/// no sense.
pub fn sites(context: &Context<'_>, who: &Subject) -> Result<Vec<SiteRow>> {
    let mut rows = Vec::new();
    stream(
        context,
        "call sites",
        inspect::CMD_SITES,
        who,
        &mut |row: &SiteRow| {
            if !rows.iter_mut().any(|known: &mut SiteRow| known.join(row)) {
                rows.try_reserve(1).map_err(|_| ClientError::NoMemory)?;
                rows.push(*row);
            }
            Ok::<(), ClientError>(())
        },
    )?;
    Ok(rows)
}

/// Size classes of a pool; they add up to its size.
///
/// # Errors
/// As [`sites`].
pub fn classes(context: &Context<'_>, who: &Subject) -> Result<Vec<ClassRow>> {
    list(context, "size classes", inspect::CMD_CLASSES, who)
}

/// Hands all live blocks of a pool to `each`, in the order of addresses.
///
/// # Errors
/// As [`sites`]; those of `each`.
pub fn blocks<E: From<ClientError>>(
    context: &Context<'_>,
    who: &Subject,
    each: &mut dyn FnMut(&BlockRow) -> core::result::Result<(), E>,
) -> core::result::Result<(), E> {
    stream(context, "live blocks", inspect::CMD_BLOCKS, who, each)
}

/// Hands all chunks of a pool to `each`, in the order of addresses.
///
/// # Errors
/// As [`sites`]; those of `each`.
pub fn chunks<E: From<ClientError>>(
    context: &Context<'_>,
    who: &Subject,
    each: &mut dyn FnMut(&ChunkRow) -> core::result::Result<(), E>,
) -> core::result::Result<(), E> {
    stream(context, "chunks", inspect::CMD_CHUNKS, who, each)
}

/// Checks a pool: one of [`tally_records::damage`], and where.
///
/// # Errors
/// As [`sites`]; `Busy` if the pool is changed all the while.
pub fn check(context: &Context<'_>, who: &Subject) -> Result<(u32, u32)> {
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(who.octets()),
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
pub fn block(context: &Context<'_>, who: &Subject, at: u64) -> Result<BlockRow> {
    const WHAT: &str = "block";
    let mut buffer = [0; size_of::<BlockRow>()];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(who.octets()),
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
    who: &Subject,
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
        ParamTmpRef::new_input(who.octets()),
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
