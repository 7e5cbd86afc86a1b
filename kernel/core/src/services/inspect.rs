//! What the `inspect` pTA asks, answered by the kernel.
//!
//! **Invariant:** none but that of [`crate::inspect`].
//! **Knows nothing of:** how the answers come about.

use super::CallServices;
use crate::inspect::Which;
use crate::inspect::regions::RegionCursor;
use crate::machine::Machine;
use crate::pta_api::inspect::Inspect;
use tally_abi::TeeUuid;
use tally_abi::pta::inspect::{FailureRow, HistoryRow, RegionRow, SessionRow, TaDetail};

impl<M: Machine> Inspect for CallServices<'_, M> {
    fn is_loaded(&self, which: Which) -> bool {
        self.kernel.state().guest.instance_from(which, 0).is_some()
    }

    fn ta_detail(&self, which: Which, from: usize) -> Option<(TaDetail, usize)> {
        self.kernel.next_ta(which, from)
    }

    fn ta_region(&self, which: Which, from: RegionCursor) -> Option<(RegionRow, RegionCursor)> {
        self.kernel.next_region(which, from)
    }

    fn kernel_region(&self, from: u64) -> Option<(RegionRow, u64)> {
        self.kernel.next_kernel_region(from)
    }

    fn session(&self, which: Which, from: usize) -> Option<(SessionRow, usize)> {
        self.kernel.next_session(which, from)
    }

    fn print_status(&self, uuid: TeeUuid) -> usize {
        self.kernel.print_status(uuid)
    }

    fn failure(&self, number: u64) -> Option<FailureRow> {
        self.kernel.failure(number)
    }

    fn history(&self, index: usize) -> Option<HistoryRow> {
        self.kernel.state().history.row(index)
    }

    fn history_dropped(&self) -> u32 {
        self.kernel.state().history.dropped()
    }
}
