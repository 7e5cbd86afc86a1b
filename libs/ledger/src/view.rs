//! Reading a pool from outside: from memory alone, trusting nothing in it.
//!
//! **Invariant:** every offset and count is checked before use and every walk ends after at most as
//! many steps as the memory has units, so that a program that scribbles over its own heap can only
//! make its own figures [`Inconsistent`].
//! **Knows nothing of:** where the memory is; a [`Reader`] fetches it.

use core::mem::{offset_of, size_of};

use crate::capture::MAX_DEPTH;
use crate::classes::{TABLE, UNIT};
use crate::entry::{self, BLOCK, FREE, KEPT, LARGE, LENGTH, SLAB};
use crate::first_fit::{Chunk, GRANULE};
use crate::layout::{Config, EPOCH_OFFSET, Geometry, Header, MAGIC, SiteEntry, Strategy, VERSION};
use crate::slabs::{block_offset, record_word};
use crate::stats::{Block, Group, GroupTotals, OwnerId, SiteId, SiteInfo, Stats, group};

/// Access to a pool's memory.
pub trait Reader {
    /// Copies `buf.len()` bytes at `offset` from the pool's base; false if they cannot be read.
    fn read(&self, offset: usize, buf: &mut [u8]) -> bool;
}

/// Changes a pool's memory from outside.
pub trait Writer {
    /// Writes bytes at `offset` from the pool's base; false if that is impossible.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> bool;
}

/// The memory does not hold a sound pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inconsistent;

/// Stamps blocks that the pool allocates from now on with `epoch`.
pub fn set_epoch(writer: &mut impl Writer, epoch: u16) -> bool {
    writer.write(crate::EPOCH_OFFSET, &epoch.to_le_bytes())
}

/// Bytes of the header that are read: all.
const HEAD: usize = size_of::<Header>();
/// Words of the map read at a time.
const BATCH: usize = 32;

/// A pool, read from outside. The figures of the header are those of the time it was opened.
pub struct View<R> {
    reader: R,
    geometry: Geometry,
    body_bytes: usize,
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
                _ => return Err(Inconsistent),
            },
            owners: small(offset_of!(Header, owners))?,
            accounts: u32_at(offset_of!(Header, accounts)) == 1,
            sites: small(offset_of!(Header, sites))?,
            depth: u8::try_from(u32_at(offset_of!(Header, depth))).map_err(|_| Inconsistent)?,
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
            allocated,
            max_allocated,
            size: body_bytes as u64,
            num_alloc_fail: u64_at(offset_of!(Header, num_alloc_fail)),
            biggest_alloc_fail: u64_at(offset_of!(Header, biggest_alloc_fail)),
            biggest_alloc_fail_used: u64_at(offset_of!(Header, biggest_alloc_fail_used)),
            metadata: geometry.body_offset as u64,
            committed: committed as u64,
            reserved: reserved as u64,
            sites_used: u64_at(offset_of!(Header, sites_used)),
            epoch: (u32_at(EPOCH_OFFSET - 2) >> 16) as u16,
            ..Stats::default()
        };
        Ok(Self {
            reader,
            geometry,
            body_bytes,
            figures,
        })
    }

    /// What header and call sites say, without a walk: all but the free chunks and the sizes with
    /// rounding, which are zero. For pools whose walk fails.
    pub fn figures(&self) -> Stats {
        let mut stats = self.figures;
        for site in 0..self.geometry.sites {
            let at = self.geometry.sites_offset + site * size_of::<SiteEntry>();
            let [room, total] = self.words(at).unwrap_or_default();
            stats.live_blocks += room & 0xffff_ffff;
            stats.num_get = stats.num_get.wrapping_add(total);
        }
        stats.num_release = stats.num_get.wrapping_sub(stats.live_blocks);
        stats
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
            if let Ok(Piece::Run { bytes }) = piece {
                run += bytes as u64;
                continue;
            }
            if run > 0 {
                add_free(&mut stats, core::mem::take(&mut run));
            }
            match piece? {
                Piece::Run { .. } => {}
                Piece::Slot { bytes } => add_free(&mut stats, bytes as u64),
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

    /// Groups live blocks of epoch `since` or later (`None`: all) by owner and site, biggest first.
    ///
    /// # Errors
    /// The walk found something that cannot be.
    pub fn group(
        &self,
        since: Option<u16>,
        out: &mut [Group],
    ) -> Result<GroupTotals, Inconsistent> {
        group(self.live_blocks(), self.figures.epoch, since, out)
    }

    /// How many owners have an account.
    pub fn owners(&self) -> u16 {
        self.geometry.owners as u16
    }

    /// How many sites the table can hold, site 0 included.
    pub fn sites(&self) -> u16 {
        self.geometry.sites as u16
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

    /// A call site that is in use (site 0 always is).
    ///
    /// # Errors
    /// It is not in use, or cannot be read.
    pub fn site(&self, id: SiteId) -> Result<SiteInfo, Inconsistent> {
        if id.0 as usize >= self.geometry.sites {
            return Err(Inconsistent);
        }
        let at = self.geometry.sites_offset + usize::from(id.0) * size_of::<SiteEntry>();
        let [room, total, key, peak_and_frames] = self.words(at)?;
        let peak_bytes = peak_and_frames as u32;
        let depth = (peak_and_frames >> 32) as usize;
        if depth > self.geometry.depth || (key == 0 && id.0 != 0) {
            return Err(Inconsistent);
        }
        let mut info = SiteInfo {
            id,
            live_blocks: room as u32,
            live_bytes: peak_bytes.wrapping_sub((room >> 32) as u32),
            peak_bytes,
            total,
            depth,
            frames: [0; MAX_DEPTH],
        };
        let at = self.geometry.frames_offset + usize::from(id.0) * self.geometry.depth * 8;
        for (n, frame) in info.frames.iter_mut().enumerate().take(depth) {
            [*frame] = self.words(at + n * 8)?;
        }
        Ok(info)
    }

    /// Fills `out` with the sites that hold most bytes, biggest first; returns how many.
    pub fn top_sites(&self, out: &mut [SiteInfo]) -> usize {
        let mut used = 0;
        for id in 0..self.geometry.sites {
            let Ok(site) = self.site(SiteId(id as u16)) else {
                continue;
            };
            if site.live_blocks == 0 {
                continue;
            }
            let sorted = out.get(..used).unwrap_or_default();
            let at = sorted.partition_point(|other| other.live_bytes >= site.live_bytes);
            used = (used + 1).min(out.len());
            if let Some(tail) = out.get_mut(at..used)
                && !tail.is_empty()
            {
                tail.rotate_right(1);
                if let Some(slot) = tail.first_mut() {
                    *slot = site;
                }
            }
        }
        used
    }

    fn words<const N: usize>(&self, offset: usize) -> Result<[u64; N], Inconsistent> {
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
        Pieces::new(self)
    }
}

fn only_block(piece: Result<Piece, Inconsistent>) -> Option<Result<Block, Inconsistent>> {
    match piece {
        Ok(Piece::Block(block)) => Some(Ok(block)),
        Ok(Piece::Run { .. } | Piece::Slot { .. } | Piece::Overhead { .. }) => None,
        Err(err) => Some(Err(err)),
    }
}

/// What a pool consists of, in the order of addresses.
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// A free run or an empty slab; neighbours may follow.
    Run { bytes: usize },
    /// A free block in a slab.
    Slot { bytes: usize },
    /// Records and padding.
    Overhead { bytes: usize },
    /// A live block.
    Block(Block),
}

/// Live blocks of a [`View`] that it owns. After an error there are no more.
pub struct ViewBlocks<R>(Option<Pieces<View<R>>>);

impl<R: Reader> ViewBlocks<R> {
    pub(crate) fn of(view: Result<View<R>, Inconsistent>) -> Self {
        Self(view.ok().map(Pieces::new))
    }
}

impl<R: Reader> Iterator for ViewBlocks<R> {
    type Item = Result<Block, Inconsistent>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.find_map(only_block)
    }
}

trait AsView {
    type R: Reader;
    fn view(&self) -> &View<Self::R>;
}

impl<R: Reader> AsView for View<R> {
    type R = R;
    fn view(&self) -> &View<R> {
        self
    }
}

impl<R: Reader> AsView for &View<R> {
    type R = R;
    fn view(&self) -> &View<R> {
        self
    }
}

/// The slab being walked.
#[derive(Clone, Copy)]
struct SlabWalk {
    unit: u32,
    class: usize,
    free: u32,
    /// Blocks still to come; they go by falling index, which is by rising address.
    left: u32,
}

/// Walks the body from its start to its end.
struct Pieces<V> {
    view: V,
    /// Next byte of the body.
    at: usize,
    /// A block that begins where the walk is (first fit).
    pending: Option<Block>,
    slab: Option<SlabWalk>,
    batch: [u64; BATCH],
    batch_start: usize,
    batch_len: usize,
}

impl<V: AsView> Pieces<V> {
    fn new(view: V) -> Self {
        Self {
            view,
            at: 0,
            pending: None,
            slab: None,
            batch: [0; BATCH],
            batch_start: 0,
            batch_len: 0,
        }
    }

    /// Word of the map.
    fn map(&mut self, index: usize) -> Result<u64, Inconsistent> {
        let in_batch = index.wrapping_sub(self.batch_start);
        if in_batch < self.batch_len {
            return self.batch.get(in_batch).copied().ok_or(Inconsistent);
        }
        let view = self.view.view();
        let len = BATCH.min(view.geometry.map_words.saturating_sub(index));
        let mut bytes = [0; BATCH * 8];
        let at = view.geometry.map_offset + index * 8;
        if len == 0
            || !bytes
                .get_mut(..len * 8)
                .is_some_and(|buf| view.reader.read(at, buf))
        {
            return Err(Inconsistent);
        }
        for (word, bytes) in self.batch.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        (self.batch_start, self.batch_len) = (index, len);
        self.batch.first().copied().ok_or(Inconsistent)
    }

    fn block(&self, offset: usize, size: usize, usable: usize, record: u64) -> Piece {
        Piece::Block(Block {
            offset: self.view.view().geometry.body_offset + offset,
            size,
            usable,
            owner: OwnerId(entry::record_owner(record)),
            site: SiteId(entry::record_site(record)),
            epoch: entry::record_epoch(record),
        })
    }

    fn next_in_slab(&mut self, mut slab: SlabWalk) -> Result<Piece, Inconsistent> {
        let params = TABLE.get(slab.class).ok_or(Inconsistent)?;
        let index = slab.left - 1;
        slab.left = index;
        self.slab = (index > 0).then_some(slab);
        let bytes = params.size as usize;
        let view = self.view.view();
        let at = view.geometry.body_offset + record_word(slab.unit, index) * 8;
        let [record] = view.words(at)?;
        if !entry::is_live(record) {
            return Ok(Piece::Slot { bytes });
        }
        let size = entry::record_size(record);
        // What the mask says is free has no other record.
        if size > bytes || slab.free >> (31 - index) & 1 != 0 {
            return Err(Inconsistent);
        }
        Ok(self.block(block_offset(params, slab.unit, index), size, bytes, record))
    }

    /// Whether no block of a slab is live.
    fn none_live(&self, unit: u32, blocks: u8) -> Result<bool, Inconsistent> {
        let view = self.view.view();
        for index in 0..u32::from(blocks) {
            let [record] = view.words(view.geometry.body_offset + record_word(unit, index) * 8)?;
            if entry::is_live(record) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn next_unit(&mut self) -> Result<Piece, Inconsistent> {
        let unit = self.at / UNIT;
        let room = (self.view.view().body_bytes - self.at) / UNIT;
        let entry = self.map(unit)?;
        let (units, piece) = match entry::kind(entry) {
            FREE | KEPT => {
                let units = entry::len(entry) as usize;
                (
                    units,
                    Piece::Run {
                        bytes: units * UNIT,
                    },
                )
            }
            SLAB => {
                let class = entry::class(entry);
                let params = TABLE.get(class).ok_or(Inconsistent)?;
                let free = entry::free_mask(entry);
                if entry::part(entry) != 0 || free & !params.all_free != 0 {
                    return Err(Inconsistent);
                }
                let units = params.units as usize;
                if free == params.all_free || self.none_live(unit as u32, params.blocks)? {
                    (
                        units,
                        Piece::Run {
                            bytes: units * UNIT,
                        },
                    )
                } else if units > room {
                    return Err(Inconsistent);
                } else {
                    self.slab = Some(SlabWalk {
                        unit: unit as u32,
                        class,
                        free,
                        left: u32::from(params.blocks),
                    });
                    let bytes =
                        units * UNIT - usize::from(params.blocks) * usize::from(params.size);
                    (units, Piece::Overhead { bytes })
                }
            }
            BLOCK => {
                let size = entry::record_size(entry);
                let units = size.max(1).div_ceil(UNIT);
                (units, self.block(self.at, size, units * UNIT, entry))
            }
            LARGE => {
                let second = self.map(unit + 1)?;
                if entry::kind(second) != LENGTH {
                    return Err(Inconsistent);
                }
                let units = entry::len(second) as usize;
                let usable = units * UNIT;
                let size = usable
                    .checked_sub(entry::slack(entry) as usize)
                    .ok_or(Inconsistent)?;
                (units, self.block(self.at, size, usable, entry))
            }
            _ => return Err(Inconsistent),
        };
        if units == 0 || units > room {
            return Err(Inconsistent);
        }
        self.at += units * UNIT;
        Ok(piece)
    }

    /// Offset of the first block start at or after `from`.
    fn next_start(&mut self, from: usize) -> Result<Option<usize>, Inconsistent> {
        let bits = self.view.view().body_bytes / GRANULE;
        let mut bit = from / GRANULE;
        while bit < bits {
            let word = self.map(bit / 64)? >> (bit % 64);
            if word != 0 {
                let found = bit + word.trailing_zeros() as usize;
                return Ok((found < bits).then_some(found * GRANULE));
            }
            bit = (bit / 64 + 1) * 64;
        }
        Ok(None)
    }

    fn next_chunk(&mut self) -> Result<Piece, Inconsistent> {
        let body_bytes = self.view.view().body_bytes;
        let Some(offset) = self.next_start(self.at)? else {
            let bytes = body_bytes - self.at;
            self.at = body_bytes;
            return Ok(Piece::Run { bytes });
        };
        let view = self.view.view();
        let head = (view.geometry.body_offset + offset)
            .checked_sub(16)
            .ok_or(Inconsistent)?;
        let [record, size] = view.words(head)?;
        let chunk = Chunk::parse(offset, record, size, body_bytes).ok_or(Inconsistent)?;
        let start = offset - chunk.front;
        if start > self.at {
            let bytes = start - self.at;
            self.at = start;
            return Ok(Piece::Run { bytes });
        }
        if start < self.at {
            return Err(Inconsistent);
        }
        let Piece::Block(block) = self.block(offset, chunk.size, chunk.usable, record) else {
            return Err(Inconsistent);
        };
        self.pending = Some(block);
        self.at = offset + chunk.usable;
        Ok(Piece::Overhead { bytes: chunk.front })
    }
}

impl<V: AsView> Iterator for Pieces<V> {
    type Item = Result<Piece, Inconsistent>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = if let Some(block) = self.pending.take() {
            Ok(Piece::Block(block))
        } else if let Some(slab) = self.slab {
            self.next_in_slab(slab)
        } else if self.at >= self.view.view().body_bytes {
            return None;
        } else {
            match self.view.view().figures.strategy {
                Strategy::Segregated => self.next_unit(),
                Strategy::FirstFit => self.next_chunk(),
            }
        };
        if piece.is_err() {
            self.at = self.view.view().body_bytes;
            (self.slab, self.pending) = (None, None);
        }
        Some(piece)
    }
}
