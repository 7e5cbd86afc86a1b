//! Refused allocations.

use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One refused allocation, 352 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FailureRow {
    /// Counts all refusals since boot, from 1.
    pub number: u64,
    /// Milliseconds since boot.
    pub at_ms: u64,
    /// Bytes asked for.
    pub size: u64,
    /// Bytes in use then.
    pub used: u64,
    /// Bytes of the pool.
    pub pool_size: u64,
    /// Largest free chunk.
    pub largest_free: u64,
    /// One of [`failed_pool`].
    pub pool: u32,
    /// One of [`crate::owner_kind`].
    pub owner_kind: u32,
    /// Session, or 0.
    pub session: u32,
    /// How many of [`Self::top`] are set.
    pub tops: u32,
    /// TA that the owner belongs to, or nil.
    pub owner: TeeUuid,
    /// Name of the owner for people, zero padded.
    pub label: [u8; 16],
    /// Image that the frames lie in: nil for the kernel, else the TA's UUID.
    pub image: TeeUuid,
    /// Where it was asked for.
    pub frames: [u64; MAX_FRAMES],
    /// The call sites that held most.
    pub top: [TopSite; 4],
    /// Live blocks that [`Self::top`] comes from, where there is no table of sites the first ones only.
    pub top_blocks: u32,
    /// All live blocks of the pool that `top` is of; 0 where nobody looked.
    pub live_blocks: u32,
    /// Which build of the TA [`Self::image`] was ([`tally_abi::shdr::image_id`]); 0: not known, or the kernel.
    pub image_id: u64,
}

/// A call site that holds much, 40 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TopSite {
    /// Live bytes.
    pub bytes: u64,
    /// Return addresses in the same image, innermost first; 0 ends.
    pub frames: [u64; 4],
}

/// Which memory was refused.
pub mod failed_pool {
    /// The kernel heap.
    pub const KERNEL_HEAP: u32 = 0;
    /// Pages for TAs.
    pub const TA_RAM: u32 = 1;
    /// A TA's own heap (as large as the TA declared).
    pub const TA_HEAP: u32 = 2;
    /// A TA's quota of secure memory.
    pub const TA_QUOTA: u32 = 3;
}

const _: () = {
    assert!(size_of::<FailureRow>() == 352);
    assert!(size_of::<TopSite>() == 40);
};
