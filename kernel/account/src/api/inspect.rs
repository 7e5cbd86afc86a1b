//! Services for the `inspect` pTA.
//!
//! **Invariant:** each method works a bounded time under the state's lock; what is longer is
//! asked for step by step.

use crate::heaps::question::Step;
use crate::tas::regions::RegionCursor;
use crate::which::Which;
use tally_abi::{TeeResult, TeeUuid};
use tally_records::{
    BlockRow, ChunkRow, ClassRow, FailureRow, HistoryRow, RegionRow, SessionRow, SiteRow, TaDetail,
    UnfreedRow,
};

/// Looking into TAs and the kernel. Lists are asked item by item, each telling where to go on;
/// `None` ends them.
pub trait Inspect {
    /// Whether an instance is there that `which` means.
    fn is_loaded(&self, which: Which) -> bool;
    /// Whether there are instances that `which` means, all of them dead: without memory, kept for their sessions.
    fn is_dead(&self, which: Which) -> bool;
    /// The instance in slot `from` or behind it.
    fn ta_detail(&self, which: Which, from: usize) -> Option<(TaDetail, usize)>;
    /// The next region of TAs.
    fn ta_region(&self, which: Which, from: RegionCursor) -> Option<(RegionRow, RegionCursor)>;
    /// The kernel's mapping at the address `from` or behind it.
    fn kernel_region(&self, from: u64) -> Option<(RegionRow, u64)>;
    /// The session in slot `from` or behind it that a TA serves.
    fn session(&self, which: Which, from: usize) -> Option<(SessionRow, usize)>;
    /// Writes the status of a TA's instances to the secure console; how many there are.
    fn print_status(&self, uuid: TeeUuid) -> usize;
    /// Call sites of a pool; no TA named: of the kernel heap.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND` for a TA that is not loaded, `CORRUPT_OBJECT` for books that make no sense.
    fn pool_sites(&self, which: Which, cursor: u64, out: &mut [SiteRow])
    -> Result<Step, TeeResult>;
    /// Live blocks, likewise.
    ///
    /// # Errors
    /// As [`Self::pool_sites`].
    fn pool_blocks(
        &self,
        which: Which,
        cursor: u64,
        out: &mut [BlockRow],
    ) -> Result<Step, TeeResult>;
    /// Chunks, likewise.
    ///
    /// # Errors
    /// As [`Self::pool_sites`].
    fn pool_chunks(
        &self,
        which: Which,
        cursor: u64,
        out: &mut [ChunkRow],
    ) -> Result<Step, TeeResult>;
    /// Size classes; how many.
    ///
    /// # Errors
    /// As [`Self::pool_sites`].
    fn pool_classes(&self, which: Which, out: &mut [ClassRow]) -> Result<usize, TeeResult>;
    /// Checks a pool: one of [`tally_records::damage`], and where.
    ///
    /// # Errors
    /// `BUSY` if it is changed all the while; as [`Self::pool_sites`].
    fn pool_check(&self, which: Which) -> Result<(u32, u32), TeeResult>;
    /// The live block that has the byte at an offset, or at an address where those are shown.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `ACCESS_DENIED`; as [`Self::pool_sites`].
    fn pool_block(&self, which: Which, at: u64) -> Result<BlockRow, TeeResult>;
    /// Copies what is in a pool.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` in builds that do not show it; as [`Self::pool_sites`].
    fn pool_bytes(&self, which: Which, offset: u64, out: &mut [u8]) -> Result<(), TeeResult>;
    /// The oldest refused allocation that is kept of this number or a later one.
    fn failure(&self, number: u64) -> Option<FailureRow>;
    /// What TAs used that have ended, latest first.
    fn history(&self, index: usize) -> Option<HistoryRow>;
    /// Rows of the history that were given up.
    fn history_dropped(&self) -> u32;
    /// What TAs had not freed when they ended, by call site, most bytes first.
    fn unfreed(&self, index: usize) -> Option<UnfreedRow>;
    /// Call sites of that which were given up.
    fn unfreed_dropped(&self) -> u32;
}
