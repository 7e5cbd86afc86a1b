//! Tally's snapshots: taken when somebody asks, or at the very moment that a watchpoint names.
//!
//! **Invariant:** a snapshot has a number, which is never used again; it is kept until it is dropped.
//! **Knows nothing of:** what a snapshot says (see [`crate::snapshot`]).

use super::{FromBytes, Immutable, IntoBytes, KnownLayout, TeeUuid};

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
/// `(memref out: [`SnapshotRow`] array)`: snapshots and watchpoints.
pub const CMD_LIST: u32 = 3;
/// `(memref in: UUID octets; value in: a = [`trigger`], b = command or bytes; value out: a =
/// number)`: arms a watchpoint, whose snapshot has this number. `OUT_OF_MEMORY` when [`SLOTS`] are
/// taken.
pub const CMD_ARM: u32 = 4;

/// Snapshots and watchpoints at a time.
pub const SLOTS: usize = 8;
/// Most bytes of a snapshot; records beyond are counted.
pub const MAX_BYTES: usize = 256 * 1024;

/// What a watchpoint waits for; the same numbers as [`crate::snapshot::reason`].
pub mod trigger {
    /// Nothing: somebody asked for the snapshot.
    pub const ASKED: u32 = 0;
    /// A command of the TA is entered.
    pub const ENTRY: u32 = 1;
    /// A command of the TA returned.
    pub const EXIT: u32 = 2;
    /// The TA's heap rises above so many bytes. `NOT_SUPPORTED` while no pool tells when it does.
    pub const HEAP: u32 = 3;
    /// An allocation of the TA is refused.
    pub const FAILURE: u32 = 4;
}

/// Where a snapshot is in its life.
pub mod state {
    /// Its watchpoint waits.
    pub const ARMED: u32 = 0;
    /// It is being taken.
    pub const TAKING: u32 = 1;
    /// It can be read.
    pub const TAKEN: u32 = 2;
    /// The TA ended before the watchpoint was met.
    pub const ENDED: u32 = 3;
    /// The watchpoint was met, and there was no memory for a snapshot.
    pub const FAILED: u32 = 4;
}

/// A snapshot, or the watchpoint that waits for it. 72 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SnapshotRow {
    /// Its number, from 1.
    pub number: u32,
    /// One of [`state`].
    pub state: u32,
    /// One of [`trigger`].
    pub trigger: u32,
    /// Unused, zero.
    pub reserved: u32,
    /// The TA that is watched, or nil.
    pub uuid: TeeUuid,
    /// Command, or heap bytes, that the watchpoint waits for.
    pub wanted: u64,
    /// Milliseconds since boot when it was taken.
    pub at_ms: u64,
    /// Bytes of the snapshot.
    pub bytes: u64,
    /// Secure memory that it takes.
    pub memory: u64,
    /// Records that had no room.
    pub dropped: u64,
}

const _: () = {
    use crate::snapshot::reason;
    assert!(size_of::<SnapshotRow>() == 72);
    assert!(trigger::ASKED == reason::ASKED && trigger::ENTRY == reason::ENTRY);
    assert!(trigger::EXIT == reason::EXIT && trigger::HEAP == reason::HEAP);
    assert!(trigger::FAILURE == reason::FAILURE);
};
