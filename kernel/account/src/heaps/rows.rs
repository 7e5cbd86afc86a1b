//! Rows of what is in a pool: call sites, classes, blocks, chunks; whether it is sound.
//!
//! **Invariant:** rows are made in steps of bounded work, in buffers of fixed size.

use crate::book::Book;
use crate::heaps::pools::HeapRef;
use crate::heaps::question::{Course, PoolError, Question, Step};
use crate::heaps::ta_heap::HeapKey;
use crate::inspector::Inspector;
use tally_abi::{TeeResult, TeeUuid};
use tally_core::kernel::State;
use tally_ledger::{Block, Chunk, ChunkKind, ClassFigures, Damage, Overrun, SiteInfo, Stats};
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_records::{
    BlockRow, ChunkRow, ClassRow, SiteRow, chunk_kind, class_kind, consistency, damage,
};

/// Items of one step.
const STEP: usize = 24;
/// Sites of one step.
pub(crate) const SITES_STEP: usize = 8;
/// Rows that the classes of a pool take at most.
pub(crate) const MAX_CLASSES: usize = 32;
/// How often a check is begun anew because the pool was changed meanwhile.
const TRIES: usize = 5;
/// Offsets are below this, addresses are not.
const FIRST_ADDRESS: u64 = 1 << 32;

impl<M: Machine> Inspector<'_, M> {
    /// Call sites of a pool.
    ///
    /// # Errors
    /// [`PoolError`].
    pub(crate) fn site_rows(
        &self,
        heap: HeapRef,
        cursor: u64,
        out: &mut [SiteRow],
    ) -> Result<Step, PoolError> {
        let pool = self.heap_owner(heap);
        let mut sites = [SiteInfo::default(); SITES_STEP];
        let room = sites.len().min(out.len());
        let step = self.ask_heap(
            heap,
            &mut Course::at(cursor),
            &mut Question::Sites(&mut sites[..room]),
        )?;
        for (site, row) in sites[..step.count].iter().zip(out) {
            *row = SiteRow {
                pool,
                frames: site.frames,
                live_bytes: site.live_bytes.into(),
                live_blocks: site.live_blocks.into(),
                allocations: site.total,
                peak_bytes: site.peak_bytes.into(),
                site: site.id.0,
                reserved: [0; 3],
            };
        }
        Ok(step)
    }

    /// Live blocks of a pool.
    ///
    /// # Errors
    /// [`PoolError`].
    pub(crate) fn block_rows(
        &self,
        heap: HeapRef,
        cursor: u64,
        out: &mut [BlockRow],
    ) -> Result<Step, PoolError> {
        let base = self.heap_base(heap);
        let mut blocks = [Block::default(); STEP];
        let room = blocks.len().min(out.len());
        let step = self.ask_heap(
            heap,
            &mut Course::at(cursor),
            &mut Question::Blocks(&mut blocks[..room]),
        )?;
        let mut count = 0;
        let state = self.state();
        for block in &blocks[..step.count] {
            // What the question itself takes is no answer.
            if heap == HeapRef::Kernel && self.is_of_calls(&state, block) {
                continue;
            }
            if let Some(row) = out.get_mut(count) {
                *row = block_row(block, base);
                count += 1;
            }
        }
        Ok(Step {
            count,
            next: step.next,
        })
    }

    /// Whether a block of the kernel heap is one that calls in flight or statistics take. What a client has
    /// registered to pass it to a call belongs to the call as long as that lasts: Linux registers the memory
    /// for an answer before it asks.
    pub(crate) fn is_of_calls(&self, state: &State<Book>, block: &Block) -> bool {
        [OwnerId::CALL.0, OwnerId::STATS.0].contains(&block.owner.0)
            || state
                .guest(self.guest)
                .shm
                .is_in_use(self.heap().base() + block.offset as u64)
    }

    /// Everything that a pool consists of, its tables first.
    ///
    /// # Errors
    /// [`PoolError`].
    pub(crate) fn chunk_rows(
        &self,
        heap: HeapRef,
        cursor: u64,
        out: &mut [ChunkRow],
    ) -> Result<Step, PoolError> {
        let mut chunks = [Chunk::default(); STEP];
        // The first step has the tables besides.
        let tables = usize::from(cursor == 0);
        let room = chunks.len().min(out.len().saturating_sub(tables));
        let step = self.ask_heap(
            heap,
            &mut Course::at(cursor),
            &mut Question::Chunks(&mut chunks[..room]),
        )?;
        let mut rows = out.iter_mut();
        if tables == 1
            && step.count > 0
            && chunks[0].offset > 0
            && let Some(row) = rows.next()
        {
            *row = ChunkRow {
                offset: 0,
                bytes: chunks[0].offset as u64,
                kind: chunk_kind::OWN,
                reserved: 0,
            };
        }
        for (chunk, row) in chunks[..step.count].iter().zip(rows) {
            *row = ChunkRow {
                offset: chunk.offset as u64,
                bytes: chunk.size as u64,
                kind: match chunk.kind {
                    ChunkKind::Free => chunk_kind::FREE,
                    ChunkKind::Kept => chunk_kind::KEPT,
                    ChunkKind::Overhead => chunk_kind::OWN,
                    ChunkKind::Block(_) => chunk_kind::BLOCK,
                },
                reserved: 0,
            };
        }
        let tables = if chunks[0].offset > 0 { tables } else { 0 };
        Ok(Step {
            count: step.count + tables,
            next: step.next,
        })
    }

    /// Size classes of a pool, with what its live blocks asked for; how many. They add up to its size.
    ///
    /// # Errors
    /// [`PoolError`].
    pub(crate) fn class_rows(
        &self,
        heap: HeapRef,
        out: &mut [ClassRow],
    ) -> Result<usize, PoolError> {
        let pool = self.heap_owner(heap);
        let Some(stats) = self.figures_for_classes(heap)? else {
            return Ok(0);
        };
        let mut rows = Rows { out, used: 0, pool };
        let mut taken = 0;
        for index in 0..MAX_CLASSES {
            let mut class = None;
            self.ask_heap(
                heap,
                &mut Course::at(index as u64),
                &mut Question::Class(&mut class),
            )?;
            let Some(class) = class else { break };
            taken += class.bytes;
            rows.add_class(&class);
            self.breathe();
        }
        if rows.used == 0 {
            // First fit has no classes: one row for all blocks.
            taken = stats.allocated;
            rows.add(class_kind::RUN, 0, stats.allocated);
            if let Some(row) = rows.last() {
                row.live = stats.live_blocks as u32;
                row.blocks = row.live;
            }
        }
        rows.add(class_kind::FREE, 0, stats.size.saturating_sub(taken));
        let used = rows.used;
        self.add_requested(heap, &mut out[..used])?;
        Ok(used)
    }

    /// Size, bytes and blocks of a heap; `None` if it has none, or they are not known.
    fn figures_for_classes(&self, heap: HeapRef) -> Result<Option<Stats>, PoolError> {
        if let Some(instance) = self.of_c(heap) {
            let (known, stats) = self
                .c_stats_in_steps(instance)
                .ok_or(PoolError::NotLoaded)?;
            let is_known = known != consistency::INCONSISTENT && stats.allocated != 0;
            return Ok(is_known.then_some(stats));
        }
        let mut stats = Stats::default();
        let step = self.ask_heap(
            heap,
            &mut Course::default(),
            &mut Question::Figures(&mut stats),
        )?;
        Ok((step.count != 0).then_some(stats))
    }

    /// Adds up what live blocks asked for, by class.
    fn add_requested(&self, heap: HeapRef, rows: &mut [ClassRow]) -> Result<(), PoolError> {
        let mut course = Course::default();
        loop {
            let mut blocks = [Block::default(); STEP];
            let step = self.ask_heap(heap, &mut course, &mut Question::Blocks(&mut blocks))?;
            for block in &blocks[..step.count] {
                let slab = rows.iter().position(|row| {
                    row.kind == class_kind::SLAB && row.block_size as usize == block.usable
                });
                let run = || rows.iter().position(|row| row.kind == class_kind::RUN);
                if let Some(at) = slab.or_else(run) {
                    rows[at].requested += block.size as u64;
                }
            }
            if course.at == 0 {
                return Ok(());
            }
            self.breathe();
        }
    }

    /// Checks all of a pool: one of [`damage`], and where.
    ///
    /// # Errors
    /// `BUSY` if the pool was changed all the while; those of [`PoolError`].
    pub(crate) fn check_heap(&self, heap: HeapRef) -> Result<(u32, u32), TeeResult> {
        for _ in 0..TRIES {
            let before = self.header(heap)?;
            let found = match self.check_once(heap) {
                Err(PoolError::Changed) => continue,
                found => found?,
            };
            // What was changed meanwhile may look damaged, or look sound.
            if before == self.header(heap)? {
                return Ok(found);
            }
        }
        Err(TeeResult::BUSY)
    }

    /// What tells whether a heap has changed.
    fn header(&self, heap: HeapRef) -> Result<(Option<Stats>, HeapKey), PoolError> {
        let mut stats = Stats::default();
        let asked = self.ask_heap(
            heap,
            &mut Course::default(),
            &mut Question::Figures(&mut stats),
        );
        let stats = match asked {
            Ok(_) => Some(stats),
            Err(gone @ (PoolError::NotLoaded | PoolError::Dead)) => return Err(gone),
            Err(PoolError::Inconsistent | PoolError::Damaged(_) | PoolError::Changed) => None,
        };
        let state = self.state();
        let found = match heap {
            HeapRef::Kernel => None,
            HeapRef::Ta(instance) => state.instance(instance),
        };
        let key = found.map(|found| HeapKey::of(&self.machine, found));
        Ok((stats, key.unwrap_or_default()))
    }

    fn check_once(&self, heap: HeapRef) -> Result<(u32, u32), PoolError> {
        let mut course = Course::default();
        loop {
            match self.ask_heap(heap, &mut course, &mut Question::Check) {
                Ok(step) if step.next == 0 => break,
                Ok(_) => {}
                Err(end @ (PoolError::NotLoaded | PoolError::Dead | PoolError::Changed)) => {
                    return Err(end);
                }
                Err(PoolError::Inconsistent) => return Ok((damage::WALK, 0)),
                Err(PoolError::Damaged(found)) => return Ok(wire_damage(found)),
            }
            self.breathe();
        }
        // Sound units can be the wrong ones: a walk over all blocks must come to the end.
        course = Course::default();
        loop {
            let mut chunks = [Chunk::default(); STEP];
            match self.ask_heap(heap, &mut course, &mut Question::Chunks(&mut chunks)) {
                Ok(step) if step.next == 0 => break,
                Ok(_) => {}
                Err(end @ (PoolError::NotLoaded | PoolError::Dead | PoolError::Changed)) => {
                    return Err(end);
                }
                Err(PoolError::Inconsistent | PoolError::Damaged(_)) => {
                    return Ok((damage::WALK, 0));
                }
            }
            self.breathe();
        }
        course = Course::default();
        loop {
            let mut first = [Overrun::default()];
            let step = self.ask_heap(heap, &mut course, &mut Question::Overruns(&mut first))?;
            if step.count > 0 {
                return Ok(wire_damage(Damage::Overrun(first[0].block.offset)));
            }
            if step.next == 0 {
                return Ok((damage::NONE, 0));
            }
            self.breathe();
        }
    }

    /// The live block that has the byte at an offset in the pool, or at an address.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `ACCESS_DENIED`, those of [`PoolError`].
    pub(crate) fn block_in(&self, heap: HeapRef, at: u64) -> Result<BlockRow, TeeResult> {
        let base = self.heap_base(heap);
        let offset = if at < FIRST_ADDRESS {
            at
        } else if !self.shared.shown.addresses {
            return Err(TeeResult::ACCESS_DENIED);
        } else {
            at.checked_sub(base)
                .filter(|offset| *offset < FIRST_ADDRESS && base != 0)
                .ok_or(TeeResult::ITEM_NOT_FOUND)?
        };
        let mut block = None;
        if self.of_c(heap).is_some() {
            let offset = usize::try_from(offset).map_err(|_| TeeResult::ITEM_NOT_FOUND)?;
            block = self.c_block_at(heap, offset)?;
        } else {
            self.ask_heap(
                heap,
                &mut Course::at(offset),
                &mut Question::BlockAt(&mut block),
            )?;
        }
        let block = block.ok_or(TeeResult::ITEM_NOT_FOUND)?;
        Ok(block_row(&block, base))
    }

    /// Copies what is in a pool.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` in builds that do not show it; those of [`PoolError`].
    pub(crate) fn bytes_in(
        &self,
        heap: HeapRef,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), TeeResult> {
        if !self.shared.shown.contents {
            return Err(TeeResult::NOT_SUPPORTED);
        }
        self.ask_heap(heap, &mut Course::at(offset), &mut Question::Bytes(out))?;
        Ok(())
    }
}

fn block_row(block: &Block, base: u64) -> BlockRow {
    BlockRow {
        offset: block.offset as u64,
        va: if base == 0 {
            0
        } else {
            base + block.offset as u64
        },
        size: block.size as u64,
        owner: block.owner.0.into(),
        site: block.site.0,
        mark: block.mark.into(),
        reserved: 0,
    }
}

const fn wire_damage(found: Damage) -> (u32, u32) {
    match found {
        Damage::Walk => (damage::WALK, 0),
        Damage::Unit(unit) => (damage::UNIT, unit),
        Damage::Unjoined(unit) => (damage::UNJOINED, unit),
        Damage::Overrun(offset) => (damage::OVERRUN, offset as u32),
        Damage::Bin(_)
        | Damage::Kept(_)
        | Damage::Class(_)
        | Damage::Owner(_)
        | Damage::Site(_)
        | Damage::FreeBytes
        | Damage::Chunk(_)
        | Damage::Counts => (damage::OTHER, 0),
    }
}

/// Rows of classes as they are filled in.
struct Rows<'a> {
    out: &'a mut [ClassRow],
    used: usize,
    pool: TeeUuid,
}

impl Rows<'_> {
    fn add(&mut self, kind: u32, block_size: u32, bytes: u64) {
        if let Some(row) = self.out.get_mut(self.used) {
            *row = ClassRow {
                pool: self.pool,
                kind,
                block_size,
                bytes,
                ..ClassRow::default()
            };
            self.used += 1;
        }
    }

    fn last(&mut self) -> Option<&mut ClassRow> {
        self.out.get_mut(self.used.checked_sub(1)?)
    }

    fn add_class(&mut self, class: &ClassFigures) {
        let is_slab = class.block_size != 0;
        if is_slab {
            self.add(class_kind::SLAB, class.block_size, class.bytes);
        } else {
            let live = class.bytes.saturating_sub(class.kept_bytes);
            self.add(class_kind::RUN, 0, live);
        }
        if let Some(row) = self.last() {
            row.slabs = class.slabs as u32;
            row.live = class.live as u32;
            row.blocks = if is_slab { class.blocks } else { class.live } as u32;
            row.kept = if is_slab { class.kept } else { 0 } as u32;
        }
        if !is_slab && class.kept > 0 {
            self.add(class_kind::KEPT_RUN, 0, class.kept_bytes);
            if let Some(row) = self.last() {
                row.blocks = class.kept as u32;
                row.kept = class.kept as u32;
            }
        }
    }
}
