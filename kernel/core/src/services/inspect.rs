//! What the `inspect` pTA asks, answered by the kernel.
//!
//! **Invariant:** none but that of [`crate::inspect`].
//! **Knows nothing of:** how the answers come about.

use super::CallServices;
use crate::inspect::Which;
use crate::inspect::pools::Step;
use crate::inspect::regions::RegionCursor;
use crate::pta_api::inspect::Inspect;
use tally_abi::pta::inspect::{
    BlockRow, ChunkRow, ClassRow, FailureRow, HistoryRow, RegionRow, SessionRow, SiteRow, TaDetail,
    UnfreedRow,
};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::machine::Machine;

impl<M: Machine> Inspect for CallServices<'_, M> {
    fn is_loaded(&self, which: Which) -> bool {
        self.kernel.state().guest.instance_from(which, 0).is_some()
    }

    fn is_dead(&self, which: Which) -> bool {
        self.kernel.state().guest.is_dead(which)
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

    fn pool_sites(
        &self,
        which: Which,
        cursor: u64,
        out: &mut [SiteRow],
    ) -> Result<Step, TeeResult> {
        Ok(self.kernel.site_rows(which, cursor, out)?)
    }

    fn pool_blocks(
        &self,
        which: Which,
        cursor: u64,
        out: &mut [BlockRow],
    ) -> Result<Step, TeeResult> {
        Ok(self.kernel.block_rows(which, cursor, out)?)
    }

    fn pool_chunks(
        &self,
        which: Which,
        cursor: u64,
        out: &mut [ChunkRow],
    ) -> Result<Step, TeeResult> {
        Ok(self.kernel.chunk_rows(which, cursor, out)?)
    }

    fn pool_classes(&self, which: Which, out: &mut [ClassRow]) -> Result<usize, TeeResult> {
        Ok(self.kernel.class_rows(which, out)?)
    }

    fn pool_check(&self, which: Which) -> Result<(u32, u32), TeeResult> {
        self.kernel.check_pool(which)
    }

    fn pool_block(&self, which: Which, at: u64) -> Result<BlockRow, TeeResult> {
        self.kernel.block_at(which, at)
    }

    fn pool_bytes(&self, which: Which, offset: u64, out: &mut [u8]) -> Result<(), TeeResult> {
        self.kernel.pool_bytes(which, offset, out)
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

    fn unfreed(&self, index: usize) -> Option<UnfreedRow> {
        self.kernel.state().left.row(index)
    }

    fn unfreed_dropped(&self) -> u32 {
        self.kernel.state().left.dropped()
    }
}
