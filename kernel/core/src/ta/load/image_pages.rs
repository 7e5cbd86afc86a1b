//! A copied image, read page by page.

use crate::ta::load::image::ImageBytes;
use core::ops::Range;
use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use tally_mem::machine::Machine;

/// The pages of an image and how many bytes of them are its.
pub(super) struct ImagePages<'i, M> {
    pub(super) machine: &'i M,
    pub(super) pages: &'i [PhysPage],
    pub(super) count: usize,
}

impl<M: Machine> ImagePages<'_, M> {
    /// The pieces of a range that lie in one page each: the page, and where in it.
    fn split(&self, range: Range<usize>) -> impl Iterator<Item = (PhysPage, Range<usize>)> {
        let pages = self.pages.iter().enumerate();
        pages
            .skip(range.start / PAGE_SIZE)
            .map(move |(n, page)| {
                let first = n * PAGE_SIZE;
                let begin = range.start.saturating_sub(first);
                (*page, begin..range.end.saturating_sub(first).min(PAGE_SIZE))
            })
            .take_while(|(_, piece)| !piece.is_empty())
    }
}

impl<M: Machine> ImageBytes for ImagePages<'_, M> {
    fn count(&self) -> usize {
        self.count
    }

    fn read(&self, at: usize, to: &mut [u8]) {
        let mut left = to;
        for (page, piece) in self.split(at..at + left.len()) {
            let (now, rest) = left.split_at_mut(piece.len());
            let from = PhysAddr(page.addr().0 + piece.start as u64);
            self.machine.read_secure(from, now);
            left = rest;
        }
    }

    fn write(&self, at: usize, from: &[u8]) {
        let mut left = from;
        for (page, piece) in self.split(at..at + from.len()) {
            let (now, rest) = left.split_at(piece.len());
            let to = PhysAddr(page.addr().0 + piece.start as u64);
            self.machine.write_secure(to, now);
            left = rest;
        }
    }

    fn pieces(&self, range: Range<usize>, mut take: impl FnMut(&[u8])) {
        for (page, piece) in self.split(range) {
            let read = || self.machine.with_page(page, |bytes| take(&bytes[piece]));
            self.machine.interruptible(read);
        }
    }

    fn interruptible<R>(&self, work: impl FnOnce() -> R) -> R {
        self.machine.interruptible(work)
    }
}
