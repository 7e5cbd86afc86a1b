//! Layout of a pool's window.
//!
//! ```text
//! base                                                                        base + reserved
//! | header | call sites | their frames | owners' accounts | kept blocks | unit table or start bitmap | body ... |
//! ```
//!
//! All tables are sized for the whole reserved window and touched only as far as the body has
//! been used: 4 bytes for each 512 of body (segregated) or one bit for each 16 (first and best fit), which is 0.8 %.
//!
//! **Invariant:** every offset is a multiple of 8, tables do not overlap, the body starts at a
//! multiple of 512 from `base`. The header's fields are little-endian and never move in a version.

use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU16, AtomicU64};

use crate::capture::MAX_DEPTH;
use crate::classes::{RUN_CLASSES, SLAB_CLASSES, UNIT};
use crate::entry::{MAX_SITES, MAX_UNITS};

/// First word of every pool: `"TALYHEAP"` read as little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"TALYHEAP");
/// Version of the layout.
pub const VERSION: u32 = 5;
/// Offset from the pool's base of the mark, a big-endian `u16` that may be written from
/// outside at any time; blocks allocated from then on carry it. ([`Tracking::Light`] needs the place of the
/// first byte, hence the order.)
pub const MARK_OFFSET: usize = offset_of!(Header, stamp) + offset_of!(Stamp, mark);
/// Offset of the alarm, a `u64` that may be written from outside while nobody allocates, before the pool is
/// created as well: as soon as more bytes than that are live and that is a new maximum, the pool rings
/// ([`ALARM_HIT_OFFSET`]) and sets the alarm to 0, which is none.
///
/// Only a new maximum rings. Whoever sets an alarm below the maximum restarts that first (at
/// [`PEAK_OFFSET`]), as [`crate::view::Maximum`] does.
pub const ALARM_OFFSET: usize = offset_of!(Header, alarm);
/// Offset of the bytes that were live when the alarm rang, a `u64`; 0 if it has not.
pub const ALARM_HIT_OFFSET: usize = offset_of!(Header, alarm_hit);
/// Offset from the pool's base of two little-endian `u64`: the most live bytes, and by how much the live
/// bytes fall short of it. Readers from outside may restart the maximum while nobody allocates, by
/// lowering both by the same amount.
pub const PEAK_OFFSET: usize = offset_of!(Header, max_allocated);
/// Offset from the pool's base of three little-endian `u64`: failed allocations, the bytes of the biggest, and the
/// bytes that were live then. Readers from outside may set all to 0 while nobody allocates.
pub const FAILURES_OFFSET: usize = offset_of!(Header, num_alloc_fail);
/// Largest pool.
pub const MAX_POOL_BYTES: usize = MAX_UNITS * UNIT;
/// Number of bins for free runs: four a doubling of units.
pub(crate) const BINS: usize = 60;
/// Places for kept blocks of a class of slabs. The first stays empty.
pub(crate) const KEPT_BLOCKS: usize = 32;
/// Places for kept runs of a class. The first stays empty.
pub(crate) const KEPT_RUNS: usize = 8;

/// Where the places of a class begin: aligned in bytes to what they take, so that an address says whether
/// it is behind the last one.
pub(crate) const fn first_kept_place(class: usize) -> usize {
    if class < SLAB_CLASSES {
        class * KEPT_BLOCKS
    } else {
        SLAB_CLASSES * KEPT_BLOCKS + (class - SLAB_CLASSES) * KEPT_RUNS
    }
}

/// How many places a class has.
pub(crate) const fn kept_places(class: usize) -> Option<usize> {
    if class < SLAB_CLASSES {
        Some(KEPT_BLOCKS)
    } else if class < SLAB_CLASSES + RUN_CLASSES {
        Some(KEPT_RUNS)
    } else {
        None
    }
}

/// How a pool finds free memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Slabs for blocks up to 768 bytes, segregated runs of 512-byte units above. Constant time.
    /// Records beside the blocks.
    #[default]
    Segregated,
    /// First fit on `linked_list_allocator`. Time grows with the number of free chunks. A
    /// 16-byte record stands before each block; block starts are kept in a bitmap apart.
    FirstFit,
    /// Best fit: the smallest free chunk that is large enough, from a tree by size in the free chunks. Time is
    /// bounded by the bits of a size. Records and bitmap as of first fit. Built in by the feature `best-fit`.
    BestFit,
}

/// What a pool writes down besides sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracking {
    /// Nothing. What is allocated is found by a walk, and what needs counting is 0.
    Off,
    /// The pool's figures, and for each block its owner and mark. All blocks are of site 0.
    Accounts,
    /// As [`Tracking::Accounts`], but of the mark the low 8 bits, and the address that the allocation returned to
    /// ([`Config::depth`] 0: no address). There is no table of call sites: what each holds
    /// is found by a walk, and its maximum and allocations are not known. Return addresses are told apart within 8
    /// MiB of code, ages within 255 marks: what is older seems younger by a multiple of 256.
    Light,
    /// The pool's figures, and call sites with exact counters.
    #[default]
    Full,
}

impl Tracking {
    /// [`Tracking::Full`], or [`Tracking::Off`] if that is not built in.
    const BUILT_IN: Self = if cfg!(feature = "stats") {
        Self::Full
    } else {
        Self::Off
    };

    /// As the header has it.
    pub(crate) const fn word(self) -> u64 {
        match self {
            Self::Off => 0,
            Self::Full => 1,
            Self::Light => 2,
            Self::Accounts => 3,
        }
    }

    pub(crate) const fn from_word(word: u64) -> Option<Self> {
        match word {
            0 => Some(Self::Off),
            1 => Some(Self::Full),
            2 => Some(Self::Light),
            3 => Some(Self::Accounts),
            _ => None,
        }
    }

    /// Whether what a site holds is found by a walk over the blocks: there are no counters of each.
    pub(crate) const fn walks_for_sites(self) -> bool {
        match self {
            Self::Accounts | Self::Light => true,
            Self::Off | Self::Full => false,
        }
    }
}

/// What a pool is created with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How free memory is found.
    pub strategy: Strategy,
    /// How many owners have an account, at least 1. Owner 0 also gets what belongs to ids outside.
    pub owners: u16,
    /// Whether the accounts are kept with each allocation ([`Tracking::Full`] only). If not, an account is
    /// found by a walk over all blocks when somebody asks for it.
    pub accounts: bool,
    /// How many call sites are told apart (rounded up to a power of two, at most 8192). Site 0 gets
    /// what the table has no room for.
    pub sites: u16,
    /// Frames kept of each call stack, 0 (sites off) to [`MAX_DEPTH`]; [`Tracking::Light`] keeps at most one.
    pub depth: u8,
    /// Whether each block has bytes behind its end that are looked at when it is freed. Then there are no
    /// short ways of allocation.
    pub guard: bool,
    /// What is written down.
    pub tracking: Tracking,
}

impl Config {
    /// For a kernel heap: 256 owners, 256 sites of 4 frames.
    pub const KERNEL: Self = Self {
        strategy: Strategy::Segregated,
        owners: 256,
        accounts: true,
        sites: 256,
        depth: 4,
        guard: false,
        tracking: Tracking::BUILT_IN,
    };
    /// For the heap of a TA: 16 owners, whose accounts are sums over blocks, 64 sites of 4 frames.
    pub const TA: Self = Self {
        strategy: Strategy::Segregated,
        owners: 16,
        accounts: false,
        sites: 64,
        depth: 4,
        guard: false,
        tracking: Tracking::BUILT_IN,
    };
}

/// Why a pool could not be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// The base is no multiple of 512.
    Misaligned,
    /// `committed` does not hold the metadata ([`metadata_bytes`]) and one unit of body.
    TooSmall,
    /// `reserved` is beyond 32 MiB, or smaller than `committed`.
    TooLarge,
    /// No owners, or more frames than [`MAX_DEPTH`].
    BadConfig,
    /// There is a pool already ([`crate::Pool::open`]).
    InUse,
    /// The strategy is not built in ([`Strategy::BestFit`] without the feature `best-fit`).
    NotBuilt,
}

/// A block that waits for the next allocation of its class: free, but not in its slab's free mask nor in
/// a list of free runs.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Offset in the body.
    pub(crate) block: i32,
    /// Where its record is, in bytes from the body's start: in the body for a block of a slab, before it
    /// (in the unit table) for a run; never 0.
    pub(crate) record: i32,
}

/// A word of which the mark may be written from outside.
#[repr(C, align(8))]
pub(crate) struct Stamp {
    /// [`crate::entry::BLOCK`].
    pub(crate) kind: u16,
    pub(crate) owner: u16,
    /// None, but [`crate::entry::DETAIL`].
    pub(crate) site: u16,
    /// Big-endian.
    pub(crate) mark: AtomicU16,
}

/// The words at a pool's base.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    pub(crate) header_bytes: u32,
    /// 0 segregated, 1 first fit, 2 best fit.
    pub(crate) strategy: u32,
    pub(crate) depth: u32,
    pub(crate) owners: u32,
    /// Power of two.
    pub(crate) sites: u32,
    pub(crate) reserved: u64,
    pub(crate) committed: u64,
    pub(crate) owners_offset: u64,
    pub(crate) sites_offset: u64,
    pub(crate) frames_offset: u64,
    /// Unit table or start bitmap.
    pub(crate) map_offset: u64,
    pub(crate) body_offset: u64,
    /// Usable bytes of the body, a multiple of 512.
    pub(crate) body_bytes: u64,
    /// Whether owners' accounts are kept, 0 or 1.
    pub(crate) accounts: u64,
    /// Fewest guard bytes of a block, 0 if there are none.
    pub(crate) guard: u64,
    /// [`Tracking`], as a word.
    pub(crate) tracking: u64,
    /// Where the code begins that return addresses lie in ([`Tracking::Light`]).
    pub(crate) code: u64,
    /// Blocks whose guard bytes were found overwritten.
    pub(crate) overruns: u64,
    /// Live bytes when the alarm rang.
    pub(crate) alarm_hit: u64,
    pub(crate) num_alloc_fail: u64,
    pub(crate) biggest_alloc_fail: u64,
    pub(crate) biggest_alloc_fail_used: u64,
    pub(crate) sites_used: u64,
    /// Bins that hold a run.
    pub(crate) bin_mask: u64,
    pub(crate) bins: [u32; BINS],
    /// First slab of each class with a free block, but for this first one, which may be full.
    pub(crate) partial: [u32; SLAB_CLASSES],
    /// A slab of each class that was the last to become empty.
    pub(crate) empty: [u32; SLAB_CLASSES],
    pub(crate) counts: ClassCounts,
    /// More live bytes than this ring, 0 none.
    pub(crate) alarm: AtomicU64,
    // What each allocation needs is next to the call sites.
    pub(crate) max_allocated: u64,
    /// What is live falls short of `max_allocated` by this: the two change together only when
    /// a maximum is reached.
    pub(crate) room: u64,
    /// A record's owner and mark, for those blocks that are allocated next.
    pub(crate) stamp: Stamp,
}

const _: () = assert!(offset_of!(Header, room) == PEAK_OFFSET + 8);
const _: () = assert!(
    offset_of!(Header, biggest_alloc_fail) == FAILURES_OFFSET + 8
        && offset_of!(Header, biggest_alloc_fail_used) == FAILURES_OFFSET + 16
);

/// How much is in slabs and in free runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassCounts {
    /// Slabs of each class.
    pub(crate) slabs: [u32; SLAB_CLASSES],
    /// Blocks of each class in the free masks.
    pub(crate) free_slots: [u32; SLAB_CLASSES],
    /// Units in free runs.
    pub(crate) free_units: u32,
    /// 0.
    pub(crate) padding: u32,
}

/// A call site's counters.
#[repr(C)]
pub(crate) struct SiteEntry {
    /// Live blocks in the low half; in the high half by how much the live bytes fall short
    /// of `peak`.
    pub(crate) room: u64,
    /// Allocations ever.
    pub(crate) total: u64,
    /// Hash of the frames; 0 is a free entry.
    pub(crate) key: u64,
    /// Most live bytes ever.
    pub(crate) peak: u32,
    /// How many frames there are.
    pub(crate) frames: u32,
}

/// Offsets of the tables of a pool, in bytes from its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) tracking: Tracking,
    pub(crate) owners: usize,
    pub(crate) accounts: bool,
    pub(crate) owners_offset: usize,
    pub(crate) sites: usize,
    pub(crate) depth: usize,
    pub(crate) sites_offset: usize,
    pub(crate) frames_offset: usize,
    /// Stacks of kept blocks, a multiple of 128 (segregated).
    pub(crate) kept_offset: usize,
    pub(crate) map_offset: usize,
    /// Bytes of the map, a multiple of 8: four for a unit (segregated), or a word for 64 granules.
    pub(crate) map_bytes: usize,
    pub(crate) body_offset: usize,
}

impl Geometry {
    /// Nothing.
    pub(crate) const VOID: Self = Self {
        tracking: Tracking::Off,
        owners: 0,
        accounts: false,
        owners_offset: 0,
        sites: 0,
        depth: 0,
        sites_offset: 0,
        frames_offset: 0,
        kept_offset: 0,
        map_offset: 0,
        map_bytes: 0,
        body_offset: 0,
    };

    pub(crate) const fn new(reserved: usize, cfg: &Config) -> Result<Self, CreateError> {
        if cfg.owners == 0 || cfg.depth as usize > MAX_DEPTH || cfg.sites > MAX_SITES {
            return Err(CreateError::BadConfig);
        }
        if reserved > MAX_UNITS * UNIT {
            return Err(CreateError::TooLarge);
        }
        let is_full = matches!(cfg.tracking, Tracking::Full);
        let sites = if cfg.depth == 0 || cfg.sites == 0 || !is_full {
            1
        } else {
            (cfg.sites as usize).next_power_of_two()
        };
        let depth = match cfg.tracking {
            Tracking::Light if cfg.depth > 0 => 1,
            Tracking::Full if sites > 1 => cfg.depth as usize,
            Tracking::Off | Tracking::Accounts | Tracking::Light | Tracking::Full => 0,
        };
        let map_bytes = match cfg.strategy {
            Strategy::Segregated => (reserved / UNIT * 4).next_multiple_of(8),
            Strategy::FirstFit | Strategy::BestFit => reserved.div_ceil(16 * 64) * 8,
        };
        let sites_offset = size_of::<Header>();
        let frames_offset = sites_offset + sites * size_of::<SiteEntry>();
        let frames = if is_full { sites * depth } else { 0 };
        let owners_offset = frames_offset + frames * 8;
        let accounts = cfg.accounts && is_full;
        let account_words = if accounts { cfg.owners as usize } else { 0 };
        let kept_offset = (owners_offset + account_words * 8).next_multiple_of(KEPT_BLOCKS * 8);
        let kept_places = match cfg.strategy {
            Strategy::Segregated => first_kept_place(SLAB_CLASSES + RUN_CLASSES),
            Strategy::FirstFit | Strategy::BestFit => 0,
        };
        let map_offset = kept_offset + kept_places * size_of::<Kept>();
        let body_offset = (map_offset + map_bytes).next_multiple_of(UNIT);
        Ok(Self {
            tracking: cfg.tracking,
            owners: cfg.owners as usize,
            accounts,
            owners_offset,
            sites,
            depth,
            sites_offset,
            frames_offset,
            kept_offset,
            map_offset,
            map_bytes,
            body_offset,
        })
    }

    /// Usable body of a window with `committed` bytes, a multiple of the unit.
    pub(crate) const fn body_bytes(&self, committed: usize) -> usize {
        committed.saturating_sub(self.body_offset) / UNIT * UNIT
    }
}

/// What of [`metadata_bytes`] does not grow with the window.
pub const fn fixed_metadata_bytes(cfg: &Config) -> usize {
    match Geometry::new(0, cfg) {
        Ok(geometry) => geometry.map_offset,
        Err(_) => 0,
    }
}

/// Bytes at the start of a window of `reserved` bytes that the pool's own tables take; what is
/// committed beyond them serves blocks. 0 if the configuration is no good.
pub const fn metadata_bytes(reserved: usize, cfg: &Config) -> usize {
    match Geometry::new(reserved, cfg) {
        Ok(geometry) => geometry.body_offset,
        Err(_) => 0,
    }
}
