//! Lists of records.
//!
//! **Invariant:** a cursor names a place that stays where it is while rows come and go; no lock is held while a
//! row is taken.

use tally_abi::TeeResult;
use tally_records::Selector;

/// Takes rows.
pub trait Rows {
    /// Bytes that there is room for.
    fn room(&self) -> usize;

    /// Takes a row, or counts what it would take.
    ///
    /// # Errors
    /// What ends the list.
    fn put(&mut self, row: &[u8]) -> Result<(), TeeResult>;
}

/// What there is to list: records by the number of their section ([`tally_records::Record::SECTION`]).
pub trait Lists {
    /// Gives rows of a section from a cursor on, which is 0 at first, and tells where to go on: `None` after the
    /// last. Of what is of one moment, and of the blocks of one heap, all rows come at once; of anything else as
    /// many as there is room for, but not fewer than two.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` for what is no list, `ITEM_NOT_FOUND` for a TA that is not loaded, `TARGET_DEAD` for the
    /// memory of a dead one, `BAD_PARAMETERS` for a mark that is not known, `CORRUPT_OBJECT` for a heap whose
    /// books make no sense, `OUT_OF_MEMORY`; those of `out`.
    fn list(
        &self,
        section: u32,
        of: &Selector,
        cursor: u64,
        out: &mut dyn Rows,
    ) -> Result<Option<u64>, TeeResult>;

    /// Records of a section that there was no room for since boot, or since they were cleared.
    fn dropped(&self, section: u32) -> u64;
}
