//! Pools whole: the kernel heap, the memory for TAs, heaps of TAs.

use tally_abi::TeeUuid;
use tally_abi::pta::stats::AllocStats;

crate::table! {
    /// Figures of a pool that OP-TEE has too.
    AllocStats: "pools" = 0 {
        /// Bytes allocated now.
        allocated => gauge(Bytes),
        /// Most bytes allocated at a time since the last reset.
        max_allocated => gauge(Bytes),
        /// Size of the pool.
        size => gauge(Bytes),
        /// Allocations that were refused.
        num_alloc_fail => counter(Count) "refused",
        /// Bytes of the largest refused allocation.
        biggest_alloc_fail => number(Bytes) "biggest_refused",
        /// Bytes allocated when that one was refused.
        biggest_alloc_fail_used => number(Bytes) "biggest_refused_used",
        /// Sum of the squares of the free chunks' sizes.
        free2_sum => number(None),
        /// Free memory that is not in one piece; null where nothing is free.
        fragmentation_percent => number(Percent) or null = |pool| fragmentation(pool),
    }
}

/// Percent of the free memory that is not in one piece: 1 less the quotient of the free chunks'
/// squares and of their sum's square, cut. `None` if nothing is free.
#[must_use]
pub fn fragmentation(pool: &AllocStats) -> Option<u32> {
    let free = u128::from(pool.size.wrapping_sub(pool.allocated));
    let square = free * free;
    if pool.free2_sum == 0 || square == 0 {
        return None;
    }
    let scattered = square.saturating_sub(pool.free2_sum.into());
    u32::try_from(scattered * 100 / square).ok()
}

crate::record! {
    /// A pool's figures.
    PoolStats: "pools" = 0, 152 bytes {
        /// Figures that OP-TEE has too.
        alloc: AllocStats => flat(AllocStats),
        /// The TA whose heap it is.
        owner: TeeUuid => label(ta) "uuid",
        /// Allocations that succeeded.
        num_get: u64 => counter(Count) "allocations",
        /// Releases.
        num_release: u64 => counter(Count) "releases",
        /// Largest free chunk.
        largest_free: u64 => gauge(Bytes),
        /// Live blocks.
        live_blocks: u64 => gauge(Blocks),
        /// Bytes that serve no block: tables, records, padding.
        metadata: u64 => gauge(Bytes),
        /// Whether the figures add up.
        inconsistent: u32 => word(consistency) "consistency",
        /// How free memory is found.
        strategy: u16 => word(strategy),
        /// What is written down besides sizes.
        tracking: u16 => word(tracking),
        /// Bytes of its tables, which it has whatever is allocated.
        tables: u64 => gauge(Bytes),
        /// Bytes of records of blocks, in slabs those of free ones too.
        records: u64 => gauge(Bytes),
        /// Bytes allocated whose pages are promised and not taken yet: those for TAs are taken when
        /// they are first touched. 0 in heaps.
        promised: u64 => gauge(Bytes),
    }
    also {
        /// Whether its bookkeeping cannot be relied on.
        inconsistent => flag = |pool| pool.inconsistent != consistency::SOUND,
    }
}

crate::record! {
    /// A pool whole: the kernel heap, the memory for TAs, or a TA's heap.
    PoolRow: "pools" = 2, 160 bytes, metrics "pool" {
        /// Its figures.
        pool: PoolStats => flat(PoolStats),
        /// What it is the memory of.
        kind: u32 => label(word(pool_kind)),
        /// The TA's instance whose heap it is.
        instance: u32 => label(number(None)) or null = |row| row.instance(),
    }
}

impl PoolRow {
    /// The pool of this kind, among all.
    #[must_use]
    pub fn find(pools: &[Self], kind: u32) -> Option<&PoolStats> {
        let found = pools.iter().find(|row| row.kind == kind);
        found.map(|row| &row.pool)
    }

    /// The number of the TA's instance, if it is a TA's heap.
    #[must_use]
    pub fn instance(&self) -> Option<u32> {
        (self.kind == pool_kind::TA_HEAP).then_some(self.instance)
    }
}

impl PoolStats {
    /// Bytes of records for each live block, in hundredths. `None` if there is no block.
    #[must_use]
    pub fn records_a_block(&self) -> Option<u64> {
        self.records
            .saturating_mul(100)
            .checked_div(self.live_blocks)
    }

    /// Tables as hundredths of a percent of the pool, tables included. `None` without a pool.
    #[must_use]
    pub fn tables_per_myriad(&self) -> Option<u64> {
        let pool = u64::from(self.alloc.size).saturating_add(self.tables);
        self.tables.saturating_mul(10_000).checked_div(pool)
    }
}

crate::codes! {
    /// What a pool is the memory of ([`PoolRow::kind`]).
    pool_kind: u32 {
        /// Not told: an older kernel.
        UNKNOWN = 0 "unknown",
        /// The kernel heap.
        KERNEL_HEAP = 1 "kernel heap",
        /// Pages for all TAs.
        TA_MEMORY = 2 "TA memory",
        /// A TA's own heap.
        TA_HEAP = 3 "TA heap",
    }
}

crate::codes! {
    /// What [`PoolStats::inconsistent`] says.
    consistency: u32 {
        /// The figures add up.
        SOUND = 0 "sound",
        /// The pool's own bookkeeping does not add up (a TA can scribble over its own).
        INCONSISTENT = 1 "inconsistent",
        /// Its owner changed it while it was read: figures of free chunks are missing, or they, blocks and calls are of a
        /// moment before.
        CHANGING = 2 "changing",
    }
}

crate::codes! {
    /// How a pool finds free memory.
    strategy: u16 {
        /// Slabs, and runs by size.
        DEFAULT = 0 "default",
        /// First fit, on linked_list_allocator.
        FIRST_FIT = 1 "first fit",
        /// Best fit.
        BEST_FIT = 2 "best fit",
    }
}

crate::codes! {
    /// What a pool writes down besides sizes.
    tracking: u16 {
        /// Owners and call sites, with exact counters.
        FULL = 0 "full",
        /// Owner and call site of each live block.
        LIGHT = 1 "light",
        /// Nothing.
        OFF = 2 "off",
        /// Owner of each live block.
        ACCOUNTS = 3 "accounts",
    }
}
