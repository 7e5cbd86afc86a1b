//! Call sites, read from outside: from their table, or from the blocks where there is none.
//!
//! **Invariant:** a call of [`View::sites`] or [`View::top_sites`] looks at a bounded number of sites or blocks.

use core::fmt;
use core::mem::size_of;

use super::{Inconsistent, Reader, View};
use crate::capture::MAX_DEPTH;
use crate::layout::{SiteEntry, Tracking};
use crate::lists::STEPS;
use crate::stats::{Block, SiteId, SiteInfo};
use crate::walk::{Piece, Pieces};

/// Blocks that [`View::top_sites`] looks at where there is no table.
pub const TOP_BLOCKS: usize = 1024;
/// Sites that it tells apart there.
const TOP_SITES: usize = 32;

/// What [`View::top_sites`] found. As text it heads a list of them: "Biggest call sites:", or with how many
/// of all blocks they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopSites {
    /// Sites that were filled in.
    pub count: usize,
    /// Blocks whose sites are known: no other is in the sites' figures.
    pub blocks: u64,
    /// Live blocks, as the header says.
    pub live_blocks: u64,
}

impl TopSites {
    /// Whether blocks were left out, of which a site may hold more than those filled in.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.blocks < self.live_blocks
    }
}

impl fmt::Display for TopSites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Biggest call sites")?;
        if self.is_partial() {
            write!(
                f,
                " of the first {} of {} blocks",
                self.blocks, self.live_blocks
            )?;
        }
        f.write_str(":")
    }
}

impl<R: Reader> View<R> {
    /// How many sites the table can hold, site 0 included. With [`Tracking::Light`] there is no table.
    pub fn site_count(&self) -> u16 {
        self.geometry.sites as u16
    }

    /// The frames of a call site, innermost first, behind them zeros.
    ///
    /// # Errors
    /// It is not in use, or cannot be read.
    pub fn frames(&self, id: SiteId) -> Result<[u64; MAX_DEPTH], Inconsistent> {
        match self.geometry.tracking {
            Tracking::Off | Tracking::Accounts | Tracking::Full => {
                self.counted(id).map(|site| site.frames)
            }
            Tracking::Light => Ok(self.return_address(id)),
        }
    }

    /// A call site that is in use (site 0 always is). Without counters of each that walks the pool.
    ///
    /// # Errors
    /// It is not in use, or cannot be read.
    pub fn site(&self, id: SiteId) -> Result<SiteInfo, Inconsistent> {
        if !self.geometry.tracking.walks_for_sites() {
            return self.counted(id);
        }
        let mut site = self.uncounted(id);
        for block in self.live_blocks() {
            let block = block?;
            if block.site == id {
                site.add(&block);
            }
        }
        if site.live_blocks == 0 && id.0 != 0 {
            return Err(Inconsistent);
        }
        Ok(site)
    }

    /// Fills `out` with call sites in use, from a cursor on: how many, and the next cursor.
    ///
    /// Without counters of each these are the sites of the blocks that come next, so that a site may come in
    /// several calls: its figures are their sums.
    pub fn sites(&self, cursor: u64, out: &mut [SiteInfo]) -> (usize, u64) {
        if self.geometry.tracking.walks_for_sites() {
            return self.sites_of_blocks(cursor, out);
        }
        let first = u32::try_from(cursor).unwrap_or(u32::MAX);
        let mut n = 0;
        for (steps, id) in (first..self.site_count().into()).enumerate() {
            if n == out.len() || steps >= STEPS {
                return (n, id.into());
            }
            if let Ok(site) = self.counted(SiteId(id))
                && site.total > 0
                && let Some(slot) = out.get_mut(n)
            {
                *slot = site;
                n += 1;
            }
        }
        (n, 0)
    }

    /// Fills `out` with the sites that hold most bytes, biggest first.
    ///
    /// Without counters of each it looks at the first [`TOP_BLOCKS`] blocks, and says of how many.
    pub fn top_sites(&self, out: &mut [SiteInfo]) -> TopSites {
        let mut walk = TopWalk::default();
        loop {
            if let Some(top) = self.top_sites_step(&mut walk, out) {
                return top;
            }
        }
    }

    /// As [`View::top_sites`], one step of it; `None` before the last one. The pool may change between two.
    pub fn top_sites_step(&self, walk: &mut TopWalk, out: &mut [SiteInfo]) -> Option<TopSites> {
        if self.geometry.tracking.walks_for_sites() {
            return self.top_sites_of_blocks(walk, out);
        }
        let mut top = TopSites::default();
        for id in 0..u32::from(self.site_count()) {
            if let Ok(site) = self.counters(SiteId(id))
                && site.live_blocks > 0
            {
                top.count = insert(out, top.count, &site);
                top.blocks = top.blocks.saturating_add(site.live_blocks.into());
            }
        }
        top.live_blocks = top.blocks;
        // Only those that are told are read whole.
        for site in out.iter_mut().take(top.count) {
            if let Ok(whole) = self.counted(site.id) {
                site.frames = whole.frames;
            }
        }
        Some(top)
    }

    /// A site from the table.
    fn counted(&self, id: SiteId) -> Result<SiteInfo, Inconsistent> {
        let mut info = self.counters(id)?;
        let at = self.geometry.frames_offset + id.0 as usize * self.geometry.depth * 8;
        let depth = info.depth;
        for (n, frame) in info.frames.iter_mut().enumerate().take(depth) {
            [*frame] = self.words(at + n * 8)?;
        }
        Ok(info)
    }

    /// A site from the table, without its frames.
    fn counters(&self, id: SiteId) -> Result<SiteInfo, Inconsistent> {
        let index = id.0 as usize;
        if index >= self.geometry.sites {
            return Err(Inconsistent);
        }
        let at = self.geometry.sites_offset + index * size_of::<SiteEntry>();
        let [room, total, key, peak_and_frames] = self.words(at)?;
        let peak_bytes = peak_and_frames as u32;
        let depth = (peak_and_frames >> 32) as usize;
        if depth > self.geometry.depth || (key == 0 && index != 0) {
            return Err(Inconsistent);
        }
        Ok(SiteInfo {
            id,
            live_blocks: room as u32,
            live_bytes: peak_bytes.wrapping_sub((room >> 32) as u32),
            peak_bytes,
            total,
            depth,
            frames: [0; MAX_DEPTH],
        })
    }

    /// The address whose offset in the code a site's number is, as the only frame; none for 0.
    fn return_address(&self, id: SiteId) -> [u64; MAX_DEPTH] {
        let mut frames = [0; MAX_DEPTH];
        if id.0 != 0 {
            frames[0] = self.code.wrapping_add(id.0.into());
        }
        frames
    }

    /// A site without any block yet.
    fn uncounted(&self, id: SiteId) -> SiteInfo {
        SiteInfo {
            id,
            depth: usize::from(id.0 != 0),
            frames: self.return_address(id),
            ..SiteInfo::default()
        }
    }

    fn sites_of_blocks(&self, cursor: u64, out: &mut [SiteInfo]) -> (usize, u64) {
        let start = usize::try_from(cursor).unwrap_or(usize::MAX);
        if start >= self.body_bytes {
            return (0, 0);
        }
        let mut pieces = Pieces::from(self, start);
        let mut n = 0;
        for steps in 0.. {
            let at = pieces.position();
            if at >= self.body_bytes {
                break;
            }
            if steps >= STEPS {
                return (n, at as u64);
            }
            let Some(Ok(piece)) = pieces.next() else {
                break;
            };
            let Piece::Block(block) = piece else {
                continue;
            };
            let known = out.get(..n).unwrap_or_default();
            let index = known.iter().position(|site| site.id == block.site);
            let Some(site) = out.get_mut(index.unwrap_or(n)) else {
                return (n, at as u64);
            };
            if index.is_none() {
                (*site, n) = (self.uncounted(block.site), n + 1);
            }
            site.add(&block);
        }
        (n, 0)
    }

    fn top_sites_of_blocks(&self, walk: &mut TopWalk, out: &mut [SiteInfo]) -> Option<TopSites> {
        let mut pieces = Pieces::from(self, walk.at);
        let mut steps = 0;
        let is_over = loop {
            let at = pieces.position();
            walk.at = at;
            if walk.blocks >= TOP_BLOCKS || at >= self.body_bytes {
                break true;
            }
            if steps == STEPS {
                break false;
            }
            steps += 1;
            match pieces.next() {
                Some(Ok(Piece::Block(block))) => walk.add(&block),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break true,
            }
        };
        is_over.then(|| {
            let mut top = TopSites {
                blocks: walk.told,
                live_blocks: self.figures().live_blocks,
                ..TopSites::default()
            };
            for &(id, live_blocks, live_bytes) in walk.sums.iter().take(walk.known) {
                let site = SiteInfo {
                    live_blocks,
                    live_bytes,
                    ..self.uncounted(id)
                };
                top.count = insert(out, top.count, &site);
            }
            top
        })
    }
}

/// How far [`View::top_sites_step`] has come.
#[derive(Clone, Copy, Debug)]
pub struct TopWalk {
    /// Where it goes on in the pool's body.
    at: usize,
    /// Blocks looked at.
    blocks: usize,
    /// Of these, blocks whose sites are told apart.
    told: u64,
    /// Sites with their blocks and bytes.
    sums: [(SiteId, u32, u32); TOP_SITES],
    known: usize,
}

impl Default for TopWalk {
    fn default() -> Self {
        Self {
            at: 0,
            blocks: 0,
            told: 0,
            sums: [(SiteId(0), 0, 0); TOP_SITES],
            known: 0,
        }
    }
}

impl TopWalk {
    fn add(&mut self, block: &Block) {
        self.blocks += 1;
        let mut known = self.sums.iter().take(self.known);
        let index = known
            .position(|sum| sum.0 == block.site)
            .unwrap_or(self.known);
        if let Some(sum) = self.sums.get_mut(index) {
            let size = u32::try_from(block.size).unwrap_or(u32::MAX);
            *sum = (block.site, sum.1 + 1, sum.2.saturating_add(size));
            self.known = self.known.max(index + 1);
            self.told += 1;
        }
    }
}

/// Puts a site among the `used` first of `out`, which hold most bytes, biggest first; how many these are then.
#[inline(never)]
fn insert(out: &mut [SiteInfo], used: usize, site: &SiteInfo) -> usize {
    let sorted = out.get(..used).unwrap_or_default();
    let at = sorted.partition_point(|other| other.live_bytes >= site.live_bytes);
    let used = (used + 1).min(out.len());
    if let Some(tail) = out.get_mut(at..used)
        && !tail.is_empty()
    {
        tail.rotate_right(1);
        if let Some(slot) = tail.first_mut() {
            *slot = *site;
        }
    }
    used
}

impl SiteInfo {
    /// Counts a live block.
    fn add(&mut self, block: &Block) {
        self.live_blocks = self.live_blocks.saturating_add(1);
        let size = u32::try_from(block.size).unwrap_or(u32::MAX);
        self.live_bytes = self.live_bytes.saturating_add(size);
    }
}
