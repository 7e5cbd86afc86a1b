//! Records of the leak finder: marks, instances that ended, scans and what they found.
//!
//! **Invariant:** little-endian, no implicit padding; sizes are asserted below.
//! **Knows nothing of:** how the figures come about. The commands are
//! [`super::memleak`]'s.

use super::memleak::LeakRecord;
use super::{FromBytes, Immutable, IntoBytes, KnownLayout, TeeUuid};

/// Octets of a mark's name, the zero at its end included.
pub const MARK_NAME: usize = 16;

/// One mark, 32 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MarkRow {
    /// Milliseconds since boot when it was set.
    pub at_ms: u64,
    /// Its number, from 1.
    pub number: u32,
    /// Unused, zero.
    pub reserved: u32,
    /// Its name, zero padded; empty if it has none.
    pub name: [u8; MARK_NAME],
}

/// How an instance ended ([`EndedRow::how`]).
pub mod ended {
    /// Its last session was closed.
    pub const CLOSED: u32 = 0;
    /// It panicked, crashed or was killed.
    pub const DIED: u32 = 1;
    /// One or the other, and its heap's books did not add up: what it had not freed is not known.
    pub const UNKNOWN: u32 = 2;
}

/// A TA instance that is no more, 48 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EndedRow {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Milliseconds since boot when it ended.
    pub at_ms: u64,
    /// Bytes that it had not freed.
    pub bytes: u64,
    /// Blocks of them.
    pub blocks: u32,
    /// Mark that was last when it ended.
    pub mark: u32,
    /// Mark that was last when it was loaded.
    pub born: u32,
    /// One of [`ended`].
    pub how: u32,
}

/// What one scan of one heap did, 104 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ScanRow {
    /// The TA whose heap this is, or nil.
    pub heap: TeeUuid,
    /// Counts the scans of this heap, from 1.
    pub number: u32,
    /// How often memory was gone through: once, or again to confirm what was found.
    pub passes: u32,
    /// Live blocks that were older than the scan.
    pub blocks: u32,
    /// Of these, blocks that nothing points to and that were not cleared.
    pub suspects: u32,
    /// Of the suspects, those that this scan found first.
    pub new: u32,
    /// Blocks that [`super::memleak::CMD_CLEAR`] hides.
    pub cleared: u32,
    /// Bytes of the suspects.
    pub suspect_bytes: u64,
    /// Bytes of roots that were read, all passes together.
    pub root_bytes: u64,
    /// Bytes of blocks that were read, all passes together.
    pub block_bytes: u64,
    /// Ticks of the system counter from beginning to end.
    pub ticks: u64,
    /// Most ticks that the kernel's lock was held at a stretch.
    pub longest_step: u64,
    /// Ticks a second.
    pub ticks_per_second: u64,
    /// Steps, between which interrupts and other CPUs had their turn.
    pub steps: u32,
    /// Secure pages that the marks took meanwhile.
    pub pages: u32,
    /// 1 if the heap's bookkeeping does not add up: nothing was found out.
    pub inconsistent: u32,
    /// The number of the TA's instance, 0 for the kernel heap.
    pub instance: u32,
}

/// Blocks of one owner and call stack that nothing points to, 144 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SuspectRow {
    /// What they are and whose.
    pub leak: LeakRecord,
    /// The scan of this heap that found the first of them; [`LATE_SCAN`]: that one or a later one.
    pub first_scan: u32,
    /// The last scan of this heap.
    pub last_scan: u32,
}

/// Scans from here on are not told apart as the first.
pub const LATE_SCAN: u32 = 254;

const _: () = {
    assert!(size_of::<MarkRow>() == 32);
    assert!(size_of::<EndedRow>() == 48);
    assert!(size_of::<ScanRow>() == 104);
    assert!(size_of::<SuspectRow>() == 144);
};
