//! Contents of a pool: size classes, blocks, chunks.

use tally_abi::TeeUuid;

crate::record! {
    /// A size class of a pool. All classes add up to the pool's size.
    ClassRow: "classes" = 8, 56 bytes {
        /// The TA whose heap it is; null: the kernel's.
        pool: TeeUuid => ta "uuid",
        /// What it is of.
        kind: u32 => word(class_kind),
        /// Bytes that a block can hold; null if they differ.
        block_size: u32 => nonzero(Bytes),
        /// Slabs.
        slabs: u32 => number(Count),
        /// Blocks in all.
        blocks: u32 => number(Blocks),
        /// Live blocks.
        live: u32 => number(Blocks),
        /// Free blocks that are kept for the next allocations.
        kept: u32 => number(Blocks),
        /// Bytes of memory, records included.
        bytes: u64 => number(Bytes),
        /// Bytes that the live blocks asked for.
        requested: u64 => number(Bytes),
    }
}

crate::codes! {
    /// Kinds of [`ClassRow`].
    class_kind: u32 {
        /// Blocks of one size.
        SLAB = 0 "slab",
        /// Large blocks.
        RUN = 1 "large",
        /// Freed large blocks that are kept for the next.
        KEPT_RUN = 2 "kept large",
        /// Free memory.
        FREE = 3 "free",
    }
}

crate::record! {
    /// A live block.
    BlockRow: "blocks" = 14, 40 bytes {
        /// Offset from the pool's base.
        offset: u64 => number(Hex),
        /// Virtual address; null if hidden.
        va: u64 => nonzero(Hex),
        /// Bytes asked for.
        size: u64 => number(Bytes),
        /// Owner as the pool has it: the number of an owner of the kernel's, or a session of the
        /// TA.
        owner: u32 => number(None),
        /// Its call site's number in the pool.
        site: u32 => number(None),
        /// Mark that was last when it was allocated.
        mark: u32 => number(None),
        /// Unused, zero.
        reserved: u32 => hidden,
    }
}

crate::record! {
    /// A chunk of a pool.
    ChunkRow: "chunks" = 15, 24 bytes {
        /// Offset from the pool's base.
        offset: u64 => number(Hex),
        /// Bytes that it takes.
        bytes: u64 => number(Bytes),
        /// What it is.
        kind: u32 => word(chunk_kind),
        /// Unused, zero.
        reserved: u32 => hidden,
    }
}

crate::codes! {
    /// Kinds of [`ChunkRow`].
    chunk_kind: u32 {
        /// Free.
        FREE = 0 "free",
        /// A live block.
        BLOCK = 1 "block",
        /// Free, and kept for the next block of its size.
        KEPT = 2 "kept",
        /// The pool's own: tables, records, padding.
        OWN = 3 "own",
    }
}

crate::codes! {
    /// What [`tally_abi::pta::inspect::CMD_CHECK`] finds first.
    damage: u32 {
        /// Nothing.
        NONE = 0 "the pool is sound",
        /// The header makes no sense, or the walk over all blocks does not come to the pool's end.
        WALK = 1 "the pool's books make no sense: INCONSISTENT",
        /// A unit of 512 bytes (its number is told) is not what its neighbours say.
        UNIT = 2 "a unit's entry is not what its neighbours say",
        /// Two free runs touch at a unit.
        UNJOINED = 3 "two free runs touch",
        /// Something else.
        OTHER = 4 "the pool is damaged",
        /// Somebody wrote past the end of the block at this offset from the pool's base.
        OVERRUN = 5 "somebody wrote past the end of a block",
    }
}
