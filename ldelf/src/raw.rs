//! Reading fixed-size structures out of bytes.
//!
//! **Invariant:** every read is bounds-checked and indifferent to alignment.

use plain::Plain;

/// The `len` bytes of `bytes` at `offset`.
pub(crate) fn slice(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(len)?).ok()?;
    bytes.get(start..end)
}

/// The structure at `offset` of `bytes`.
pub(crate) fn read<T: Plain + Default>(bytes: &[u8], offset: u64) -> Option<T> {
    let mut value = T::default();
    let data = slice(bytes, offset, size_of::<T>() as u64)?;
    value.copy_from_bytes(data).ok()?;
    Some(value)
}

/// The little-endian word at `offset` of `bytes`.
pub(crate) fn read_u32(bytes: &[u8], offset: u64) -> Option<u32> {
    let data = slice(bytes, offset, 4)?;
    data.try_into().ok().map(u32::from_le_bytes)
}
