//! Tally's inspector: every list of the account, and what lies in heaps.
//!
//! **Invariant:** answers never need the TA's help. Addresses are zero unless the kernel was built to show them;
//! offsets (in an image, in a heap) are always given.

use super::TeeUuid;

/// Tally's own.
pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0003);

/// `(memref in: `Selector`; value out: a = `damage`, b = where)`: validates the heap of the kernel or of the first
/// instance that is meant, in steps. `BUSY` if it is changed all the while.
pub const CMD_CHECK: u32 = 6;
/// `(memref in: `Selector`; value in: a, b = offset in the heap; memref out: the bytes of the block that has it, from
/// its start; value out: a = the block's offset, b = its size)`. Only in builds that show memory, else
/// `NOT_SUPPORTED`; `ITEM_NOT_FOUND` if there is no block.
pub const CMD_BLOCK_BYTES: u32 = 7;
/// `(memref in: UUID bytes; none; none; none)`: writes a TA's status to the secure console.
pub const CMD_STATUS: u32 = 8;
/// `(memref in: `Selector`; value in: a, b = offset in the heap, or an address where those are shown; memref out: one
/// `BlockRow`)`: the live block that has this byte. `ITEM_NOT_FOUND` if none has, `ACCESS_DENIED` for an address
/// where those are hidden.
pub const CMD_BLOCK: u32 = 13;
/// `(value inout: a = number of a section, then records that there was no room for in the kernel; memref in:
/// `Selector`; value inout: a, b = cursor, 0 at first and after the last; memref out: records)`: as many records
/// as fit. `SHORT_BUFFER` with the size needed where none does, or where those of one moment do not all fit.
/// `NOT_SUPPORTED` for what is no list, `ITEM_NOT_FOUND` for a TA that is not loaded, `TARGET_DEAD` for the memory
/// of one whose instances are all dead, `BAD_PARAMETERS` for a mark that is not known (live blocks and ended
/// instances), `CORRUPT_OBJECT` for a heap
/// whose books make no sense.
pub const CMD_LIST: u32 = 15;
