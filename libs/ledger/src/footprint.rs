//! Footprint of a pool beyond the requested bytes: bookkeeping, rounding, fragments.
//!
//! **Invariant:** the figures are those of a real pool, by the walk that readers from outside use; the
//! same trace is the same blocks in the same order every time.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::vec::Vec;

use crate::fuzzing::Memory;
use crate::{CallStack, Config, OwnerId, Pool, Stats, metadata_bytes};

/// Figures of a pool of `bytes` as `config` says, tables included, that was filled with blocks of `sizes` in
/// turn until one was refused. `None` if there is no such pool.
pub fn footprint(bytes: usize, config: &Config, sizes: &[usize]) -> Option<Stats> {
    let memory = Memory::new(bytes);
    // SAFETY: the only pool of `memory`, which lives longer.
    let mut pool = unsafe { memory.pool(bytes, config) }.ok()?;
    for &size in sizes.iter().cycle() {
        if allocate(&mut pool, size).is_none() {
            break;
        }
    }
    pool.stats().ok()
}

fn allocate(pool: &mut Pool, size: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(size, 8).ok()?;
    let stack = CallStack::from_frames(&[0x1000]);
    pool.alloc(layout, OwnerId(0), &stack).ok()
}

/// A step of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A block of so many bytes.
    Allocate(usize),
    /// The block that was allocated so many allocations after the first is freed.
    Free(usize),
}

/// Allocations and releases as of a program that goes through phases: in each most blocks are of some few sizes
/// of its own, some live on into later phases, now and then there is a large buffer.
pub fn phases(phases: usize, steps: usize) -> Vec<Step> {
    let mut random = Random(17);
    let (mut trace, mut live, mut count) = (Vec::new(), Vec::new(), 0);
    for phase in 0..phases {
        let own: [usize; 6] = core::array::from_fn(|_| random.size());
        for _ in 0..steps {
            // Phases grow and shrink in turn.
            let grows = random.below(100) < if phase % 2 == 0 { 62 } else { 40 };
            if grows || live.is_empty() {
                let size = match random.below(50) {
                    0 => 2048 + random.below(12_000),
                    1..10 => random.size(),
                    n => own[n % own.len()],
                };
                trace.push(Step::Allocate(size));
                live.push(count);
                count += 1;
            } else {
                // Mostly young ones.
                let among = if random.below(4) == 0 {
                    live.len()
                } else {
                    live.len().min(40)
                };
                let at = live.len() - 1 - random.below(among);
                trace.push(Step::Free(live.swap_remove(at)));
            }
        }
    }
    trace
}

/// Most bytes that a trace has live at a time.
pub fn most_live(trace: &[Step]) -> usize {
    let (mut sizes, mut live, mut most) = (Vec::new(), 0, 0);
    for step in trace {
        match *step {
            Step::Allocate(size) => {
                sizes.push(size);
                live += size;
                most = most.max(live);
            }
            Step::Free(block) => live -= sizes.get(block).copied().unwrap_or(0),
        }
    }
    most
}

/// Bytes of the smallest pool as `config` says, without its tables, in which no allocation of a trace fails; to
/// the `step` above. `None` if none does.
pub fn smallest_body(trace: &[Step], config: &Config, step: usize) -> Option<usize> {
    let (mut too_small, mut enough) = (0, most_live(trace).div_ceil(step) * 4);
    if !holds(trace, config, enough * step) {
        return None;
    }
    while enough - too_small > 1 {
        let middle = usize::midpoint(too_small, enough);
        if holds(trace, config, middle * step) {
            enough = middle;
        } else {
            too_small = middle;
        }
    }
    Some(enough * step)
}

/// Whether a body of `bytes` serves a trace.
fn holds(trace: &[Step], config: &Config, bytes: usize) -> bool {
    // The tables describe themselves too.
    let tables = metadata_bytes(bytes * 2, config);
    let whole = tables + bytes;
    let memory = Memory::new(whole.max(bytes * 2));
    // SAFETY: the only pool of `memory`, which lives longer.
    let Ok(mut pool) = (unsafe { memory.pool(whole, config) }) else {
        return false;
    };
    let mut blocks = Vec::new();
    for step in trace {
        match *step {
            Step::Allocate(size) => match allocate(&mut pool, size) {
                Some(block) => blocks.push(Some(block)),
                None => return false,
            },
            Step::Free(block) => {
                let block = blocks.get_mut(block).and_then(Option::take);
                // SAFETY: the trace forgets the block.
                if block.is_none_or(|block| unsafe { pool.free(block) }.is_err()) {
                    return false;
                }
            }
        }
    }
    pool.check().is_ok()
}

/// xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end.max(1)
    }

    /// 16 to 1023 bytes, halving in number with each doubling.
    fn size(&mut self) -> usize {
        let smallest = 16 << self.next().trailing_zeros().min(5);
        smallest + self.below(smallest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    #[test]
    fn bookkeeping_of_a_block_stays_below_sixteen_bytes() {
        // Figures, not memory: little is enough where every access is checked.
        let (bytes, sizes): (usize, &[usize]) = if cfg!(miri) {
            (1 << 14, &[24, 500])
        } else {
            let all = &[1, 16, 24, 64, 128, 200, 256, 320, 500, 768, 1000, 4096];
            (1 << 20, all)
        };
        for &size in sizes {
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
        let tables = |bytes| metadata_bytes(bytes, &Config::TA);
        let more = tables(9 << 20) - tables(1 << 20);
        assert!(more * 100 < 8 << 20);
    }

    #[test]
    fn best_fit_serves_a_program_in_phases_in_no_more_memory_than_first_fit() {
        let trace = if cfg!(miri) {
            phases(1, 5)
        } else {
            phases(8, 1500)
        };
        let smallest = |strategy| {
            let config = Config {
                strategy,
                ..Config::TA
            };
            smallest_body(&trace, &config, if cfg!(miri) { 8192 } else { 1024 }).unwrap()
        };
        let live = most_live(&trace);
        let [slabs, first, best] =
            [Strategy::Segregated, Strategy::FirstFit, Strategy::BestFit].map(smallest);
        assert!(live < best && best <= first, "{live}: {best} or {first}");
        assert!(slabs < 2 * live || cfg!(miri), "{live}: {slabs}");
    }
}
