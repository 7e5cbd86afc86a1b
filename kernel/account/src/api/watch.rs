//! Snapshot and watchpoint services for pseudo-TAs.
//!
//! **Invariant:** a snapshot is taken in steps; nobody waits for the whole of it.

use crate::snapshot::keep::Watchpoint;
use tally_abi::TeeResult;
use tally_records::SnapshotRow;

/// Snapshots and watchpoints.
pub trait WatchServices {
    /// Takes a snapshot now; its number and bytes.
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
    /// Snapshots and watchpoints, oldest first.
    fn snapshot(&self, index: usize) -> Option<SnapshotRow>;
    /// Arms a watchpoint; its number.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when there are too many.
    fn arm(&self, watchpoint: Watchpoint) -> Result<u32, TeeResult>;
}
