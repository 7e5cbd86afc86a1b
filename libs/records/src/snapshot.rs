//! The snapshot format: the whole account at one moment, as one file. Tally's own.
//!
//! ```text
//! | Header | Section | records ... | Section | records ... | ...      up to Header::total_bytes
//! ```
//!
//! Little-endian, every part a multiple of 8 bytes.
//!
//! **Invariant:** a reader skips sections it does not know, and reads as much of a record or of the
//! header as it knows; a writer only appends fields, and what an older one did not have is zero:
//! not known. What had no room is counted in [`Header::dropped`].

use tally_abi::TeeUuid;
use tally_abi::shdr::BuildId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of every snapshot.
pub const MAGIC: [u8; 8] = *b"TALYSNAP";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the shortest header of this version: it ends with [`Header::secure_ram`].
pub const LEAST_HEADER_BYTES: usize = 80;

crate::record! {
    /// The beginning of a snapshot: when, why, of whom.
    Header: "snapshot" = 0, 112 bytes {
        /// [`MAGIC`].
        magic: [u8; 8] => hidden,
        /// Version of the format.
        version: u32 => number(None),
        /// Bytes of this header.
        header_bytes: u32 => hidden,
        /// Bytes of the whole snapshot.
        total_bytes: u64 => number(Bytes) "bytes",
        /// Milliseconds since boot.
        at_ms: u64 => number(Ms),
        /// The last mark that was set.
        mark: u32 => label(number(None)),
        /// Why it was taken.
        reason: u32 => label(word(crate::trigger)),
        /// The TA that was watched.
        subject: TeeUuid => ta,
        /// Command, heap size or size refused, by reason.
        value: u64 => number(None),
        /// Records that had no room.
        dropped: u64 => number(Count),
        /// Bytes of secure RAM.
        secure_ram: u64 => number(Bytes),
        /// Differs from boot to boot; null: not known. Two snapshots of one boot have one clock,
        /// and marks and sessions of the same numbers are the same.
        boot: u64 => id,
        /// The build of the kernel; null: not known.
        build: BuildId => bytes "kernel_build",
        /// Unused, zero.
        reserved: u32 => hidden,
    }
}

/// The beginning of a section, 16 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Section {
    /// What its records are: [`crate::Record::SECTION`].
    pub kind: u32,
    /// Bytes a record, a multiple of 8.
    pub record_bytes: u32,
    /// Records.
    pub count: u32,
    /// Unused, zero.
    pub reserved: u32,
}

const _: () = {
    assert!(core::mem::offset_of!(Header, boot) == LEAST_HEADER_BYTES);
    assert!(size_of::<Section>() == 16);
};
