//! Tally's inspector: TAs, regions, blocks, call sites and classes, each in full.
//!
//! Where a command takes "UUID octets", the number of one of its instances ([`TaDetail::instance`])
//! may follow as four octets; the first instance is meant otherwise, and of those the first that is alive. What
//! asks for memory of a TA of which only dead instances are left ([`state::DEAD`]) gets `TARGET_DEAD`.
//!
//! **Invariant:** answers never need the TA's help. Addresses are zero unless the kernel was built
//! to show them; offsets (in an image, in a pool) are always given.
//! **Knows nothing of:** how the figures come about.

use super::control::PoolStats;
use super::{FromBytes, Immutable, IntoBytes, KnownLayout, MAX_FRAMES, TeeUuid};

/// Tally's own.
pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0003);

/// `(memref in: UUID octets, nil for all; memref out: [`TaDetail`] array)`: loaded TA instances.
/// `ITEM_NOT_FOUND` if the one asked for is not loaded.
pub const CMD_TAS: u32 = 0;
/// `(memref in: UUID octets, nil for the kernel; memref out: [`RegionRow`] array)`: of all instances.
/// `ITEM_NOT_FOUND` if the TA asked for is not loaded.
pub const CMD_REGIONS: u32 = 1;
/// `(memref in: UUID octets, nil for the kernel heap; value inout: a, b = cursor, 0 at first and
/// after the last; memref out: [`SiteRow`] array)`: as many call sites as fit.
pub const CMD_SITES: u32 = 2;
/// `(memref in: UUID octets, nil for the kernel heap; memref out: [`ClassRow`] array)`: they add up to the
/// pool's size.
pub const CMD_CLASSES: u32 = 3;
/// As [`CMD_SITES`], with [`BlockRow`]s: live blocks, but for what the kernel takes for calls in flight
/// and for statistics.
pub const CMD_BLOCKS: u32 = 4;
/// As [`CMD_SITES`], with [`ChunkRow`]s: every chunk of a pool, free ones too.
pub const CMD_CHUNKS: u32 = 5;
/// `(memref in: UUID octets, nil for the kernel heap; value out: a = [`damage`], b = where)`: validates a
/// whole pool, in steps. `BUSY` if it is changed all the while.
pub const CMD_CHECK: u32 = 6;
/// `(memref in: UUID octets, nil for the kernel heap; value in: a, b = offset in the pool; memref
/// out: the bytes of the block that has it, from its start; value out: a = the block's offset, b = its
/// size)`. Only in builds that show memory, else `NOT_SUPPORTED`; `ITEM_NOT_FOUND` if there is no block.
pub const CMD_BLOCK_BYTES: u32 = 7;
/// `(memref in: UUID octets; none; none; none)`: writes a TA's status to the secure console.
pub const CMD_STATUS: u32 = 8;
/// `(memref out: [`FailureRow`] array)`: the last refused allocations, oldest first.
pub const CMD_FAILURES: u32 = 9;
/// `(memref out: [`HistoryRow`] array; value out: a = rows given up)`: what TAs used that have ended, by
/// UUID, latest first.
pub const CMD_HISTORY: u32 = 10;
/// `(memref in: UUID octets, nil for all TAs; memref out: [`SessionRow`] array)`: open sessions.
pub const CMD_SESSIONS: u32 = 12;
/// `(memref in: UUID octets, nil for the kernel heap; value in: a, b = offset in the pool, or an address where
/// those are shown; memref out: one [`BlockRow`])`: the live block that has this byte. `ITEM_NOT_FOUND` if none
/// has, `ACCESS_DENIED` for an address where those are hidden.
pub const CMD_BLOCK: u32 = 13;

/// `(memref out: [`UnfreedRow`] array; value out: a = rows given up)`: what TAs had not freed when they ended, by
/// call site, most bytes first.
pub const CMD_UNFREED: u32 = 14;

/// What [`CMD_CHECK`] finds first.
pub mod damage {
    /// Nothing.
    pub const NONE: u32 = 0;
    /// The header makes no sense, or the walk over all blocks does not come to the pool's end.
    pub const WALK: u32 = 1;
    /// A unit of 512 bytes (its number is told) is not what its neighbours say.
    pub const UNIT: u32 = 2;
    /// Two free runs touch at a unit.
    pub const UNJOINED: u32 = 3;
    /// Something else.
    pub const OTHER: u32 = 4;
    /// Somebody wrote past the end of the block at this offset from the pool's base.
    pub const OVERRUN: u32 = 5;
}

/// Where an instance is in its life.
pub mod state {
    /// Being loaded.
    pub const LOADING: u32 = 0;
    /// Can be entered.
    pub const IDLE: u32 = 1;
    /// Runs a command.
    pub const BUSY: u32 = 2;
    /// Panicked, crashed or killed, with sessions still open.
    pub const DEAD: u32 = 3;
}

/// Why an instance is [`state::DEAD`].
pub mod cause {
    /// It is not, or nobody knows.
    pub const NONE: u32 = 0;
    /// It panicked.
    pub const PANICKED: u32 = 1;
    /// It touched what it may not, or met another exception.
    pub const CRASHED: u32 = 2;
    /// Somebody ended it.
    pub const KILLED: u32 = 3;
}

/// Bits of [`RegionRow::prot`].
pub mod prot {
    /// Readable by its user.
    pub const READ: u32 = 1;
    /// Writable by its user.
    pub const WRITE: u32 = 2;
    /// Executable by its user.
    pub const EXECUTE: u32 = 4;
    /// Normal-world memory.
    pub const NON_SECURE: u32 = 8;
    /// Device memory.
    pub const DEVICE: u32 = 16;
    /// Shared with other address spaces.
    pub const SHARED: u32 = 32;
}

/// One TA instance whole; sizes in bytes. Of a dead one the figures of its heap, what it was allowed and the most
/// that it used are its last; it has no memory. 384 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TaDetail {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Tells instances of one TA apart.
    pub instance: u32,
    /// One of [`state`].
    pub state: u32,
    /// Entry function it is in ([`crate::ta::entry`]), if busy, or was in when it died.
    pub function: u32,
    /// Command it is in, if busy, or was in when it died.
    pub command: u32,
    /// Session it serves, if busy, or served when it died; 0 if it died idle.
    pub session: u32,
    /// Open sessions.
    pub sessions: u32,
    /// `TA_FLAG_*` ([`crate::ta::flags`]).
    pub flags: u32,
    /// Regions of its address space.
    pub regions: u32,
    /// Milliseconds since boot when it was loaded.
    pub loaded_ms: u64,
    /// Milliseconds since boot when its call began, if busy, or had begun when it died.
    pub busy_since_ms: u64,
    /// Code and read-only data.
    pub code: u64,
    /// Writable data of the image.
    pub data: u64,
    /// Stack as reserved.
    pub stack: u64,
    /// Deepest use of the stack so far.
    pub stack_deepest: u64,
    /// Stack pointer at its last trap, or where it begins; 0 if hidden.
    pub stack_pointer: u64,
    /// Heap pages taken.
    pub heap_committed: u64,
    /// Heap addresses reserved.
    pub heap_reserved: u64,
    /// Page tables.
    pub tables: u64,
    /// Kernel heap on its behalf, its sessions' included.
    pub kernel_heap: u64,
    /// Blocks of it.
    pub kernel_blocks: u64,
    /// Normal-world memory mapped.
    pub shared: u64,
    /// Most secure memory it may have.
    pub quota: u64,
    /// Secure memory charged to it now.
    pub charged: u64,
    /// Most that ever was.
    pub charged_max: u64,
    /// Addresses mapped or set aside.
    pub vss: u64,
    /// Memory mapped, shared parts whole.
    pub rss: u64,
    /// Memory mapped, shared parts divided by who shares them: the normal world, and every TA that has the
    /// first page of the part mapped.
    pub pss: u64,
    /// Memory mapped that nobody else has.
    pub uss: u64,
    /// Its heap.
    pub heap: PoolStats,
    /// Which build of the TA it is ([`crate::shdr::image_id`]); 0: not known.
    pub image_id: u64,
    /// One of [`cause`], if dead.
    pub cause: u32,
    /// What it panicked with, if it did.
    pub panic_code: u32,
    /// Milliseconds since boot when it died, if dead.
    pub died_ms: u64,
}

/// One region of an address space, 88 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionRow {
    /// Virtual address, 0 if hidden.
    pub va: u64,
    /// Physical address of its first page, 0 if hidden or none is taken yet.
    pub pa: u64,
    /// Bytes of addresses.
    pub bytes: u64,
    /// Bytes of them that may be touched: all but in a heap, which grows.
    pub usable: u64,
    /// Bytes of memory behind them.
    pub populated: u64,
    /// [`prot`] bits.
    pub prot: u32,
    /// Session that it was mapped for, or 0.
    pub session: u32,
    /// Whose.
    pub owner: TeeUuid,
    /// What for, zero padded.
    pub label: [u8; 16],
    /// Which instance of the TA.
    pub instance: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// One session to a TA, 40 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SessionRow {
    /// The TA.
    pub uuid: TeeUuid,
    /// Which instance of it.
    pub instance: u32,
    /// The session's id.
    pub session: u32,
    /// 0 if the normal world opened it, 1 if a TA did.
    pub opener: u32,
    /// 1 while a call is in flight.
    pub busy: u32,
    /// Kernel heap that it holds, in bytes.
    pub kernel_heap: u64,
}

/// One call site of a pool, 128 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SiteRow {
    /// The TA whose heap this is, or nil.
    pub pool: TeeUuid,
    /// Return addresses, innermost first, as offsets from the image's link base; 0 ends.
    pub frames: [u64; MAX_FRAMES],
    /// Live bytes.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// Allocations ever; 0 if they are not counted.
    pub allocations: u64,
    /// Most live bytes at a time; 0 if allocations are not counted.
    pub peak_bytes: u64,
    /// Its number in the pool.
    pub site: u32,
    /// Unused, zero.
    pub reserved: [u32; 3],
}

impl SiteRow {
    /// Whether the pool counts at its call sites. If not, what is live was found by a walk.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.allocations != 0
    }

    /// Adds another row of the same site, if it is one: where nobody counts, a site has a row for each stretch of
    /// the walk that met it.
    #[must_use]
    pub fn join(&mut self, other: &Self) -> bool {
        let is_same = !self.is_counted()
            && !other.is_counted()
            && (self.pool, self.site) == (other.pool, other.site)
            && self.frames == other.frames;
        if is_same {
            self.live_bytes = self.live_bytes.saturating_add(other.live_bytes);
            self.live_blocks = self.live_blocks.saturating_add(other.live_blocks);
        }
        is_same
    }
}

/// Kinds of [`ClassRow`].
pub mod class_kind {
    /// Blocks of one size.
    pub const SLAB: u32 = 0;
    /// Large blocks.
    pub const RUN: u32 = 1;
    /// Freed large blocks that are kept for the next.
    pub const KEPT_RUN: u32 = 2;
    /// Free memory.
    pub const FREE: u32 = 3;
}

/// One size class of a pool, 56 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClassRow {
    /// The TA whose heap this is, or nil.
    pub pool: TeeUuid,
    /// One of [`class_kind`].
    pub kind: u32,
    /// Bytes a block can hold, 0 if they differ.
    pub block_size: u32,
    /// Slabs.
    pub slabs: u32,
    /// Blocks in all.
    pub blocks: u32,
    /// Live blocks.
    pub live: u32,
    /// Free blocks kept for the next allocations.
    pub kept: u32,
    /// Bytes of memory, records included.
    pub bytes: u64,
    /// Bytes asked for by the live blocks.
    pub requested: u64,
}

/// One live block, 40 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockRow {
    /// Offset from the pool's base.
    pub offset: u64,
    /// Virtual address, 0 if hidden.
    pub va: u64,
    /// Bytes asked for.
    pub size: u64,
    /// Owner as the pool has it: kernel owner, or session of the TA.
    pub owner: u32,
    /// Call site's number in the pool.
    pub site: u32,
    /// Mark that was last when it was allocated.
    pub mark: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// One chunk of a pool, 24 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChunkRow {
    /// Offset from the pool's base.
    pub offset: u64,
    /// Bytes it takes.
    pub bytes: u64,
    /// One of [`chunk_kind`].
    pub kind: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// Kinds of [`ChunkRow`].
pub mod chunk_kind {
    /// Free.
    pub const FREE: u32 = 0;
    /// A live block.
    pub const BLOCK: u32 = 1;
    /// Free, and kept for the next block of its size.
    pub const KEPT: u32 = 2;
    /// The pool's own: tables, records, padding.
    pub const OWN: u32 = 3;
}

/// Which memory was refused.
pub mod failed_pool {
    /// The kernel heap.
    pub const KERNEL_HEAP: u32 = 0;
    /// Pages for TAs.
    pub const TA_RAM: u32 = 1;
    /// A TA's own heap (as large as the TA declared).
    pub const TA_HEAP: u32 = 2;
    /// A TA's quota of secure memory.
    pub const TA_QUOTA: u32 = 3;
}

/// One refused allocation, 352 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FailureRow {
    /// Counts all refusals since boot, from 1.
    pub number: u64,
    /// Milliseconds since boot.
    pub at_ms: u64,
    /// Bytes asked for.
    pub size: u64,
    /// Bytes in use then.
    pub used: u64,
    /// Bytes of the pool.
    pub pool_size: u64,
    /// Largest free chunk.
    pub largest_free: u64,
    /// One of [`failed_pool`].
    pub pool: u32,
    /// One of [`super::memleak::owner_kind`].
    pub owner_kind: u32,
    /// Session, or 0.
    pub session: u32,
    /// How many of [`Self::top`] are set.
    pub tops: u32,
    /// TA that the owner belongs to, or nil.
    pub owner: TeeUuid,
    /// Name of the owner for people, zero padded.
    pub label: [u8; 16],
    /// Image that the frames lie in: nil for the kernel, else the TA's UUID.
    pub image: TeeUuid,
    /// Where it was asked for.
    pub frames: [u64; MAX_FRAMES],
    /// The call sites that held most.
    pub top: [TopSite; 4],
    /// Live blocks that [`Self::top`] comes from, where there is no table of sites the first ones only.
    pub top_blocks: u32,
    /// All live blocks of the pool that `top` is of; 0 where nobody looked.
    pub live_blocks: u32,
    /// Which build of the TA [`Self::image`] was ([`crate::shdr::image_id`]); 0: not known, or the kernel.
    pub image_id: u64,
}

/// A call site that holds much, 40 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TopSite {
    /// Live bytes.
    pub bytes: u64,
    /// Return addresses in the same image, innermost first; 0 ends.
    pub frames: [u64; 4],
}

/// What a TA used in all its ended lives, 128 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HistoryRow {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Instances that ended.
    pub ended: u32,
    /// Those that panicked, crashed or were killed.
    pub died: u32,
    /// Most heap bytes.
    pub heap_max: u64,
    /// Heap bytes declared.
    pub heap_size: u64,
    /// Deepest use of the stack.
    pub stack_max: u64,
    /// Stack bytes declared.
    pub stack_size: u64,
    /// Most secure memory charged.
    pub charged_max: u64,
    /// Blocks not freed when its instances ended in good order: leaks.
    pub unfreed_blocks: u64,
    /// Bytes of them.
    pub unfreed_bytes: u64,
    /// Blocks that its instances held when they died.
    pub held_blocks: u64,
    /// Bytes of them.
    pub held_bytes: u64,
    /// Allocations that its heap refused.
    pub refused: u64,
    /// Bytes of the largest of them.
    pub biggest_refused: u64,
    /// Heap bytes in use when that one was refused.
    pub biggest_refused_used: u64,
    /// Instances whose heap's books did not add up when they ended: what they had not freed is not known.
    pub inconsistent: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// A call site whose blocks a TA had not freed when it ended, in all its ended lives together, 112 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UnfreedRow {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Return addresses, innermost first, as offsets from the image's link base; 0 ends.
    pub frames: [u64; MAX_FRAMES],
    /// Bytes not freed.
    pub bytes: u64,
    /// Blocks of them.
    pub blocks: u64,
    /// Instances that ended with some of them.
    pub instances: u32,
    /// 0: they had ended in good order, and leaked; 1: they had died, and held them then.
    pub died: u32,
    /// Which build of the TA they were ([`crate::shdr::image_id`]); 0: not known.
    pub image_id: u64,
}

/// One command of a TA, 96 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CommandRow {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Entry function ([`crate::ta::entry`]).
    pub function: u32,
    /// Command, if the function is to invoke one.
    pub command: u32,
    /// Calls.
    pub calls: u64,
    /// Calls that did not succeed.
    pub failed: u64,
    /// Allocations during those that were looked at in detail.
    pub allocations: u64,
    /// Releases during those that were looked at in detail.
    pub releases: u64,
    /// Heap bytes afterwards less before, all calls together.
    pub net_bytes: i64,
    /// Highest that the heap rose above where it was at an entry.
    pub heap_above_entry: u64,
    /// Deepest stack of those that were looked at in detail.
    pub stack_deepest: u64,
    /// Ticks of the system counter spent, all calls together.
    pub ticks: u64,
    /// Calls that were looked at in detail ([`crate::pta::audit::CMD_LEDGER`]).
    pub detailed: u64,
}

const _: () = {
    assert!(size_of::<TaDetail>() == 384);
    assert!(size_of::<RegionRow>() == 88);
    assert!(size_of::<SessionRow>() == 40);
    assert!(size_of::<SiteRow>() == 128);
    assert!(size_of::<ClassRow>() == 56);
    assert!(size_of::<BlockRow>() == 40);
    assert!(size_of::<ChunkRow>() == 24);
    assert!(size_of::<FailureRow>() == 352);
    assert!(size_of::<TopSite>() == 40);
    assert!(size_of::<HistoryRow>() == 128);
    assert!(size_of::<UnfreedRow>() == 112);
    assert!(size_of::<CommandRow>() == 96);
};
