//! Live blocks by owner and call stack, and those of them that nothing points to.

use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Live blocks of one owner and one call stack, 136 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LeakRecord {
    /// Bytes asked for, all blocks together.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u32,
    /// Size of each block if they are all the same, else 0.
    pub block_size: u32,
    /// One of [`crate::owner_kind`].
    pub owner_kind: u32,
    /// Session id if the owner is a session, else 0.
    pub session: u32,
    /// TA that the owner belongs to, or nil.
    pub owner: TeeUuid,
    /// Name of the owner for people, zero padded.
    pub label: [u8; 16],
    /// Image that the frames lie in: nil for the kernel, else the TA's UUID.
    pub image: TeeUuid,
    /// Return addresses, innermost first, as offsets from the image's link base; 0 ends.
    pub frames: [u64; MAX_FRAMES],
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
    /// Blocks that [`tally_abi::pta::memleak::CMD_CLEAR`] hides.
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
    assert!(size_of::<LeakRecord>() == 136);
    assert!(size_of::<ScanRow>() == 104);
    assert!(size_of::<SuspectRow>() == 144);
};
