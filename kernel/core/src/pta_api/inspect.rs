//! What the kernel does for the `inspect` pTA.
//!
//! **Invariant:** each method works a bounded time under the state's lock; what is longer is
//! asked for step by step.
//! **Knows nothing of:** the pTA's commands.

use crate::inspect::Which;
use crate::inspect::regions::RegionCursor;
use tally_abi::TeeUuid;
use tally_abi::pta::inspect::{FailureRow, HistoryRow, RegionRow, SessionRow, TaDetail};

/// Looking into TAs and the kernel. Lists are asked item by item, each telling where to go on;
/// `None` ends them.
pub trait Inspect {
    /// Whether an instance is there that `which` means.
    fn is_loaded(&self, which: Which) -> bool;
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
    /// The oldest refused allocation that is kept of this number or a later one.
    fn failure(&self, number: u64) -> Option<FailureRow>;
    /// What TAs used that have ended, latest first.
    fn history(&self, index: usize) -> Option<HistoryRow>;
    /// Rows of the history that were given up.
    fn history_dropped(&self) -> u32;
}
