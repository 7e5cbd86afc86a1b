//! Audit services for pseudo-TAs: held resources and wrong orders.
//!
//! **Invariant:** asking changes nothing.

use crate::past::wrong_orders::Totals;
use tally_abi::{TeeResult, TeeUuid};
use tally_records::{CommandRow, EventRow, HeldRow};

/// What is not undone, and what was done in the wrong order.
pub trait AuditServices {
    /// Channels, mappings, registered shared memory and sessions of TAs.
    fn held(&self, index: usize) -> Option<HeldRow>;
    /// Events, oldest first.
    fn audit_event(&self, index: usize) -> Option<EventRow>;
    /// Counts.
    fn audit_totals(&self) -> Totals;
    /// Commands of a TA, or of all for nil, in the order of their first calls.
    fn command(&self, uuid: TeeUuid, index: usize) -> Option<CommandRow>;
    /// Calls of commands that the table had no room for.
    fn commands_dropped(&self) -> u64;
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
}
