//! The kernel heap as the account reads it.
//!
//! **Invariant:** none of these functions allocates from the heap it reports on.

use crate::heaps::question::{PoolError, Question, Step};
use crate::past::failures::Failures;
use core::fmt;
use core::ops::Range;
use tally_abi::pta::MAX_FRAMES;
use tally_core::kernel::KernelHeap;
use tally_core::owners::MAX_OWNERS;
use tally_ledger::view::Inconsistent;
use tally_ledger::{Block, SiteId};
use tally_mem::owner::OwnerId;
use tally_records::PoolStats;

/// The kernel heap at one moment.
#[derive(Clone, Debug)]
pub struct HeapMoment {
    /// As of [`HeapBooks::stats`].
    pub stats: PoolStats,
    /// Bytes and blocks that each owner has, by its number.
    pub accounts: [(u32, u32); MAX_OWNERS],
}

impl HeapMoment {
    /// Bytes and blocks that an owner has.
    #[must_use]
    pub fn account(&self, owner: OwnerId) -> (u32, u32) {
        let account = self.accounts.get(usize::from(owner.0));
        account.copied().unwrap_or_default()
    }
}

/// Finds the block that has a byte.
pub type BlockAt<'a> = dyn Fn(u64) -> Option<Block> + 'a;

/// The kernel heap, as the roof made it.
pub trait HeapBooks: KernelHeap {
    /// What its header and call sites say, without a walk: all but the free chunks.
    fn stats(&self) -> PoolStats;
    /// The same and all accounts, which add up.
    fn moment(&self) -> HeapMoment;
    /// Restarts maxima and failure figures.
    fn reset(&self);
    /// Blocks allocated from now on carry `mark`.
    fn set_mark(&self, mark: u16);
    /// Address and length of the pool, its own tables included.
    fn range(&self) -> Range<u64>;
    /// Copies live blocks from a cursor on, which is 0 at first: how many, and where to go on. Fewer
    /// than there is room for do not mean the end.
    ///
    /// # Errors
    /// [`Inconsistent`].
    fn blocks(&self, cursor: u64, out: &mut [Block]) -> Result<(usize, Option<u64>), Inconsistent>;
    /// Lets `work` ask for the live block that the byte at an offset from the pool's base belongs
    /// to. Nothing may be allocated meanwhile.
    fn look_up(&self, work: &mut dyn FnMut(&BlockAt<'_>));
    /// The call stack of a site: return addresses, innermost first, as offsets from the image's
    /// link base; 0 ends.
    fn frames(&self, site: SiteId) -> [u64; MAX_FRAMES];
    /// Writes a line for every live block, with its size and file:line.
    fn dump(&self, out: &mut dyn fmt::Write);
    /// Writes "function file:line" for an offset in the kernel image; false if it has no name.
    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool;
    /// Fills in from where the caller was called: return addresses as in [`Self::frames`].
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
