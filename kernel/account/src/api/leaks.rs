//! Leak services for pseudo-TAs: marks, differences, scans.
//!
//! **Invariant:** no TA is entered, and no lock is held while `put` runs.

use tally_abi::{TeeResult, TeeUuid};
use tally_records::{EndedRow, LeakRecord, MarkRow, ScanRow, SuspectRow};

/// Takes one record after the other; an error ends the list.
pub type Put<'a, T> = &'a mut dyn FnMut(&T) -> Result<(), TeeResult>;

/// Heaps that a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heaps {
    /// The kernel's and every TA's.
    All,
    /// The kernel's.
    Kernel,
    /// Every TA's.
    Tas,
    /// Those of the instances of one TA.
    Ta(TeeUuid),
}

/// Marks between which blocks were allocated: from the first on, and before the second if there
/// is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkRange {
    /// 0: since ever.
    pub from: u16,
    /// 0: until now.
    pub until: u16,
}

/// The leak finder's part of [`super::Services`].
pub trait LeakServices {
    /// Sets a mark and returns its number.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` for a name that is none ([`crate::leaks::marks::MarkName`]), `OVERFLOW` after
    /// 65,535 marks and scans.
    fn mark_named(&self, name: &[u8]) -> Result<u16, TeeResult>;

    /// Marks that are known, oldest first.
    fn mark_row(&self, index: usize) -> Option<MarkRow>;

    /// Number of the last mark that is known (0: none), and marks that the table dropped.
    fn mark_counts(&self) -> (u32, u32);

    /// Whether somebody set this mark and it is known still.
    fn knows_mark(&self, number: u16) -> bool;

    /// Instances that ended since a mark, oldest first.
    fn ended_row(&self, since: u16, index: usize) -> Option<EndedRow>;

    /// Ended instances that the table dropped.
    fn ended_dropped(&self) -> u32;

    /// Groups live blocks by owner and call stack; biggest first, heap by heap.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, or `put`'s.
    fn diff(
        &self,
        heaps: Heaps,
        marks: MarkRange,
        put: Put<'_, LeakRecord>,
    ) -> Result<(), TeeResult>;

    /// How many heaps these are now.
    fn heap_count(&self, heaps: Heaps) -> usize;

    /// Looks for blocks that nothing points to.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND` if there is no such heap, `OUT_OF_MEMORY`, `OVERFLOW` as for marks, or
    /// `put`'s.
    fn scan(&self, heaps: Heaps, put: Put<'_, ScanRow>) -> Result<(), TeeResult>;

    /// What the last scans found and is still there.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND` if there is no such heap, `OUT_OF_MEMORY`, or `put`'s.
    fn suspects(&self, heaps: Heaps, put: Put<'_, SuspectRow>) -> Result<(), TeeResult>;

    /// Hides what was found so far; returns how many blocks that were.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND` if there is no such heap.
    fn clear(&self, heaps: Heaps) -> Result<u32, TeeResult>;
}
