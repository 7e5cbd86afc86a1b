//! What the kernel tells pseudo-TAs of things held and of wrong orders.
//!
//! **Invariant:** asking changes nothing.
//! **Knows nothing of:** how things come to be held.

use crate::audit::Totals;
use tally_abi::TeeResult;
use tally_abi::pta::audit::{EventRow, HeldRow};

/// What is not undone, and what was done in the wrong order.
pub trait AuditServices {
    /// Channels, mappings, registered shared memory and sessions of TAs.
    fn held(&self, index: usize) -> Option<HeldRow>;
    /// Events, oldest first.
    fn audit_event(&self, index: usize) -> Option<EventRow>;
    /// Counts.
    fn audit_totals(&self) -> Totals;
    /// Switches the test-only fault of early closes.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` in builds without test hooks.
    fn set_buffer_fault(&self, on: bool) -> Result<(), TeeResult>;
}
