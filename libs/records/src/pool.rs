//! A pool whole: the kernel heap, the memory for TAs, a TA's heap.

use tally_abi::TeeUuid;
use tally_abi::pta::stats::AllocStats;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One pool whole, 152 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PoolStats {
    /// As the stats pTA gives it.
    pub alloc: AllocStats,
    /// The TA whose heap this is, or nil.
    pub owner: TeeUuid,
    /// Calls to allocate that succeeded.
    pub num_get: u64,
    /// Calls to free.
    pub num_release: u64,
    /// Largest free chunk in bytes.
    pub largest_free: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// Bytes that serve no block: tables, records, padding.
    pub metadata: u64,
    /// One of [`consistency`].
    pub inconsistent: u32,
    /// How free memory is found: one of [`strategy`].
    pub strategy: u16,
    /// What is written down: one of [`tracking`].
    pub tracking: u16,
    /// Bytes of its tables, which it has whatever is allocated.
    pub tables: u64,
    /// Bytes of records of blocks, in slabs those of free ones too.
    pub records: u64,
    /// Bytes of what is allocated that are promised and not taken yet: of the memory for TAs, whose pages are
    /// taken when they are first touched. 0 in heaps.
    pub promised: u64,
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

/// What [`PoolStats::inconsistent`] says.
pub mod consistency {
    /// The figures add up.
    pub const SOUND: u32 = 0;
    /// The pool's own bookkeeping does not add up (a TA can scribble over its own).
    pub const INCONSISTENT: u32 = 1;
    /// Its owner changed it whenever it was read; the figures of free chunks are missing.
    pub const CHANGING: u32 = 2;
}

/// How a pool finds free memory.
pub mod strategy {
    /// Slabs, and runs by size.
    pub const DEFAULT: u16 = 0;
    /// First fit, on linked_list_allocator.
    pub const FIRST_FIT: u16 = 1;
    /// Best fit.
    pub const BEST_FIT: u16 = 2;

    /// Its name for people.
    #[must_use]
    pub const fn name(strategy: u16) -> &'static str {
        match strategy {
            FIRST_FIT => "first fit",
            BEST_FIT => "best fit",
            _ => "default",
        }
    }
}

/// What a pool writes down besides sizes.
pub mod tracking {
    /// Owners and call sites, with exact counters.
    pub const FULL: u16 = 0;
    /// Owner and call site of each live block.
    pub const LIGHT: u16 = 1;
    /// Nothing.
    pub const OFF: u16 = 2;
    /// Owner of each live block.
    pub const ACCOUNTS: u16 = 3;

    /// Its name for people.
    #[must_use]
    pub const fn name(tracking: u16) -> &'static str {
        match tracking {
            LIGHT => "light",
            OFF => "off",
            ACCOUNTS => "accounts",
            _ => "full",
        }
    }
}

const _: () = {
    assert!(size_of::<PoolStats>() == 152);
};
