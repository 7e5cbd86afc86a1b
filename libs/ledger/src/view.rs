//! Reading a pool from outside: from memory alone, trusting nothing in it.
//!
//! **Invariant:** every offset and count is checked before use and every walk ends after at most as
//! many steps as the memory has units, so that a program that scribbles over its own heap can only
//! make its own figures [`Inconsistent`].
//! **Knows nothing of:** where the memory is; a [`Reader`] fetches it.

use core::mem::{offset_of, size_of};

use crate::chunks::HEAD_BYTES;
use crate::classes::{RECORDS, TABLE};
use crate::guard::GUARD;
use crate::layout::{
    ALARM_HIT_OFFSET, ALARM_OFFSET, ClassCounts, Config, Geometry, Header, MAGIC, MARK_OFFSET,
    PEAK_OFFSET, SiteEntry, Strategy, Tracking, VERSION,
};
use crate::stats::{Block, Group, GroupTotals, Legend, OwnerId, Stats, group};

use crate::walk::{Piece, Pieces, only_block};

mod sites;

pub use crate::walk::ViewBlocks;
pub use sites::{TOP_BLOCKS, TopSites, TopWalk};

/// Access to a pool's memory.
pub trait Reader {
    /// Copies `buf.len()` bytes at `offset` from the pool's base; false if they cannot be read.
    fn read(&self, offset: usize, buf: &mut [u8]) -> bool;
}

/// A copy of the memory, or all of it.
impl Reader for &[u8] {
    fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        match offset
            .checked_add(buf.len())
            .and_then(|end| self.get(offset..end))
        {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

/// Changes a pool's memory from outside.
pub trait Writer {
    /// Writes bytes at `offset` from the pool's base; false if that is impossible.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> bool;
}

/// The memory does not hold a sound pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inconsistent;

/// Stamps blocks that the pool allocates from now on with `mark`.
pub fn set_mark(writer: &mut impl Writer, mark: u16) -> bool {
    writer.write(MARK_OFFSET, &mark.to_be_bytes())
}

/// The words of a pool from which its maximum comes: what to read and write to measure the peak of a piece of
/// work from outside, while no call is inside the pool.
///
/// ```text
/// before = Maximum::read(pool); before.restarted().write(pool);
/// ... the work ...
/// during = Maximum::read(pool); during.joined(before).write(pool);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maximum {
    /// Most bytes ever live.
    pub max: u64,
    /// By how much fewer are live now.
    pub room: u64,
}

impl Maximum {
    /// Reads both words.
    pub fn read(reader: &impl Reader) -> Option<Self> {
        let word = |offset| {
            let mut bytes = [0; 8];
            reader
                .read(offset, &mut bytes)
                .then(|| u64::from_le_bytes(bytes))
        };
        Some(Self {
            max: word(PEAK_OFFSET)?,
            room: word(PEAK_OFFSET + 8)?,
        })
    }

    /// Bytes that are live.
    #[must_use]
    pub fn live(self) -> u64 {
        self.max.wrapping_sub(self.room)
    }

    /// With what is live for the maximum.
    #[must_use]
    pub fn restarted(self) -> Self {
        Self {
            max: self.live(),
            room: 0,
        }
    }

    /// With the higher of this and an earlier maximum.
    #[must_use]
    pub fn joined(self, earlier: Self) -> Self {
        let max = self.max.max(earlier.max);
        Self {
            max,
            room: max.wrapping_sub(self.live()),
        }
    }

    /// Writes both words; false if that is impossible.
    pub fn write(self, writer: &mut impl Writer) -> bool {
        writer.write(PEAK_OFFSET, &self.max.to_le_bytes())
            && writer.write(PEAK_OFFSET + 8, &self.room.to_le_bytes())
    }
}

/// Has the pool ring when more than `live` bytes are, 0 never; see [`crate::ALARM_OFFSET`] for when this may
/// be done, and for the maximum.
pub fn set_alarm(writer: &mut impl Writer, live: u64) -> bool {
    writer.write(ALARM_HIT_OFFSET, &[0; 8]) && writer.write(ALARM_OFFSET, &live.to_le_bytes())
}

/// The bytes that were live when the alarm rang; 0 if it has not.
pub fn alarm_hit(reader: &impl Reader) -> Option<u64> {
    let mut bytes = [0; 8];
    reader
        .read(ALARM_HIT_OFFSET, &mut bytes)
        .then(|| u64::from_le_bytes(bytes))
}

/// Bytes of the header that are read: all.
const HEAD: usize = size_of::<Header>();
/// Words read at a time at most.
const BATCH: usize = 32;
/// Words of a call site's counters, with the live blocks and allocations first.
const SITE_WORDS: usize = size_of::<SiteEntry>() / 8;
const _: () = assert!(offset_of!(SiteEntry, room) == 0 && offset_of!(SiteEntry, total) == 8);

/// A pool, read from outside. The figures of the header are those of the time it was opened.
pub struct View<R> {
    reader: R,
    geometry: Geometry,
    body_bytes: usize,
    guard: usize,
    /// Where the code begins that return addresses lie in.
    code: u64,
    figures: Stats,
}

impl<R: Reader> View<R> {
    /// Opens a pool of which the first `len` bytes can be read.
    ///
    /// # Errors
    /// No pool of this version, or one whose tables do not lie where they must.
    pub fn open(reader: R, len: usize) -> Result<Self, Inconsistent> {
        let mut head = [0; HEAD];
        if len < HEAD || !reader.read(0, &mut head) {
            return Err(Inconsistent);
        }
        let u32_at = |at: usize| {
            head.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u32::from_le_bytes)
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let usize_at = |at: usize| usize::try_from(u64_at(at)).unwrap_or(usize::MAX);

        if u64_at(offset_of!(Header, magic)) != MAGIC
            || u32_at(offset_of!(Header, version)) != VERSION
        {
            return Err(Inconsistent);
        }
        let small = |at: usize| u16::try_from(u32_at(at)).map_err(|_| Inconsistent);
        let cfg = Config {
            strategy: match u32_at(offset_of!(Header, strategy)) {
                0 => Strategy::Segregated,
                1 => Strategy::FirstFit,
                2 => Strategy::BestFit,
                _ => return Err(Inconsistent),
            },
            owners: small(offset_of!(Header, owners))?,
            accounts: u32_at(offset_of!(Header, accounts)) == 1,
            sites: small(offset_of!(Header, sites))?,
            depth: u8::try_from(u32_at(offset_of!(Header, depth))).map_err(|_| Inconsistent)?,
            guard: match usize_at(offset_of!(Header, guard)) {
                0 => false,
                GUARD => true,
                _ => return Err(Inconsistent),
            },
            tracking: Tracking::from_word(u64_at(offset_of!(Header, tracking)))
                .ok_or(Inconsistent)?,
        };
        let reserved = usize_at(offset_of!(Header, reserved));
        let committed = usize_at(offset_of!(Header, committed));
        let geometry = Geometry::new(reserved, &cfg).map_err(|_| Inconsistent)?;
        let body_bytes = geometry.body_bytes(committed);
        let places_match = usize_at(offset_of!(Header, owners_offset)) == geometry.owners_offset
            && usize_at(offset_of!(Header, sites_offset)) == geometry.sites_offset
            && usize_at(offset_of!(Header, frames_offset)) == geometry.frames_offset
            && usize_at(offset_of!(Header, map_offset)) == geometry.map_offset
            && usize_at(offset_of!(Header, body_offset)) == geometry.body_offset
            && usize_at(offset_of!(Header, body_bytes)) == body_bytes;
        if !places_match || committed > len || committed > reserved || body_bytes == 0 {
            return Err(Inconsistent);
        }
        let max_allocated = u64_at(offset_of!(Header, max_allocated));
        let allocated = max_allocated.wrapping_sub(u64_at(offset_of!(Header, room)));
        let figures = Stats {
            strategy: cfg.strategy,
            tracking: cfg.tracking,
            allocated,
            max_allocated,
            size: body_bytes as u64,
            num_alloc_fail: u64_at(offset_of!(Header, num_alloc_fail)),
            biggest_alloc_fail: u64_at(offset_of!(Header, biggest_alloc_fail)),
            biggest_alloc_fail_used: u64_at(offset_of!(Header, biggest_alloc_fail_used)),
            metadata: geometry.body_offset as u64,
            tables: geometry.body_offset as u64,
            committed: committed as u64,
            reserved: reserved as u64,
            sites_used: u64_at(offset_of!(Header, sites_used)),
            mark: ((u32_at(MARK_OFFSET - 2) >> 16) as u16).swap_bytes(),
            overruns: u64_at(offset_of!(Header, overruns)),
            ..Stats::default()
        };
        Ok(Self {
            reader,
            geometry,
            body_bytes,
            guard: if cfg.guard { GUARD } else { 0 },
            code: u64_at(offset_of!(Header, code)),
            figures,
        })
    }

    /// Copies bytes at `offset` from the pool's base, whatever they are; false if they cannot be read.
    pub fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        self.reader.read(offset, buf)
    }

    /// What the header alone says: bytes, not blocks and calls, which its call sites have.
    pub const fn header(&self) -> Stats {
        self.figures
    }

    /// What header and call sites say, without a walk: all but the free chunks and the sizes with
    /// rounding, which are zero. For pools whose walk fails.
    pub fn figures(&self) -> Stats {
        let mut stats = self.figures;
        // Where sites have no counters of their own, all blocks are counted at the first.
        let mut first = 0;
        while first < self.geometry.sites {
            let count = (self.geometry.sites - first).min(BATCH / SITE_WORDS);
            let mut words = [0; BATCH];
            let at = self.geometry.sites_offset + first * size_of::<SiteEntry>();
            // Entries that cannot be read count as unused.
            let read = self.read_words(at, &mut words, count * SITE_WORDS);
            let read = if read.is_ok() { count } else { 0 };
            let (entries, _) = words.as_chunks::<SITE_WORDS>();
            for [room, total, ..] in entries.iter().take(read) {
                stats.live_blocks += room & 0xffff_ffff;
                stats.num_get = stats.num_get.wrapping_add(*total);
            }
            first += count;
        }
        stats.num_release = stats.num_get.wrapping_sub(stats.live_blocks);
        stats.records = match self.strategy() {
            Strategy::Segregated => self.slab_records(),
            Strategy::FirstFit | Strategy::BestFit => {
                stats.live_blocks.saturating_mul(HEAD_BYTES as u64)
            }
        };
        stats
    }

    /// Bytes of all slabs' heads and records.
    fn slab_records(&self) -> u64 {
        let counts = self.class_counts().unwrap_or_default();
        let classes = counts.slabs.iter().zip(&TABLE);
        let bytes = classes.map(|(&slabs, class)| {
            u64::from(slabs) * (RECORDS as u64 + u64::from(class.blocks)) * 8
        });
        bytes.sum()
    }

    /// All figures. Walks the pool.
    ///
    /// # Errors
    /// The walk does not add up to what the header says.
    pub fn stats(&self) -> Result<Stats, Inconsistent> {
        let mut stats = self.figures();
        let (mut blocks, mut bytes, mut run) = (0u64, 0u64, 0u64);
        let add_free = |stats: &mut Stats, bytes: u64| {
            stats.free_bytes += bytes;
            stats.free2_sum = stats.free2_sum.wrapping_add(bytes * bytes);
            stats.largest_free = stats.largest_free.max(bytes);
        };
        for piece in self.pieces() {
            // Free neighbours (an empty slab that is kept, and a run) are one chunk.
            if let Ok(Piece::Run { bytes, .. }) = piece {
                run += bytes as u64;
                continue;
            }
            if run > 0 {
                add_free(&mut stats, core::mem::take(&mut run));
            }
            match piece? {
                Piece::Run { .. } => {}
                Piece::Slot { bytes, .. } => add_free(&mut stats, bytes as u64),
                Piece::Overhead { bytes } => stats.block_metadata += bytes as u64,
                Piece::Block(block) => {
                    blocks += 1;
                    bytes += block.size as u64;
                    stats.usable += block.usable as u64;
                }
            }
        }
        if run > 0 {
            add_free(&mut stats, run);
        }
        stats.metadata += stats.block_metadata;
        if self.geometry.tracking == Tracking::Off {
            (stats.live_blocks, stats.allocated) = (blocks, bytes);
            if self.strategy() != Strategy::Segregated {
                stats.records = blocks * HEAD_BYTES as u64;
            }
        }
        let adds_up = stats.usable + stats.free_bytes + stats.block_metadata == stats.size
            && blocks == stats.live_blocks
            && bytes == stats.allocated;
        if adds_up {
            Ok(stats)
        } else {
            Err(Inconsistent)
        }
    }

    /// Live blocks in the order of their addresses. After an error there are no more.
    pub fn live_blocks(&self) -> impl Iterator<Item = Result<Block, Inconsistent>> + '_ {
        self.pieces().filter_map(only_block)
    }

    /// Groups live blocks of mark `since` or later (`None`: all) by owner and site, biggest first.
    ///
    /// # Errors
    /// The walk found something that cannot be.
    pub fn group(
        &self,
        since: Option<u16>,
        out: &mut [Group],
    ) -> Result<GroupTotals, Inconsistent> {
        group(self.live_blocks(), self.figures.mark, since, out)
    }

    pub(crate) fn legend(&self) -> Legend {
        Legend {
            tracking: self.geometry.tracking,
            mark: self.figures.mark,
            code: self.code,
        }
    }

    /// How many owners have an account.
    pub fn owners(&self) -> u16 {
        self.geometry.owners as u16
    }

    /// Bytes and blocks charged to an owner; those outside share account 0.
    ///
    /// # Errors
    /// The account cannot be read.
    pub fn account(&self, owner: OwnerId) -> Result<(u32, u32), Inconsistent> {
        let index = if (owner.0 as usize) < self.geometry.owners {
            owner.0 as usize
        } else {
            0
        };
        if !self.geometry.accounts {
            return self.sum_of(index);
        }
        let [word] = self.words(self.geometry.owners_offset + index * 8)?;
        Ok((word as u32, (word >> 32) as u32))
    }

    /// The account of an owner for which none is kept.
    fn sum_of(&self, index: usize) -> Result<(u32, u32), Inconsistent> {
        let (mut bytes, mut blocks) = (0u32, 0u32);
        for block in self.live_blocks() {
            let block = block?;
            let owner = usize::from(block.owner.0);
            if index
                == if owner < self.geometry.owners {
                    owner
                } else {
                    0
                }
            {
                bytes = bytes.wrapping_add(block.size as u32);
                blocks += 1;
            }
        }
        Ok((bytes, blocks))
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Fewest guard bytes of a block, 0 if there are none.
    pub(crate) fn guard(&self) -> usize {
        self.guard
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    pub(crate) fn strategy(&self) -> Strategy {
        self.figures.strategy
    }

    pub(crate) fn class_counts(&self) -> Result<ClassCounts, Inconsistent> {
        let mut words = [0; BATCH];
        let at = offset_of!(Header, counts);
        self.read_words(at, &mut words, size_of::<ClassCounts>() / 8)?;
        let mut counts = ClassCounts::default();
        let halves = words
            .iter()
            .flat_map(|word| [*word as u32, (word >> 32) as u32]);
        let slabs = counts.slabs.iter_mut().chain(&mut counts.free_slots);
        for (to, from) in slabs.chain([&mut counts.free_units]).zip(halves) {
            *to = from;
        }
        Ok(counts)
    }

    /// Reads `len` words at `offset` from the base.
    pub(crate) fn read_words(
        &self,
        offset: usize,
        words: &mut [u64; BATCH],
        len: usize,
    ) -> Result<(), Inconsistent> {
        let mut bytes = [0; BATCH * 8];
        let buf = bytes.get_mut(..len * 8).ok_or(Inconsistent)?;
        if !self.reader.read(offset, buf) {
            return Err(Inconsistent);
        }
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0).take(len) {
            *word = u64::from_le_bytes(*bytes);
        }
        Ok(())
    }

    pub(crate) fn words<const N: usize>(&self, offset: usize) -> Result<[u64; N], Inconsistent> {
        let mut words = [0; N];
        for (n, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            if !self.reader.read(offset + n * 8, &mut bytes) {
                return Err(Inconsistent);
            }
            *word = u64::from_le_bytes(bytes);
        }
        Ok(words)
    }

    fn pieces(&self) -> Pieces<&Self> {
        Pieces::from(self, 0)
    }
}
