//! Regions of address spaces.

use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One region of an address space, 88 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionRow {
    /// Virtual address, 0 if hidden.
    pub va: u64,
    /// Physical address of its first page, 0 if hidden or none is taken yet.
    pub pa: u64,
    /// Bytes of addresses.
    pub bytes: u64,
    /// Bytes of them that may be touched: all but in a heap, which grows.
    pub usable: u64,
    /// Bytes of memory behind them.
    pub populated: u64,
    /// [`prot`] bits.
    pub prot: u32,
    /// Session that it was mapped for, or 0.
    pub session: u32,
    /// Whose.
    pub owner: TeeUuid,
    /// What for, zero padded.
    pub label: [u8; 16],
    /// Which instance of the TA.
    pub instance: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// Bits of [`RegionRow::prot`].
pub mod prot {
    /// Readable by its user.
    pub const READ: u32 = 1;
    /// Writable by its user.
    pub const WRITE: u32 = 2;
    /// Executable by its user.
    pub const EXECUTE: u32 = 4;
    /// Normal-world memory.
    pub const NON_SECURE: u32 = 8;
    /// Device memory.
    pub const DEVICE: u32 = 16;
    /// Shared with other address spaces.
    pub const SHARED: u32 = 32;
}

const _: () = {
    assert!(size_of::<RegionRow>() == 88);
};
