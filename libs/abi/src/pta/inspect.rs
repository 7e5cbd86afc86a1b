//! Tally's inspector: TAs, regions, blocks, call sites and classes, each in full.
//!
//! Where a command takes "UUID octets", the number of one of its instances (`TaDetail::instance`)
//! may follow as four octets; the first instance is meant otherwise, and of those the first that is alive. What
//! asks for memory of a TA of which only dead instances are left (`state::DEAD`) gets `TARGET_DEAD`.
//!
//! **Invariant:** answers never need the TA's help. Addresses are zero unless the kernel was built
//! to show them; offsets (in an image, in a pool) are always given.

use super::TeeUuid;

/// Tally's own.
pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0003);

/// `(memref in: UUID octets, nil for all; memref out: `TaDetail` array)`: loaded TA instances.
/// `ITEM_NOT_FOUND` if the one asked for is not loaded.
pub const CMD_TAS: u32 = 0;
/// `(memref in: UUID octets, nil for the kernel; memref out: `RegionRow` array)`: of all instances.
/// `ITEM_NOT_FOUND` if the TA asked for is not loaded.
pub const CMD_REGIONS: u32 = 1;
/// `(memref in: UUID octets, nil for the kernel heap; value inout: a, b = cursor, 0 at first and
/// after the last; memref out: `SiteRow` array)`: as many call sites as fit.
pub const CMD_SITES: u32 = 2;
/// `(memref in: UUID octets, nil for the kernel heap; memref out: `ClassRow` array)`: they add up to the
/// pool's size.
pub const CMD_CLASSES: u32 = 3;
/// As [`CMD_SITES`], with `BlockRow`s: live blocks, but for what the kernel takes for calls in flight
/// and for statistics.
pub const CMD_BLOCKS: u32 = 4;
/// As [`CMD_SITES`], with `ChunkRow`s: every chunk of a pool, free ones too.
pub const CMD_CHUNKS: u32 = 5;
/// `(memref in: UUID octets, nil for the kernel heap; value out: a = `damage`, b = where)`: validates a
/// whole pool, in steps. `BUSY` if it is changed all the while.
pub const CMD_CHECK: u32 = 6;
/// `(memref in: UUID octets, nil for the kernel heap; value in: a, b = offset in the pool; memref
/// out: the bytes of the block that has it, from its start; value out: a = the block's offset, b = its
/// size)`. Only in builds that show memory, else `NOT_SUPPORTED`; `ITEM_NOT_FOUND` if there is no block.
pub const CMD_BLOCK_BYTES: u32 = 7;
/// `(memref in: UUID octets; none; none; none)`: writes a TA's status to the secure console.
pub const CMD_STATUS: u32 = 8;
/// `(memref out: `FailureRow` array)`: the last refused allocations, oldest first.
pub const CMD_FAILURES: u32 = 9;
/// `(memref out: `HistoryRow` array; value out: a = rows given up)`: what TAs used that have ended, by
/// UUID, latest first.
pub const CMD_HISTORY: u32 = 10;
/// `(memref in: UUID octets, nil for all TAs; memref out: `SessionRow` array)`: open sessions.
pub const CMD_SESSIONS: u32 = 12;
/// `(memref in: UUID octets, nil for the kernel heap; value in: a, b = offset in the pool, or an address where
/// those are shown; memref out: one `BlockRow`)`: the live block that has this byte. `ITEM_NOT_FOUND` if none
/// has, `ACCESS_DENIED` for an address where those are hidden.
pub const CMD_BLOCK: u32 = 13;

/// `(memref out: `UnfreedRow` array; value out: a = rows given up)`: what TAs had not freed when they ended, by
/// call site, most bytes first.
pub const CMD_UNFREED: u32 = 14;
