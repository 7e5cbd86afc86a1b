//! Remains of an instance that has no memory any more.

use tally_records::PoolStats;

/// What is known of an instance that has no memory any more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remains {
    /// Its heap's last figures.
    pub heap: PoolStats,
    /// Bytes of addresses that its heap had.
    pub heap_reserved: u64,
    /// Most pages that it might have had.
    pub limit: u32,
    /// Deepest use of its stack, in bytes.
    pub stack_deepest: u64,
    /// Most pages that were charged to it.
    pub charged_max: u32,
}
