//! Images in the host's memory.

use crate::ta::load::image::ImageBytes;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ops::Range;

/// An image that can be verified, and so decrypted.
#[derive(Debug)]
pub struct HeldImage(RefCell<Vec<u8>>);

impl HeldImage {
    /// Copies an image.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(RefCell::new(bytes.to_vec()))
    }

    /// What it is by now.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner()
    }
}

impl ImageBytes for HeldImage {
    fn count(&self) -> usize {
        self.0.borrow().len()
    }

    fn read(&self, at: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0.borrow()[at..at + to.len()]);
    }

    fn write(&self, at: usize, from: &[u8]) {
        self.0.borrow_mut()[at..at + from.len()].copy_from_slice(from);
    }

    /// In many pieces, as if pages were small.
    fn pieces(&self, range: Range<usize>, take: impl FnMut(&[u8])) {
        self.0.borrow()[range].chunks(16).for_each(take);
    }

    fn interruptible<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }
}
