//! Contents of a pool: size classes, blocks, chunks.

use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One size class of a pool, 56 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClassRow {
    /// The TA whose heap this is, or nil.
    pub pool: TeeUuid,
    /// One of [`class_kind`].
    pub kind: u32,
    /// Bytes a block can hold, 0 if they differ.
    pub block_size: u32,
    /// Slabs.
    pub slabs: u32,
    /// Blocks in all.
    pub blocks: u32,
    /// Live blocks.
    pub live: u32,
    /// Free blocks kept for the next allocations.
    pub kept: u32,
    /// Bytes of memory, records included.
    pub bytes: u64,
    /// Bytes asked for by the live blocks.
    pub requested: u64,
}

/// Kinds of [`ClassRow`].
pub mod class_kind {
    /// Blocks of one size.
    pub const SLAB: u32 = 0;
    /// Large blocks.
    pub const RUN: u32 = 1;
    /// Freed large blocks that are kept for the next.
    pub const KEPT_RUN: u32 = 2;
    /// Free memory.
    pub const FREE: u32 = 3;
}

/// One live block, 40 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockRow {
    /// Offset from the pool's base.
    pub offset: u64,
    /// Virtual address, 0 if hidden.
    pub va: u64,
    /// Bytes asked for.
    pub size: u64,
    /// Owner as the pool has it: kernel owner, or session of the TA.
    pub owner: u32,
    /// Call site's number in the pool.
    pub site: u32,
    /// Mark that was last when it was allocated.
    pub mark: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// One chunk of a pool, 24 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChunkRow {
    /// Offset from the pool's base.
    pub offset: u64,
    /// Bytes it takes.
    pub bytes: u64,
    /// One of [`chunk_kind`].
    pub kind: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// Kinds of [`ChunkRow`].
pub mod chunk_kind {
    /// Free.
    pub const FREE: u32 = 0;
    /// A live block.
    pub const BLOCK: u32 = 1;
    /// Free, and kept for the next block of its size.
    pub const KEPT: u32 = 2;
    /// The pool's own: tables, records, padding.
    pub const OWN: u32 = 3;
}

/// What [`tally_abi::pta::inspect::CMD_CHECK`] finds first.
pub mod damage {
    /// Nothing.
    pub const NONE: u32 = 0;
    /// The header makes no sense, or the walk over all blocks does not come to the pool's end.
    pub const WALK: u32 = 1;
    /// A unit of 512 bytes (its number is told) is not what its neighbours say.
    pub const UNIT: u32 = 2;
    /// Two free runs touch at a unit.
    pub const UNJOINED: u32 = 3;
    /// Something else.
    pub const OTHER: u32 = 4;
    /// Somebody wrote past the end of the block at this offset from the pool's base.
    pub const OVERRUN: u32 = 5;
}

const _: () = {
    assert!(size_of::<ClassRow>() == 56);
    assert!(size_of::<BlockRow>() == 40);
    assert!(size_of::<ChunkRow>() == 24);
};
