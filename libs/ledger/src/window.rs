//! The pool's memory: the only module that reads and writes the window.
//!
//! **Invariant:** every access lies inside `[base, base + committed)`, whatever the indices and
//! whatever the tables hold: reads outside give zero, writes outside do nothing. So damaged
//! bookkeeping can give wrong figures, never an access outside the pool. All pointers derive from the
//! base pointer.
//! **Knows nothing of:** what the entries mean.

use core::mem::size_of;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::classes::UNIT;
use crate::layout::{
    BINS, CACHED_LENGTHS, Config, CreateError, Geometry, Header, MAGIC, SiteEntry, Strategy,
    VERSION,
};

/// A window of memory that is this value's alone.
pub(crate) struct Window {
    base: NonNull<u8>,
    /// The tables and the body, derived from `base`.
    accounts: NonNull<u64>,
    sites: NonNull<u8>,
    map: NonNull<u64>,
    body: NonNull<u8>,
    geometry: Geometry,
    reserved: usize,
    committed: usize,
    /// Units of the body that are usable.
    units: u32,
    /// Entries of the unit table: as many, or none if the strategy has no units.
    entries: u32,
    /// Number of sites, a power of two, less 1.
    site_mask: usize,
    site_bytes: usize,
    owners: usize,
}

// SAFETY: the window is plain memory that `Window::new`'s contract gives to this value alone; nothing in it
// belongs to a thread.
unsafe impl Send for Window {}

impl Window {
    /// Takes over a window and writes an empty header.
    ///
    /// # Safety
    /// 1. `[base, base + committed)` is readable and writable and nobody else's until the value
    ///    is dropped, except for readers from outside and writers of the epoch.
    /// 2. The memory reads as zero.
    pub(crate) unsafe fn new(
        base: NonNull<u8>,
        reserved: usize,
        committed: usize,
        cfg: &Config,
    ) -> Result<Self, CreateError> {
        if !base.addr().get().is_multiple_of(UNIT) {
            return Err(CreateError::Misaligned);
        }
        let geometry = Geometry::new(reserved, cfg)?;
        if committed > reserved {
            return Err(CreateError::TooLarge);
        }
        let body_bytes = geometry.body_bytes(committed);
        if body_bytes == 0 {
            return Err(CreateError::TooSmall);
        }
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            header_bytes: size_of::<Header>() as u32,
            strategy: match cfg.strategy {
                Strategy::Segregated => 0,
                Strategy::FirstFit => 1,
            },
            depth: geometry.depth as u32,
            owners: geometry.owners as u32,
            sites: geometry.sites as u32,
            reserved: reserved as u64,
            committed: committed as u64,
            owners_offset: geometry.owners_offset as u64,
            sites_offset: geometry.sites_offset as u64,
            map_offset: geometry.map_offset as u64,
            body_offset: geometry.body_offset as u64,
            body_bytes: body_bytes as u64,
            epoch: 0.into(),
            unused: [0; 3],
            max_allocated: 0,
            live: 0,
            num_release: 0,
            num_alloc_fail: 0,
            biggest_alloc_fail: 0,
            biggest_alloc_fail_used: 0,
            sites_used: 0,
            bin_mask: 0,
            bins: [crate::entry::NONE; BINS],
            cached: [crate::entry::NONE; CACHED_LENGTHS],
            partial: [crate::entry::NONE; crate::classes::CLASSES],
            empty: [crate::entry::NONE; crate::classes::CLASSES],
        };
        // SAFETY:
        // 1. `body_bytes > 0`, so the tables, of which the header is the first, lie inside `committed`.
        // 2. `base` is a multiple of 256, hence aligned for the header.
        // 3. The memory is ours by contract 1.
        unsafe { base.cast::<Header>().write(header) };
        // SAFETY: `body_bytes > 0`, so all tables and the body's start lie inside `committed`.
        let at = |offset| unsafe { base.add(offset) };
        Ok(Self {
            base,
            accounts: at(geometry.owners_offset).cast(),
            sites: at(geometry.sites_offset),
            map: at(geometry.map_offset).cast(),
            body: at(geometry.body_offset),
            site_mask: geometry.sites - 1,
            site_bytes: geometry.site_bytes,
            owners: geometry.owners,
            geometry,
            reserved,
            committed,
            units: (body_bytes / UNIT) as u32,
            entries: match cfg.strategy {
                Strategy::Segregated => (body_bytes / UNIT) as u32,
                Strategy::FirstFit => 0,
            },
        })
    }

    pub(crate) fn site_mask(&self) -> usize {
        self.site_mask
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    pub(crate) fn committed(&self) -> usize {
        self.committed
    }

    /// Usable units of the body.
    #[inline(always)]
    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.units as usize * UNIT
    }

    /// Extends the usable part; returns the old number of units.
    ///
    /// # Safety
    /// As [`Window::new`], for `committed`, which is at least as much as before and within
    /// `reserved`.
    pub(crate) unsafe fn extend(&mut self, committed: usize) -> u32 {
        let old = self.units;
        self.committed = committed;
        self.units = (self.geometry.body_bytes(committed) / UNIT) as u32;
        if self.entries > 0 {
            self.entries = self.units;
        }
        let (units, header) = (self.units, self.header_mut());
        header.committed = committed as u64;
        header.body_bytes = u64::from(units) * UNIT as u64;
        old
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY:
        // 1. `new` wrote a header at `base`, aligned, inside the committed part.
        // 2. It is borrowed through `self`; outside writers touch the atomic epoch only.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    #[inline(always)]
    pub(crate) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as in `header`, and `self` is borrowed mutably.
        unsafe { self.base.cast::<Header>().as_mut() }
    }

    #[inline(always)]
    pub(crate) fn epoch(&self) -> u16 {
        self.header().epoch.load(Ordering::Relaxed)
    }

    /// Entry of unit `unit`; 0 outside.
    #[inline(always)]
    pub(crate) fn unit(&self, unit: u32) -> u64 {
        if unit >= self.entries {
            return 0;
        }
        // SAFETY: the unit table has `entries` words, before the body and thus committed; aligned
        // to 8.
        unsafe { self.map.add(unit as usize).read() }
    }

    /// Writes the entry of unit `unit`.
    #[inline(always)]
    pub(crate) fn set_unit(&mut self, unit: u32, entry: u64) {
        if unit < self.entries {
            // SAFETY: as in `unit`, and `self` is borrowed mutably.
            unsafe { self.map.add(unit as usize).write(entry) };
        }
    }

    /// Word `index` of the start bitmap; 0 outside.
    pub(crate) fn map_word(&self, index: usize) -> u64 {
        if index >= self.geometry.map_words {
            return 0;
        }
        // SAFETY: the map has `map_words` words, before the body and thus committed; aligned to 8.
        unsafe { self.map.add(index).read() }
    }

    /// Writes word `index` of the start bitmap.
    pub(crate) fn set_map_word(&mut self, index: usize, word: u64) {
        if index < self.geometry.map_words {
            // SAFETY: as in `map_word`, and `self` is borrowed mutably.
            unsafe { self.map.add(index).write(word) };
        }
    }

    /// Account of an owner, bytes in the low half, blocks in the high half. Owners outside
    /// share account 0.
    #[inline(always)]
    pub(crate) fn account_mut(&mut self, owner: u16) -> &mut u64 {
        let index = if (owner as usize) < self.owners {
            owner as usize
        } else {
            0
        };
        // SAFETY:
        // 1. The accounts table has `owners >= 1` words, before the body and thus committed.
        // 2. It is aligned to 8. It is borrowed through `self`, mutably.
        unsafe { self.accounts.add(index).as_mut() }
    }

    /// Entry of a site; sites outside share the entries inside.
    #[inline(always)]
    pub(crate) fn site_mut(&mut self, site: u16) -> &mut SiteEntry {
        let index = site as usize & self.site_mask;
        // SAFETY:
        // 1. The sites table has `sites` entries, a power of two, before the body and thus
        //    committed.
        // 2. Table and stride are aligned to 8. It is borrowed through `self`, mutably.
        // 3. Any bits are a valid `SiteEntry`.
        unsafe { self.sites.add(index * self.site_bytes).cast().as_mut() }
    }

    /// Frames that follow a site's entry.
    pub(crate) fn site_frames_mut(&mut self, site: u16) -> &mut [u64] {
        let index = site as usize & (self.geometry.sites - 1);
        let offset = index * self.geometry.site_bytes + size_of::<SiteEntry>();
        // SAFETY: as in `site_mut`; `site_bytes` has room for `depth` words behind the entry.
        unsafe {
            let frames = self.sites.add(offset).cast();
            NonNull::slice_from_raw_parts(frames, self.geometry.depth).as_mut()
        }
    }

    /// Word `index` of the body; 0 outside.
    #[inline(always)]
    pub(crate) fn body_word(&self, index: usize) -> u64 {
        if index >= self.units as usize * (UNIT / 8) {
            return 0;
        }
        // SAFETY: inside the committed body, whose size is a multiple of 8 and which is aligned.
        unsafe { self.body.cast::<u64>().add(index).read() }
    }

    /// Writes word `index` of the body.
    #[inline(always)]
    pub(crate) fn set_body_word(&mut self, index: usize, word: u64) {
        if index < self.units as usize * (UNIT / 8) {
            // SAFETY: as in `body_word`. Callers name words of slab records and block headers
            // only, which no block's user may reach through a pointer we gave out.
            unsafe { self.body.cast::<u64>().add(index).write(word) };
        }
    }

    /// Offset of an address into the body. Large if outside.
    #[inline(always)]
    pub(crate) fn body_offset_of(&self, ptr: NonNull<u8>) -> usize {
        ptr.addr().get().wrapping_sub(self.body.addr().get())
    }

    /// Pointer to `offset` bytes into the body; to its start if that is outside.
    #[inline(always)]
    pub(crate) fn body_ptr(&self, offset: usize) -> NonNull<u8> {
        let offset = if offset < self.body_bytes() {
            offset
        } else {
            0
        };
        // SAFETY: inside the committed body.
        unsafe { self.body.add(offset) }
    }

    /// Address of the body's start.
    pub(crate) fn body_addr(&self) -> usize {
        self.body.addr().get()
    }

    /// Copies `bytes` from one place in the body to another; nothing if either lies outside.
    pub(crate) fn copy_body(&mut self, from: usize, to: usize, bytes: usize) {
        let fits = |at: usize| {
            at.checked_add(bytes)
                .is_some_and(|end| end <= self.body_bytes())
        };
        if fits(from) && fits(to) {
            // SAFETY: both ranges lie inside the committed body; `copy` allows overlap.
            unsafe { self.body_ptr(from).copy_to(self.body_ptr(to), bytes) };
        }
    }

    /// Copies bytes at `offset` from the base into `out`; false if they are not all committed.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        if offset
            .checked_add(out.len())
            .is_none_or(|end| end > self.committed)
        {
            return false;
        }
        // SAFETY: the range is committed; `out` is a Rust slice, which no part of the window is.
        unsafe {
            self.base
                .add(offset)
                .as_ptr()
                .copy_to_nonoverlapping(out.as_mut_ptr(), out.len());
        }
        true
    }
}
