//! Statistics services for pseudo-TAs: memory, time, kernel information.
//!
//! **Invariant:** figures only, but for [`Statistics::fault`].

use crate::moment::USES;
use alloc::vec::Vec;
use core::fmt;
use tally_abi::TeeResult;
use tally_abi::pta::stats::{AllocStats, TaStats};
use tally_records::{MeminfoRow, OwnerRow, PoolRow};

/// What there is to tell. Lists are asked item by item: `None` ends them.
pub trait Statistics {
    /// Pool `alloc_id` as the stats pTA reports it; zeros for pools that do not exist.
    fn alloc_stats(&self, alloc_id: u32) -> AllocStats;
    /// Pools: kernel heap, TA RAM, then every TA's heap.
    fn pool(&self, index: usize) -> Option<PoolRow>;
    /// Loaded TAs, dead ones with open sessions included.
    fn ta(&self, index: usize) -> Option<TaStats>;
    /// Bytes of secure RAM, as the roof has them from the board.
    fn secure_ram(&self) -> u64;
    /// Secure RAM by use at one moment; the rows add up to all of it.
    fn meminfo(&self) -> [MeminfoRow; USES];
    /// Owners with something to their name, at one moment.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    fn owners(&self) -> Result<Vec<OwnerRow>, TeeResult>;
    /// Writes "function file:line" for an offset in the kernel image; false if it has none.
    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool;
    /// Restarts maxima and failure figures of pool `alloc_id`, or of all pools but TAs' heaps.
    fn reset_stats(&self, alloc_id: u32);
    /// Restarts maxima and failure figures of the heaps of TAs, and what is remembered of ended ones. Of a TA that
    /// a call is inside of, the maximum is the one since that call began.
    fn reset_tas(&self);
    /// Lists the kernel heap's live blocks on the secure console.
    fn dump_heap(&self);
    /// Threads for calls, those of them in use, and calls turned away for want of one.
    fn threads(&self) -> [u32; 3];
    /// Writes the last out-of-memory report; false if there was none.
    fn last_oom(&self, out: &mut dyn fmt::Write) -> bool;
    /// Lets interrupts of the normal world through: to be called between the parts of a long answer.
    fn breathe(&self);
    /// Breaks the kernel on purpose, in builds that can.
    fn fault(&self, kind: u32) -> TeeResult;
}
