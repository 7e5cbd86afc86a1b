//! Tally's snapshots: taken when somebody asks, or at the very moment that a watchpoint names.
//!
//! **Invariant:** a snapshot has a number, which is never used again; it is kept until it is dropped.

use super::TeeUuid;

/// Tally's own.
pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0005);

/// `(value out: a = number, b = bytes)`: takes a snapshot now. `OUT_OF_MEMORY` when [`SLOTS`] are
/// taken or no memory is left.
pub const CMD_TAKE: u32 = 0;
/// `(value in: a = number, b = offset; memref out)`: bytes of a snapshot from an offset, as many as
/// fit. `ITEM_NOT_FOUND` if there is none of this number, `NO_DATA` if it is not taken.
pub const CMD_READ: u32 = 1;
/// `(value in: a = number)`: forgets a snapshot, or disarms a watchpoint. `ITEM_NOT_FOUND`, or `BUSY`
/// while it is being taken.
pub const CMD_DROP: u32 = 2;
/// `(memref in: UUID bytes; value in: a = `trigger`, b = command or bytes; value out: a =
/// number)`: arms a watchpoint, whose snapshot has this number. `OUT_OF_MEMORY` when [`SLOTS`] are
/// taken.
pub const CMD_ARM: u32 = 4;

/// Snapshots and watchpoints at a time.
pub const SLOTS: usize = 8;
/// Most bytes of a snapshot; records beyond are counted.
pub const MAX_BYTES: usize = 256 * 1024;
