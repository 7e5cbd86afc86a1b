//! Answers for the `inspect` pTA.

use crate::api::inspect::Inspect;
use crate::heaps::question::Step;
use crate::inspector::Inspector;
use crate::tas::regions::RegionCursor;
use crate::which::{Which, instance_from, is_dead};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::machine::Machine;
use tally_records::{
    BlockRow, ChunkRow, ClassRow, FailureRow, HistoryRow, RegionRow, SessionRow, SiteRow, TaDetail,
    UnfreedRow,
};

impl<M: Machine> Inspect for Inspector<'_, M> {
    fn is_loaded(&self, which: Which) -> bool {
        instance_from(self.state().guest(self.guest), which, 0).is_some()
    }

    fn is_dead(&self, which: Which) -> bool {
        is_dead(self.state().guest(self.guest), which)
    }

    fn ta_detail(&self, which: Which, from: usize) -> Option<(TaDetail, usize)> {
        self.next_ta(which, from)
    }

    fn ta_region(&self, which: Which, from: RegionCursor) -> Option<(RegionRow, RegionCursor)> {
        self.next_region(which, from)
    }

    fn kernel_region(&self, from: u64) -> Option<(RegionRow, u64)> {
        self.next_kernel_region(from)
    }

    fn session(&self, which: Which, from: usize) -> Option<(SessionRow, usize)> {
        self.next_session(which, from)
    }

    fn print_status(&self, uuid: TeeUuid) -> usize {
        self.print_status(uuid)
    }

    fn pool_sites(
        &self,
        which: Which,
        cursor: u64,
        out: &mut [SiteRow],
    ) -> Result<Step, TeeResult> {
        Ok(self.site_rows(which, cursor, out)?)
    }

    fn pool_blocks(
        &self,
        which: Which,
        cursor: u64,
        out: &mut [BlockRow],
    ) -> Result<Step, TeeResult> {
        Ok(self.block_rows(which, cursor, out)?)
    }

    fn pool_chunks(
        &self,
        which: Which,
        cursor: u64,
        out: &mut [ChunkRow],
    ) -> Result<Step, TeeResult> {
        Ok(self.chunk_rows(which, cursor, out)?)
    }

    fn pool_classes(&self, which: Which, out: &mut [ClassRow]) -> Result<usize, TeeResult> {
        Ok(self.class_rows(which, out)?)
    }

    fn pool_check(&self, which: Which) -> Result<(u32, u32), TeeResult> {
        self.check_pool(which)
    }

    fn pool_block(&self, which: Which, at: u64) -> Result<BlockRow, TeeResult> {
        self.block_at(which, at)
    }

    fn pool_bytes(&self, which: Which, offset: u64, out: &mut [u8]) -> Result<(), TeeResult> {
        self.pool_bytes(which, offset, out)
    }

    fn failure(&self, number: u64) -> Option<FailureRow> {
        self.failure(number)
    }

    fn history(&self, index: usize) -> Option<HistoryRow> {
        self.state().guest(self.guest).book.history.row(index)
    }

    fn history_dropped(&self) -> u32 {
        self.state().guest(self.guest).book.history.dropped()
    }

    fn unfreed(&self, index: usize) -> Option<UnfreedRow> {
        self.state().guest(self.guest).book.unfreed.row(index)
    }

    fn unfreed_dropped(&self) -> u32 {
        self.state().guest(self.guest).book.unfreed.dropped()
    }
}
