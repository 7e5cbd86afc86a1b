//! The snapshot format: the whole account at one moment, as one file. Tally's own.
//!
//! ```text
//! | Header | Section | records ... | Section | records ... | ...      up to Header::total_bytes
//! ```
//!
//! Little-endian, every part a multiple of 8 bytes.
//!
//! **Invariant:** a reader skips sections it does not know, and reads as much of a record or of the header
//! as it knows; a writer only appends fields, and what an older one did not have is zero: not known. What had no room
//! is counted in [`Header::dropped`].

use tally_abi::TeeUuid;
use tally_abi::shdr::BuildId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of every snapshot.
pub const MAGIC: [u8; 8] = *b"TALYSNAP";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the shortest header of this version: it ends with [`Header::secure_ram`].
pub const LEAST_HEADER_BYTES: usize = 80;

/// What a section's records are.
pub mod section {
    /// [`crate::MeminfoRow`].
    pub const MEMINFO: u32 = 1;
    /// [`crate::PoolStats`].
    pub const POOLS: u32 = 2;
    /// [`crate::OwnerRow`].
    pub const OWNERS: u32 = 3;
    /// [`crate::TaDetail`].
    pub const TAS: u32 = 4;
    /// [`crate::RegionRow`], kernel and TAs.
    pub const REGIONS: u32 = 5;
    /// [`crate::SiteRow`], kernel heap and TA heaps.
    pub const SITES: u32 = 6;
    /// [`crate::LeakRecord`]: all live blocks by owner and call stack.
    pub const LIVE: u32 = 7;
    /// [`crate::ClassRow`].
    pub const CLASSES: u32 = 8;
    /// [`crate::CommandRow`].
    pub const COMMANDS: u32 = 9;
    /// [`crate::FailureRow`].
    pub const FAILURES: u32 = 10;
    /// [`crate::HistoryRow`].
    pub const HISTORY: u32 = 11;
    /// [`crate::UnfreedRow`].
    pub const UNFREED: u32 = 12;
}

/// The beginning of a snapshot, 112 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this header.
    pub header_bytes: u32,
    /// Bytes of the whole snapshot.
    pub total_bytes: u64,
    /// Milliseconds since boot.
    pub at_ms: u64,
    /// The last mark that was set.
    pub mark: u32,
    /// One of [`crate::trigger`].
    pub reason: u32,
    /// The TA that was watched, or nil.
    pub subject: TeeUuid,
    /// Command, heap size or size refused, by reason.
    pub value: u64,
    /// Records that had no room.
    pub dropped: u64,
    /// Bytes of secure RAM.
    pub secure_ram: u64,
    /// Differs from boot to boot; 0: not known. Two snapshots of one boot have one clock, and marks and
    /// sessions of the same numbers are the same.
    pub boot: u64,
    /// The kernel's.
    pub build: BuildId,
    /// Unused, zero.
    pub reserved: u32,
}

/// The beginning of a section, 16 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Section {
    /// One of [`section`].
    pub kind: u32,
    /// Bytes a record, a multiple of 8.
    pub record_bytes: u32,
    /// Records.
    pub count: u32,
    /// Unused, zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 112);
    assert!(core::mem::offset_of!(Header, boot) == LEAST_HEADER_BYTES);
    assert!(size_of::<Section>() == 16);
};
