//! Actions that pseudo-TAs may have done, and answers that are no lists.

use crate::api::Rows;
use crate::past::wrong_orders::Totals;
use crate::snapshot::keep::Watchpoint;
use core::fmt;
use tally_abi::pta::stats::{AllocStats, TaStats};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::injection::Injection;
use tally_records::{BlockRow, Selector};

/// What there is to do.
pub trait Actions {
    /// Pool `alloc_id` as the stats pTA reports it; zeros for pools that do not exist.
    fn alloc_stats(&self, alloc_id: u32) -> AllocStats;
    /// Loaded TAs as the stats pTA reports them, dead ones with open sessions included; `None` ends them.
    fn ta_stats(&self, index: usize) -> Option<TaStats>;
    /// Bytes of secure RAM, as the roof has them from the board.
    fn secure_ram(&self) -> u64;
    /// Threads for calls, those of them in use, and calls turned away for want of one.
    fn threads(&self) -> [u32; 3];
    /// Writes "function file:line" for an offset in the kernel image; false if it has none.
    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool;
    /// Writes the last out-of-memory report; false if there was none.
    fn last_oom(&self, out: &mut dyn fmt::Write) -> bool;
    /// Lists the kernel heap's live blocks on the secure console.
    fn dump_heap(&self);
    /// Writes the status of a TA's instances to the secure console; how many there are.
    fn print_status(&self, uuid: TeeUuid) -> usize;
    /// Restarts maxima and failure figures of pool `alloc_id`, or of all pools but TAs' heaps.
    fn reset_stats(&self, alloc_id: u32);
    /// Restarts maxima and failure figures of the heaps of TAs, and what is remembered of ended ones. Of a TA that
    /// a call is inside of, the maximum is the one since that call began.
    fn reset_tas(&self);
    /// Lets interrupts of the normal world through: to be called between the parts of a long answer.
    fn breathe(&self);
    /// Breaks the kernel on purpose, in builds that can.
    fn fault(&self, kind: u32) -> TeeResult;
    /// Refuses requests of a [`tally_abi::pta::control::pool`] on purpose; what became of those before.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` in builds without test hooks, `BAD_PARAMETERS`.
    fn inject(&self, pool: u32, injection: Injection) -> Result<Injection, TeeResult>;

    /// Checks a heap: one of [`tally_records::damage`], and where.
    ///
    /// # Errors
    /// `BUSY` if it is changed all the while; as for lists.
    fn check_heap(&self, of: &Selector) -> Result<(u32, u32), TeeResult>;
    /// The live block that has the byte at an offset, or at an address where those are shown.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `ACCESS_DENIED`; as for lists.
    fn block_at(&self, of: &Selector, at: u64) -> Result<BlockRow, TeeResult>;
    /// Copies what is in a heap.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` in builds that do not show it; as for lists.
    fn heap_bytes(&self, of: &Selector, offset: u64, out: &mut [u8]) -> Result<(), TeeResult>;

    /// Sets a mark and returns its number.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` for a name that is none ([`crate::leaks::marks::MarkName`]), `OVERFLOW` after
    /// 65,535 marks and scans.
    fn mark(&self, name: &[u8]) -> Result<u16, TeeResult>;
    /// How many heaps a selector means now.
    fn heap_count(&self, of: &Selector) -> usize;
    /// Looks for blocks that nothing points to; what each scan did.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `OVERFLOW` as for marks; as for lists.
    fn scan(&self, of: &Selector, out: &mut dyn Rows) -> Result<(), TeeResult>;
    /// Hides what was found so far; returns how many blocks that were.
    ///
    /// # Errors
    /// As for lists.
    fn clear(&self, of: &Selector) -> Result<u32, TeeResult>;

    /// Counts of the audit.
    fn audit_totals(&self) -> Totals;
    /// Does what [`tally_abi::pta::audit::ledger`] says with a TA's commands.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when too many TAs are looked at in detail, `BAD_PARAMETERS`.
    fn ledger(&self, uuid: TeeUuid, what: u32) -> Result<(), TeeResult>;
    /// Switches the test-only fault of early closes.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` in builds without test hooks.
    fn set_buffer_fault(&self, on: bool) -> Result<(), TeeResult>;

    /// Takes a snapshot now, in steps; its number and bytes.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    fn take_snapshot(&self) -> Result<(u32, u32), TeeResult>;
    /// Copies bytes of a snapshot from `offset` on; how many there were.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `NO_DATA`, `BUSY`; `BAD_PARAMETERS` for an offset outside of it.
    fn read_snapshot(&self, number: u32, offset: u32, buf: &mut [u8]) -> Result<usize, TeeResult>;
    /// Forgets a snapshot or a watchpoint.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `BUSY`.
    fn drop_snapshot(&self, number: u32) -> Result<(), TeeResult>;
    /// Arms a watchpoint; its number.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when there are too many.
    fn arm(&self, watchpoint: Watchpoint) -> Result<u32, TeeResult>;
}
