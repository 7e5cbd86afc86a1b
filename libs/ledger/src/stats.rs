//! The figures that a pool gives, and the names of owners and sites.
//!
//! **Invariant:** `size == usable + free_bytes + block_metadata` of a consistent pool, and
//! `committed >= size + tables`.

use crate::capture::MAX_DEPTH;
use crate::entry;
use crate::layout::{Strategy, Tracking};

/// Whose account a block is charged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(pub u16);

/// A call stack that allocated; 0 is "unknown or no room in the table". With [`Tracking::Light`] it is a return
/// address's offset from the start of the code ([`crate::Pool::set_code`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub u32);

/// All figures of a pool. Bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How free memory is found.
    pub strategy: Strategy,
    /// What is written down.
    pub tracking: Tracking,
    /// Bytes asked for by live blocks.
    pub allocated: u64,
    /// Most bytes ever allocated at a time since the last reset.
    pub max_allocated: u64,
    /// Size of the body: what blocks can be made of.
    pub size: u64,
    /// Failed allocations since the last reset.
    pub num_alloc_fail: u64,
    /// Size of the biggest failed allocation since the last reset.
    pub biggest_alloc_fail: u64,
    /// Bytes allocated when it failed.
    pub biggest_alloc_fail_used: u64,
    /// Sum of the squares of the free chunks' sizes.
    pub free2_sum: u64,
    /// Allocations that succeeded, ever.
    pub num_get: u64,
    /// Blocks freed, ever.
    pub num_release: u64,
    /// Largest free chunk.
    pub largest_free: u64,
    /// Bytes in free chunks.
    pub free_bytes: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// Bytes of live blocks with rounding.
    pub usable: u64,
    /// What of the body is no block and cannot be one: records, heads of slabs, and padding.
    pub block_metadata: u64,
    /// Records and heads of slabs in the body, those of free blocks too. (A run's record is in the tables.)
    pub records: u64,
    /// All bookkeeping: `tables` and `block_metadata`.
    pub metadata: u64,
    /// Bookkeeping that there is whatever is allocated: all that lies before the body.
    pub tables: u64,
    /// Bytes of the window that are usable now, metadata included.
    pub committed: u64,
    /// Bytes the window can grow to.
    pub reserved: u64,
    /// Call sites in use.
    pub sites_used: u64,
    /// The current mark.
    pub mark: u16,
    /// Blocks that had been written past their end when they were freed or resized, ever.
    pub overruns: u64,
}

/// A live block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Offset from the pool's base.
    pub offset: usize,
    /// Bytes asked for.
    pub size: usize,
    /// Bytes it can hold.
    pub usable: usize,
    /// Whose it is.
    pub owner: OwnerId,
    /// Where it was allocated.
    pub site: SiteId,
    /// Mark when it was allocated.
    pub mark: u16,
}

/// How the records of a pool are to be read.
#[derive(Clone, Copy)]
pub(crate) struct Legend {
    pub(crate) tracking: Tracking,
    /// The mark now.
    pub(crate) mark: u16,
    /// Where the code begins.
    pub(crate) code: u64,
}

impl Legend {
    /// `block` with what its record says of who allocated it.
    pub(crate) fn read(&self, record: u64, block: Block) -> Block {
        let (site, mark) = match self.tracking {
            Tracking::Light => (
                entry::offset_in_code(entry::record_return(record), self.code),
                entry::light_mark(record, self.mark),
            ),
            Tracking::Off | Tracking::Accounts | Tracking::Full => (
                entry::record_site(record).into(),
                entry::record_mark(record),
            ),
        };
        Block {
            owner: OwnerId(entry::record_owner(record)),
            site: SiteId(site),
            mark,
            ..block
        }
    }
}

/// A part of a pool's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Offset from the pool's base.
    pub offset: usize,
    /// Bytes it takes.
    pub size: usize,
    /// What it is.
    pub kind: ChunkKind,
    /// Whether it is free for any size, so that it is one chunk with neighbours that are, too. (A free
    /// block in a slab serves its own size.)
    pub joins: bool,
}

/// What a part of a pool's body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkKind {
    /// Free.
    #[default]
    Free,
    /// Free, and kept for the next block of its size.
    Kept,
    /// Records and padding of the blocks that follow.
    Overhead,
    /// A live block.
    Block(Block),
}

/// Figures of the blocks of one size. Bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassFigures {
    /// Size of each block; 0 for runs, whose sizes differ.
    pub block_size: u32,
    /// Slabs, 0 for runs.
    pub slabs: u64,
    /// Blocks in all, live or not.
    pub blocks: u64,
    /// Live blocks.
    pub live: u64,
    /// Blocks that wait for the next allocation of their size.
    pub kept: u64,
    /// What slabs or runs take of the pool.
    pub bytes: u64,
    /// What the blocks that wait take of that.
    pub kept_bytes: u64,
}

/// A block past whose end somebody wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrun {
    /// The block.
    pub block: Block,
    /// Where the first byte is that was overwritten, from the block's start.
    pub at: usize,
}

/// [`SiteInfo`] by another name.
pub type SiteFigures = SiteInfo;

/// Live blocks of one owner and one call site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Whose they are.
    pub owner: OwnerId,
    /// Where they were allocated.
    pub site: SiteId,
    /// How many.
    pub blocks: u32,
    /// Size of each if all are the same, else 0.
    pub block_size: u32,
    /// Bytes asked for, all together.
    pub bytes: u64,
}

/// What grouping found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTotals {
    /// Groups written, biggest first.
    pub groups: usize,
    /// Blocks since the mark, all together.
    pub blocks: u64,
    /// Bytes since the mark, all together.
    pub bytes: u64,
    /// Blocks that belong to groups the buffer had no room for.
    pub dropped_blocks: u64,
}

/// A call site's counters and frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteInfo {
    /// Which.
    pub id: SiteId,
    /// Live blocks.
    pub live_blocks: u32,
    /// Bytes asked for by live blocks.
    pub live_bytes: u32,
    /// Most live bytes ever; 0 where sites have no counters.
    pub peak_bytes: u32,
    /// Allocations ever; 0 where sites have no counters.
    pub total: u64,
    /// How many frames there are.
    pub depth: usize,
    /// Return addresses, innermost first.
    pub frames: [u64; MAX_DEPTH],
}

/// Groups blocks of mark `since` or later by owner and site into `out`, biggest first.
///
/// Marks are compared by their age below `now`, so that their numbers may wrap.
pub(crate) fn group<E>(
    blocks: impl Iterator<Item = Result<Block, E>>,
    now: u16,
    since: Option<u16>,
    out: &mut [Group],
) -> Result<GroupTotals, E> {
    let mut totals = GroupTotals::default();
    for block in blocks {
        let block = block?;
        if since.is_some_and(|since| now.wrapping_sub(block.mark) > now.wrapping_sub(since)) {
            continue;
        }
        totals.blocks += 1;
        totals.bytes += block.size as u64;
        let used = out.get_mut(..totals.groups).unwrap_or_default();
        let found = used
            .iter_mut()
            .find(|g| g.owner == block.owner && g.site == block.site);
        if let Some(group) = found {
            if group.block_size as usize != block.size {
                group.block_size = 0;
            }
            group.blocks += 1;
            group.bytes += block.size as u64;
        } else if let Some(group) = out.get_mut(totals.groups) {
            *group = Group {
                owner: block.owner,
                site: block.site,
                blocks: 1,
                block_size: block.size as u32,
                bytes: block.size as u64,
            };
            totals.groups += 1;
        } else {
            totals.dropped_blocks += 1;
        }
    }
    if let Some(used) = out.get_mut(..totals.groups) {
        used.sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then(a.site.cmp(&b.site)));
    }
    Ok(totals)
}
