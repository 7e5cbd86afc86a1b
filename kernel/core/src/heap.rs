//! What the portable kernel asks of the kernel heap beyond allocating.
//!
//! **Invariant:** none of these functions allocates from the heap it reports on.
//! **Knows nothing of:** the strategy behind the heap.

use crate::inspect::failures::Failures;
use crate::inspect::pools::{PoolError, Question, Step};
use crate::owner::OwnerId;
use core::fmt;
use tally_abi::pta::MAX_FRAMES;
use tally_abi::pta::control::PoolStats;

/// Live blocks of one owner and one call stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveGroup {
    /// Whose.
    pub owner: OwnerId,
    /// Blocks.
    pub blocks: u32,
    /// Bytes asked for, all together.
    pub bytes: u64,
    /// Size of each, or 0 if they differ.
    pub block_size: u32,
    /// Return addresses, innermost first, as offsets from the image's link base; 0 ends.
    pub frames: [u64; MAX_FRAMES],
}

/// The kernel heap, as the roof made it.
pub trait KernelHeap: Sync {
    /// All figures.
    fn stats(&self) -> PoolStats;
    /// Restarts maxima and failure figures.
    fn reset(&self);
    /// Blocks allocated from now on carry `epoch`.
    fn set_epoch(&self, epoch: u16);
    /// Bytes and blocks that `owner` holds.
    fn account(&self, owner: OwnerId) -> (u32, u32);
    /// Groups the live blocks with an epoch of at least `since` into `groups`, biggest first, and
    /// returns how many groups there are (perhaps more than fit).
    fn live_groups(&self, since: u16, groups: &mut [LiveGroup]) -> usize;
    /// Writes a line for every live block, with its size and file:line.
    fn dump(&self, out: &mut dyn fmt::Write);
    /// Writes "function file:line" for an offset in the kernel image; false if it has no name.
    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool;
    /// Fills in from where the caller was called: return addresses as in [`LiveGroup::frames`].
    fn call_stack(&self, frames: &mut [u64; MAX_FRAMES]);
    /// One step of an answer.
    ///
    /// # Errors
    /// [`PoolError`].
    fn ask(&self, cursor: u64, question: &mut Question<'_>) -> Result<Step, PoolError>;
    /// Where the pool begins.
    fn base(&self) -> u64;
    /// Works on the log of refused allocations. Nothing may be allocated meanwhile.
    fn with_failures(&self, work: &mut dyn FnMut(&mut Failures));
    /// Writes the last out-of-memory report; false if there was none.
    fn last_oom(&self, out: &mut dyn fmt::Write) -> bool;
}
