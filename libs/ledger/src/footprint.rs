//! What a pool's bookkeeping takes when it is full of blocks of given sizes.
//!
//! **Invariant:** the figures are those of a real pool, by the walk that readers from outside use.
//! **Knows nothing of:** which sizes are typical.

use core::alloc::Layout;

use crate::fuzzing::Memory;
use crate::{CallStack, Config, OwnerId, Stats};

/// Figures of a pool of `bytes` as `config` says, tables included, that was filled with blocks of `sizes` in
/// turn until one was refused. `None` if there is no such pool.
pub fn footprint(bytes: usize, config: &Config, sizes: &[usize]) -> Option<Stats> {
    let memory = Memory::new(bytes);
    // SAFETY: the only pool of `memory`, which lives longer.
    let mut pool = unsafe { memory.pool(bytes, config) }.ok()?;
    let stack = CallStack::from_frames(&[0x1000]);
    for &size in sizes.iter().cycle() {
        let layout = Layout::from_size_align(size, 8).ok()?;
        if pool.alloc(layout, OwnerId(0), &stack).is_err() {
            break;
        }
    }
    pool.stats().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookkeeping_of_a_block_stays_below_sixteen_bytes() {
        let bytes = if cfg!(miri) { 1 << 16 } else { 1 << 20 };
        for size in [1, 16, 24, 64, 128, 200, 256, 320, 500, 768, 1000, 4096] {
            let stats = footprint(bytes, &Config::TA, &[size]).unwrap();
            assert!(stats.live_blocks > 0 && stats.metadata == stats.tables + stats.block_metadata);
            let records = stats.records;
            assert!(
                records <= 16 * stats.live_blocks,
                "{size}: {records} bytes for {} blocks",
                stats.live_blocks
            );
        }
    }

    #[test]
    fn tables_that_grow_with_a_pool_take_less_than_a_percent_of_it() {
        let tables = |bytes| crate::metadata_bytes(bytes, &Config::TA);
        let more = tables(9 << 20) - tables(1 << 20);
        assert!(more * 100 < 8 << 20);
    }
}
