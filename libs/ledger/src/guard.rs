//! Guard bytes behind each block, for finding who writes past a block's end.
//!
//! **Invariant:** in a pool with guard bytes all that a block takes beyond its size is [`PATTERN`] from its
//! allocation on, at least [`GUARD`] bytes; other pools have none of this and take no time for it.

use core::ptr::NonNull;

use crate::pool::{Found, Pool};
use crate::stats::{Block, Overrun};
use crate::view::{Inconsistent, Reader, View};
use crate::window::Window;

/// Fewest guard bytes of a block.
pub(crate) const GUARD: usize = 8;
/// What a guard byte is.
const PATTERN: u8 = 0xe5;
/// Guard bytes looked at together.
const BATCH: usize = 32;

/// Position in `size..usable` of the first byte that is no guard byte any more; `read` copies bytes of
/// the block.
fn first_bad(
    size: usize,
    usable: usize,
    read: impl Fn(usize, &mut [u8]) -> bool,
) -> Result<Option<usize>, Inconsistent> {
    let mut bytes = [0; BATCH];
    for start in (size..usable).step_by(BATCH) {
        let len = BATCH.min(usable - start);
        let bytes = bytes.get_mut(..len).ok_or(Inconsistent)?;
        if !read(start, bytes) {
            return Err(Inconsistent);
        }
        if let Some(at) = bytes.iter().position(|byte| *byte != PATTERN) {
            return Ok(Some(start + at));
        }
    }
    Ok(None)
}

impl Pool {
    /// Writes the guard bytes of the block that begins at `block`.
    pub(crate) fn seal(&mut self, block: NonNull<u8>) {
        if self.window().guard() == 0 {
            return;
        }
        if let Ok(found) = self.find(block) {
            let offset = self.window().body_offset_of(block);
            let (from, to) = (offset + found.size(), offset + found.usable());
            self.window_mut().fill_body(from, to, PATTERN);
        }
    }

    /// Looks at the guard bytes of a block that is about to be freed or resized; what is found is counted,
    /// and kept for [`Pool::take_overrun`].
    pub(crate) fn inspect(&mut self, block: NonNull<u8>) {
        if self.window().guard() == 0 {
            return;
        }
        let Ok(found) = self.find(block) else {
            return;
        };
        if let Some(at) = self.first_bad_of(block, &found)
            && let Ok(block) = self.block(block)
        {
            self.window_mut().header_mut().overruns += 1;
            self.keep_overrun(Overrun { block, at });
        }
    }

    fn first_bad_of(&self, block: NonNull<u8>, found: &Found) -> Option<usize> {
        let window: &Window = self.window();
        let start = window.geometry().body_offset + window.body_offset_of(block);
        let read = |at, bytes: &mut [u8]| window.read(start + at, bytes);
        first_bad(found.size(), found.usable(), read).ok()?
    }
}

impl<R: Reader> View<R> {
    /// Fills `out` with live blocks past whose end somebody wrote, from a cursor on, as
    /// [`View::blocks`] does. None in a pool without guard bytes.
    ///
    /// # Errors
    /// As there.
    pub fn overruns(&self, cursor: u64, out: &mut [Overrun]) -> Result<(usize, u64), Inconsistent> {
        if self.guard() == 0 {
            return Ok((0, 0));
        }
        self.list(cursor, out, |_, piece| {
            let crate::walk::Piece::Block(block) = piece else {
                return None;
            };
            let at = self.first_bad_of(&block).ok()??;
            Some(Overrun { block, at })
        })
    }

    fn first_bad_of(&self, block: &Block) -> Result<Option<usize>, Inconsistent> {
        let read = |at, bytes: &mut [u8]| self.read(block.offset + at, bytes);
        first_bad(block.size, block.usable, read)
    }
}

/// Units of a run that holds a block of `size` bytes and `guard` bytes behind it.
#[inline(always)]
pub(crate) fn run_units(size: usize, guard: usize) -> usize {
    let units = (size + guard).div_ceil(crate::classes::UNIT);
    units.max(crate::entry::MIN_BLOCK_UNITS as usize)
}
