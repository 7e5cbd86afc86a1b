//! A stand-in for the kernel heap.
//!
//! **Invariant:** answers the same, always, but for the log of refused allocations, which it keeps.
//! **Knows nothing of:** allocations; the host's allocator serves them.

use crate::heap::{KernelHeap, LiveGroup};
use crate::inspect::failures::Failures;
use crate::inspect::pools::{PoolError, Question, Step};
use crate::owner::OwnerId;
use core::fmt;
use spin::Mutex;
use tally_abi::pta::MAX_FRAMES;
use tally_abi::pta::control::PoolStats;

/// A heap that counts nothing: the crate has no allocator of its own on the host.
pub(super) struct NoHeap(Mutex<Failures>);

impl NoHeap {
    /// One of its own, with an empty log.
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Failures::EMPTY))
    }
}

impl KernelHeap for NoHeap {
    fn stats(&self) -> PoolStats {
        PoolStats::default()
    }
    fn reset(&self) {}
    fn set_epoch(&self, _: u16) {}
    fn account(&self, _: OwnerId) -> (u32, u32) {
        (0, 0)
    }
    fn live_groups(&self, _: u16, groups: &mut [LiveGroup]) -> usize {
        if let Some(group) = groups.first_mut() {
            *group = LiveGroup {
                owner: OwnerId::GUEST,
                blocks: 2,
                bytes: 64,
                block_size: 32,
                ..LiveGroup::default()
            };
        }
        1
    }
    fn dump(&self, _: &mut dyn fmt::Write) {}
    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool {
        offset == 0x40 && out.write_str("site kernel.rs:1").is_ok()
    }
    fn call_stack(&self, frames: &mut [u64; MAX_FRAMES]) {
        frames[0] = 0x40;
    }
    fn ask(&self, _: u64, _: &mut Question<'_>) -> Result<Step, PoolError> {
        Ok(Step::default())
    }
    fn base(&self) -> u64 {
        0
    }
    fn with_failures(&self, work: &mut dyn FnMut(&mut Failures)) {
        work(&mut self.0.lock());
    }
    fn last_oom(&self, _: &mut dyn fmt::Write) -> bool {
        false
    }
}
