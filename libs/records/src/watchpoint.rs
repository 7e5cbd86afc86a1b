//! Snapshots that are kept, and the watchpoints that wait for them.

use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A snapshot, or the watchpoint that waits for it. 72 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SnapshotRow {
    /// Its number, from 1.
    pub number: u32,
    /// One of [`snapshot_state`].
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

/// Where a snapshot is in its life.
pub mod snapshot_state {
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

/// What a watchpoint waits for, and why a snapshot was taken.
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

const _: () = {
    assert!(size_of::<SnapshotRow>() == 72);
};
