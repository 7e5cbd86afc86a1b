//! The memory of a snapshot: secure pages of its own.
//!
//! **Invariant:** all pages are charged to the statistics until [`Image::free`] gives them back.

use crate::snapshot::keep::SnapshotError;
use alloc::vec::Vec;
use core::ops::Range;
use tally_abi::pta::watch::MAX_BYTES;
use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use tally_mem::fallible::try_push;
use tally_mem::machine::SecureMemory;
use tally_mem::owner::OwnerId;
use tally_mem::pages::{PageAllocator, PageUse};

/// Bytes in pages.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pages: Vec<PhysPage>,
    len: usize,
}

impl Image {
    /// Bytes that were written.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of its pages.
    #[must_use]
    pub(crate) const fn room(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    /// Takes pages for `bytes` in all. The list of them goes to the heap's current owner.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`], also above [`MAX_BYTES`]; pages taken so far are kept.
    pub(crate) fn reserve(
        &mut self,
        allocator: &mut PageAllocator,
        bytes: usize,
    ) -> Result<(), SnapshotError> {
        if bytes > MAX_BYTES {
            return Err(SnapshotError::OutOfMemory);
        }
        while self.room() < bytes {
            let page = allocator
                .alloc(PageUse::Snapshot, OwnerId::STATS)
                .map_err(|_| SnapshotError::OutOfMemory)?;
            if try_push(&mut self.pages, page).is_err() {
                free(allocator, page);
                return Err(SnapshotError::OutOfMemory);
            }
        }
        Ok(())
    }

    /// Writes `data` to byte `offset`.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`] if there are no pages for it; nothing is written then.
    pub(crate) fn write<M: SecureMemory>(
        &mut self,
        machine: &M,
        offset: usize,
        data: &[u8],
    ) -> Result<(), SnapshotError> {
        let end = offset.saturating_add(data.len());
        if end > self.room() {
            return Err(SnapshotError::OutOfMemory);
        }
        for (pa, range) in self.pieces(offset, data.len()) {
            machine.write_secure(pa, &data[range]);
        }
        self.len = self.len.max(end);
        Ok(())
    }

    /// Copies bytes from `offset` on; how many there were.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfRange`].
    pub(crate) fn read<M: SecureMemory>(
        &self,
        machine: &M,
        offset: usize,
        buf: &mut [u8],
    ) -> Result<usize, SnapshotError> {
        let left = self.len.checked_sub(offset);
        let len = left.ok_or(SnapshotError::OutOfRange)?.min(buf.len());
        for (pa, range) in self.pieces(offset, len) {
            machine.read_secure(pa, &mut buf[range]);
        }
        Ok(len)
    }

    /// Forgets what lies behind `len` bytes, and gives pages back that are not needed for them.
    pub(crate) fn truncate(&mut self, allocator: &mut PageAllocator, len: usize) {
        self.len = self.len.min(len);
        for page in self.pages.drain(self.len.div_ceil(PAGE_SIZE)..) {
            free(allocator, page);
        }
    }

    /// Gives all pages back.
    pub(crate) fn free(mut self, allocator: &mut PageAllocator) {
        self.truncate(allocator, 0);
    }

    /// Splits bytes `offset..offset + len`, for which there are pages, at page boundaries.
    fn pieces(
        &self,
        offset: usize,
        len: usize,
    ) -> impl Iterator<Item = (PhysAddr, Range<usize>)> + '_ {
        let mut done = 0;
        core::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset + done;
            let page = self.pages.get(at / PAGE_SIZE)?;
            let in_page = at % PAGE_SIZE;
            let size = (PAGE_SIZE - in_page).min(len - done);
            let range = done..done + size;
            done += size;
            Some((PhysAddr(page.addr().0 + in_page as u64), range))
        })
    }
}

fn free(allocator: &mut PageAllocator, page: PhysPage) {
    let freed = allocator.free(page);
    debug_assert_eq!(freed, Ok(()), "a snapshot's page that nobody knows");
}

#[cfg(test)]
mod tests;
