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
//! **Knows nothing of:** what makes a snapshot, and who reads it.

use crate::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of every snapshot.
pub const MAGIC: [u8; 8] = *b"TALYSNAP";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the shortest header of this version: it ends with [`Header::secure_ram`].
pub const LEAST_HEADER_BYTES: usize = 80;

/// What tells one build of a program from another: the SHA-1 that the linker leaves in the ELF file's
/// section `.note.gnu.build-id`. All zeros: not known.
pub type BuildId = [u8; 20];

/// Why a snapshot was taken.
pub mod reason {
    /// Somebody asked.
    pub const ASKED: u32 = 0;
    /// A TA's command was entered.
    pub const ENTRY: u32 = 1;
    /// A TA's command returned.
    pub const EXIT: u32 = 2;
    /// A TA's heap rose above a size.
    pub const HEAP: u32 = 3;
    /// An allocation was refused.
    pub const FAILURE: u32 = 4;
}

/// What a section's records are.
pub mod section {
    /// [`crate::pta::control::MeminfoRow`].
    pub const MEMINFO: u32 = 1;
    /// [`crate::pta::control::PoolStats`].
    pub const POOLS: u32 = 2;
    /// [`crate::pta::control::OwnerRow`].
    pub const OWNERS: u32 = 3;
    /// [`crate::pta::inspect::TaDetail`].
    pub const TAS: u32 = 4;
    /// [`crate::pta::inspect::RegionRow`], kernel and TAs.
    pub const REGIONS: u32 = 5;
    /// [`crate::pta::inspect::SiteRow`], kernel heap and TA heaps.
    pub const SITES: u32 = 6;
    /// [`crate::pta::memleak::LeakRecord`]: all live blocks by owner and call stack.
    pub const LIVE: u32 = 7;
    /// [`crate::pta::inspect::ClassRow`].
    pub const CLASSES: u32 = 8;
    /// [`crate::pta::inspect::CommandRow`].
    pub const COMMANDS: u32 = 9;
    /// [`crate::pta::inspect::FailureRow`].
    pub const FAILURES: u32 = 10;
    /// [`crate::pta::inspect::HistoryRow`].
    pub const HISTORY: u32 = 11;
    /// [`crate::pta::inspect::UnfreedRow`].
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
    /// One of [`reason`].
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
