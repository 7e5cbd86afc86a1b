//! Read-only queries of a pool.
//!
//! **Invariant:** figures come from the same walk that a reader from outside uses.

use core::ptr::NonNull;

use crate::capture::MAX_DEPTH;
use crate::classes::{TABLE, UNIT};
use crate::entry;
use crate::error::FreeError;
use crate::layout::Tracking;
use crate::pool::Pool;
use crate::stats::{
    Block, Chunk, ClassFigures, Group, GroupTotals, Legend, Overrun, OwnerId, SiteId, SiteInfo,
    Stats,
};
use crate::view::{Inconsistent, Reader, TopSites, View, ViewBlocks};
use crate::window::Window;

/// Bytes and blocks of an account.
const fn in_halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

impl Pool {
    /// Bytes committed now.
    pub fn committed(&self) -> usize {
        self.window().committed()
    }

    /// Bytes the window can grow to.
    pub fn reserved(&self) -> usize {
        self.window().reserved()
    }

    /// Bytes that blocks hold now.
    pub fn allocated(&self) -> usize {
        match self.window().tracking() {
            Tracking::Off => self.stats().map_or(0, |stats| stats.allocated as usize),
            Tracking::Accounts | Tracking::Light | Tracking::Full => {
                self.window().allocated() as usize
            }
        }
    }

    /// Frames worth capturing for this pool.
    pub fn depth(&self) -> usize {
        self.window().geometry().depth
    }

    /// Current mark.
    #[inline(always)]
    pub fn mark(&self) -> u16 {
        if self.is_void() {
            return 0;
        }
        self.window().mark()
    }

    /// Bytes and blocks charged to an owner; those outside share account 0. Where no accounts are kept, they are
    /// sums over all blocks.
    pub fn account(&self, owner: OwnerId) -> (u32, u32) {
        let accounts = self.window().accounts();
        if let Some(word) = accounts.get(usize::from(owner.0)).or(accounts.first()) {
            return in_halves(*word);
        }
        let view = self.view().ok();
        view.and_then(|view| view.account(owner).ok())
            .unwrap_or_default()
    }

    /// Bytes and blocks charged to each owner, in the order of their ids; none where no accounts are kept.
    pub fn accounts(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.window().accounts().iter().map(|word| in_halves(*word))
    }

    /// All figures. Walks the pool.
    ///
    /// # Errors
    /// The bookkeeping does not add up.
    #[inline(never)]
    pub fn stats(&self) -> Result<Stats, Inconsistent> {
        self.view()?.stats()
    }

    /// Bytes of the largest free chunk, in bounded time where the strategy has lists by size, and to a quarter there: by
    /// free runs and the free masks of slabs. Blocks that are kept for the next allocation are not free for others.
    pub fn largest_free(&self) -> usize {
        if self.is_void() {
            return 0;
        }
        if !self.has_units() {
            return self.stats().map_or(0, |stats| stats.largest_free as usize);
        }
        let window = self.window();
        let slots = TABLE.iter().zip(&window.header().counts.free_slots);
        let slots = slots.filter(|(_, free)| **free > 0);
        let slot = slots.map(|(class, _)| usize::from(class.size)).max();
        let run = window.longest_run() as usize * UNIT;
        run.max(slot.unwrap_or(0))
    }

    /// Live blocks in the order of their addresses.
    pub fn live_blocks(&self) -> ViewBlocks<OwnMemory<'_>> {
        ViewBlocks::of(self.view())
    }

    /// Live blocks from a cursor on: see [`View::blocks`].
    ///
    /// # Errors
    /// The bookkeeping makes no sense.
    pub fn blocks(&self, cursor: u64, out: &mut [Block]) -> Result<(usize, u64), Inconsistent> {
        self.view()?.blocks(cursor, out)
    }

    /// All chunks from a cursor on: see [`View::chunks`].
    ///
    /// # Errors
    /// The bookkeeping makes no sense.
    pub fn chunks(&self, cursor: u64, out: &mut [Chunk]) -> Result<(usize, u64), Inconsistent> {
        self.view()?.chunks(cursor, out)
    }

    /// Call sites from a cursor on: see [`View::sites`].
    pub fn sites(&self, cursor: u64, out: &mut [SiteInfo]) -> (usize, u64) {
        self.view().map_or((0, 0), |view| view.sites(cursor, out))
    }

    /// Figures of a class of blocks: see [`View::classes`].
    pub fn classes(&self, index: usize) -> Option<ClassFigures> {
        self.view().ok()?.classes(index)
    }

    /// The live block that has a byte: see [`View::block_at`].
    ///
    /// # Errors
    /// The bookkeeping makes no sense.
    pub fn block_at(&self, offset: usize) -> Result<Option<Block>, Inconsistent> {
        self.view()?.block_at(offset)
    }

    /// Blocks past whose end somebody wrote, from a cursor on: see [`View::overruns`].
    ///
    /// # Errors
    /// The bookkeeping makes no sense.
    pub fn overruns(&self, cursor: u64, out: &mut [Overrun]) -> Result<(usize, u64), Inconsistent> {
        self.view()?.overruns(cursor, out)
    }

    /// Groups live blocks of mark `since` or later (`None`: all) by owner and site.
    ///
    /// # Errors
    /// The bookkeeping does not add up.
    pub fn group(
        &self,
        since: Option<u16>,
        out: &mut [Group],
    ) -> Result<GroupTotals, Inconsistent> {
        self.view()?.group(since, out)
    }

    /// The frames of a call site: see [`View::frames`].
    pub fn frames(&self, id: SiteId) -> Option<[u64; MAX_DEPTH]> {
        self.view().ok()?.frames(id).ok()
    }

    /// A call site, if it is in use: see [`View::site`].
    pub fn site(&self, id: SiteId) -> Option<SiteInfo> {
        self.view().ok()?.site(id).ok()
    }

    /// Fills `out` with the sites that hold most bytes, biggest first. See [`View::top_sites`].
    pub fn top_sites(&self, out: &mut [SiteInfo]) -> TopSites {
        self.view()
            .map(|view| view.top_sites(out))
            .unwrap_or_default()
    }

    /// The block at `ptr`.
    ///
    /// # Errors
    /// None begins there.
    pub fn block(&self, ptr: NonNull<u8>) -> Result<Block, FreeError> {
        let found = self.find(ptr)?;
        let legend = Legend {
            tracking: self.window().tracking(),
            mark: self.window().mark(),
            code: self.window().header().code,
        };
        let block = Block {
            offset: self.window().geometry().body_offset + self.window().body_offset_of(ptr),
            size: found.size(),
            usable: found.usable(),
            ..Block::default()
        };
        Ok(legend.read(found.record(), block))
    }

    /// Bytes the block at `ptr` can hold: none but its own in a pool with guard bytes.
    pub fn usable_size(&self, ptr: NonNull<u8>) -> Option<usize> {
        let found = self.find(ptr).ok()?;
        Some(if self.window().guard() == 0 {
            found.usable()
        } else {
            found.size()
        })
    }

    /// Bytes that were asked for.
    pub fn requested_size(&self, ptr: NonNull<u8>) -> Option<usize> {
        self.find(ptr).ok().map(|found| found.size())
    }

    /// Whose the block at `ptr` is.
    pub fn owner_of(&self, ptr: NonNull<u8>) -> Option<OwnerId> {
        self.find(ptr)
            .ok()
            .map(|found| OwnerId(entry::record_owner(found.record())))
    }

    /// The pool as a reader from outside sees it.
    ///
    /// # Errors
    /// The header makes no sense.
    pub fn view(&self) -> Result<View<OwnMemory<'_>>, Inconsistent> {
        View::open(OwnMemory(self.window()), self.window().committed())
    }
}

/// A pool's own memory, for reading it as from outside.
#[derive(Clone, Copy)]
pub struct OwnMemory<'a>(&'a Window);

impl Reader for OwnMemory<'_> {
    fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        self.0.read(offset, buf)
    }
}
