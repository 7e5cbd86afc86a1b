//! The pool's memory: the only module that reads and writes the window.
//!
//! **Invariant:** every access lies inside `[base, base + committed)`, whatever the indices: reads
//! outside give zero, writes outside do nothing. What stands in the body, which a block's user may
//! overrun, is never trusted; the unit table, which only this crate writes, is trusted where it says
//! that something is a slab. All pointers derive from the base pointer.
//! **Knows nothing of:** what the entries mean.

use core::alloc::Layout;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
use core::mem::offset_of;
use core::mem::size_of;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::capture::Walkable;
use crate::classes::{self, CLASSES, NO_CLASS, RUN_CLASSES, SIZES, SLAB_CLASSES, TABLE, UNIT};
use crate::entry;
use crate::layout::{
    BINS, ClassCounts, Config, CreateError, Geometry, Header, KEPT_BLOCKS, KEPT_RUNS, Kept, MAGIC,
    SiteEntry, Stamp, Strategy, VERSION, first_kept_place,
};

/// Logarithm of a site's size.
const SITE_SHIFT: u32 = size_of::<SiteEntry>().trailing_zeros();
const _: () = assert!(size_of::<SiteEntry>() == 1 << SITE_SHIFT);

/// A class as allocation and release need it.
#[repr(C)]
struct Class {
    /// Behind the last block that is kept, in the class's stack.
    top: NonNull<Kept>,
    inverse: u32,
    /// The shift in the low octet, above it the number of blocks.
    shift_and_blocks: u32,
}

/// A value that was read, in a register from here on: left alone, the compiler reads some later, one by one
/// rather than together with their neighbours.
#[inline(always)]
fn settled(value: u64) -> u64 {
    #[cfg(all(target_arch = "aarch64", target_os = "none"))]
    // SAFETY: no instruction; the value is as it was.
    unsafe {
        core::arch::asm!("/* {} */", in(reg) value, options(nomem, nostack, preserves_flags));
    }
    value
}

/// The class at an offset that [`entry::class_offset`] gave.
#[inline(always)]
fn class_at(classes: NonNull<[Class; CLASSES]>, offset: usize) -> NonNull<Class> {
    // SAFETY: the offset is that of a place in `classes` and a little more, which is taken off again.
    unsafe {
        classes
            .cast::<Class>()
            .byte_add(offset)
            .byte_sub(entry::CLASS_BIAS)
    }
}

/// Below the place of a class that has none.
static NOTHING: Kept = Kept {
    block: 0,
    record: 0,
};

impl Class {
    /// Nothing is ever kept.
    const NONE: Self = {
        // SAFETY: just behind the static.
        let top = unsafe { NonNull::from_ref(&NOTHING).add(1) };
        Self {
            top,
            inverse: 1,
            shift_and_blocks: 0,
        }
    };

    /// Never looked at.
    const DANGLING: Self = Self {
        top: NonNull::dangling(),
        inverse: 1,
        shift_and_blocks: 0,
    };
}

/// Where a site is: bytes from the start of the table, inside it.
#[derive(Clone, Copy)]
pub(crate) struct SitePlace(usize);

impl SitePlace {
    /// A record that has neither with this site and a size.
    #[inline(always)]
    pub(crate) fn in_record(self, record: u64, size: usize) -> u64 {
        const { assert!(SITE_SHIFT == 5) };
        entry::with_site_and_size(record, self.0, size)
    }

    /// The site's number.
    #[inline(always)]
    pub(crate) fn site(self) -> u16 {
        (self.0 >> SITE_SHIFT) as u16
    }
}

/// A kept block: its class, where the class's stack ends without it, itself.
#[derive(Clone, Copy)]
pub(crate) struct NewestKept(usize, NonNull<Kept>, Kept);

/// Room in the stack of a class.
pub(crate) struct PlaceToKeep<'a>(&'a mut Class);

impl PlaceToKeep<'_> {
    /// Keeps a block here.
    #[inline(always)]
    pub(crate) fn keep(self, kept: Kept) {
        let top = self.0.top;
        // SAFETY: below the stack's end, hence a place of it.
        unsafe {
            top.write(kept);
            self.0.top = top.add(1);
        }
    }
}

/// A block in a slab.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) class: usize,
    class_offset: usize,
    pub(crate) kept: Kept,
    /// Where its record is.
    place: NonNull<u64>,
    /// Who allocated it, if that is somebody.
    pub(crate) record: u64,
}

impl Slot {
    /// Bytes of the block.
    pub(crate) fn usable(&self) -> usize {
        TABLE.get(self.class).map_or(0, |class| class.size.into())
    }

    #[inline(always)]
    pub(crate) fn is_free(&self) -> bool {
        !entry::is_live(self.record)
    }
}

/// A window of memory that is this value's alone.
#[repr(C)]
pub(crate) struct Window {
    /// The stack on which blocks are asked for.
    stack: Walkable,
    /// Places for sites, a power of two, less 1; times the size of a site.
    site_mask: usize,
    /// The table of sites; the pool's base is the size of the header before it.
    sites: NonNull<SiteEntry>,
    /// The body and the map, derived from `base`.
    body: NonNull<u8>,
    /// Entries of the unit table: as many as there are units, or none if the strategy has no units.
    entries: usize,
    map: NonNull<u64>,
    classes: [Class; CLASSES],
    /// A copy of [`classes::BY_SIZE`], close at hand.
    by_size: [u8; SIZES],
    /// Units of the body that are usable.
    units: u32,
    accounts: NonNull<u64>,
    /// Owners with an account, 0 if none is kept.
    owners: usize,
    geometry: Geometry,
    reserved: usize,
    committed: usize,
}

// SAFETY: the window is plain memory that `Window::new`'s contract gives to this value alone; nothing in it
// belongs to a thread.
unsafe impl Send for Window {}

impl Window {
    /// No memory: nothing is ever kept, no address is inside.
    pub(crate) const VOID: Self = Self {
        stack: Walkable::NOWHERE,
        site_mask: 0,
        sites: NonNull::dangling(),
        body: NonNull::dangling(),
        entries: 0,
        map: NonNull::dangling(),
        classes: {
            let mut classes = [Class::DANGLING; CLASSES];
            classes[NO_CLASS] = Class::NONE;
            classes
        },
        by_size: [NO_CLASS as u8; SIZES],
        units: 0,
        accounts: NonNull::dangling(),
        owners: 0,
        geometry: Geometry::VOID,
        reserved: 0,
        committed: 0,
    };

    /// Whether this is [`Window::VOID`], which has no header and no tables.
    pub(crate) fn is_void(&self) -> bool {
        self.units == 0
    }

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
            frames_offset: geometry.frames_offset as u64,
            map_offset: geometry.map_offset as u64,
            body_offset: geometry.body_offset as u64,
            body_bytes: body_bytes as u64,
            accounts: geometry.accounts.into(),
            stamp: Stamp {
                kind: entry::BLOCK as u16,
                owner: 0,
                site: 0,
                epoch: 0.into(),
            },
            max_allocated: 0,
            room: 0,
            num_alloc_fail: 0,
            biggest_alloc_fail: 0,
            biggest_alloc_fail_used: 0,
            sites_used: 0,
            bin_mask: 0,
            bins: [crate::entry::NONE; BINS],
            partial: [crate::entry::NONE; SLAB_CLASSES],
            empty: [crate::entry::NONE; SLAB_CLASSES],
            counts: ClassCounts::default(),
        };
        // SAFETY:
        // 1. `body_bytes > 0`, so the tables, of which the header is the first, lie inside `committed`.
        // 2. `base` is a multiple of 256, hence aligned for the header.
        // 3. The memory is ours by contract 1.
        unsafe { base.cast::<Header>().write(header) };
        // SAFETY: `body_bytes > 0`, so all tables and the body's start lie inside `committed`.
        let at = |offset| unsafe { base.add(offset) };
        Ok(Self {
            stack: Walkable::NOWHERE,
            sites: at(geometry.sites_offset).cast(),
            accounts: at(geometry.owners_offset).cast(),
            map: at(geometry.map_offset).cast(),
            body: at(geometry.body_offset),
            site_mask: (geometry.sites - 1) << SITE_SHIFT,
            by_size: classes::BY_SIZE,
            owners: if geometry.accounts {
                geometry.owners
            } else {
                0
            },
            classes: core::array::from_fn(|class| {
                if class >= SLAB_CLASSES + RUN_CLASSES || cfg.strategy == Strategy::FirstFit {
                    return Class::NONE;
                }
                let params = TABLE.get(class);
                let place = first_kept_place(class) + 1;
                Class {
                    // The first place stays empty.
                    top: at(geometry.kept_offset + place * size_of::<Kept>()).cast(),
                    inverse: params.map_or(1, |class| class.inverse),
                    shift_and_blocks: params.map_or(0, |class| {
                        u32::from(class.shift) | u32::from(class.blocks) << 8
                    }),
                }
            }),
            geometry,
            reserved,
            committed,
            units: (body_bytes / UNIT) as u32,
            entries: match cfg.strategy {
                Strategy::Segregated => body_bytes / UNIT,
                Strategy::FirstFit => 0,
            },
        })
    }

    #[inline(always)]
    pub(crate) fn stack(&self) -> Walkable {
        self.stack
    }

    #[inline(always)]
    pub(crate) fn set_stack(&mut self, stack: Walkable) {
        self.stack = stack;
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
            self.entries = self.units as usize;
        }
        let (units, header) = (self.units, self.header_mut());
        header.committed = committed as u64;
        header.body_bytes = u64::from(units) * UNIT as u64;
        old
    }

    #[inline(always)]
    fn base(&self) -> NonNull<u8> {
        // SAFETY: the table of sites follows the header, which is at the base.
        unsafe { self.sites.cast::<u8>().sub(size_of::<Header>()) }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY:
        // 1. `new` wrote a header at `base`, aligned, inside the committed part. `Pool` asks nothing of
        //    a window that is void but what needs no header.
        // 2. It is borrowed through `self`; outside writers touch the atomic epoch only.
        unsafe { self.base().cast::<Header>().as_ref() }
    }

    #[inline(always)]
    pub(crate) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as in `header`, and `self` is borrowed mutably.
        unsafe { self.base().cast::<Header>().as_mut() }
    }

    #[inline(always)]
    pub(crate) fn epoch(&self) -> u16 {
        self.header().stamp.epoch.load(Ordering::Relaxed)
    }

    /// Owner and epoch of the next blocks, as bits of a record.
    #[inline(always)]
    pub(crate) fn stamp(&self) -> u64 {
        let stamp = &raw const self.header().stamp;
        // SAFETY: a word of the header, aligned to 8. It is read whole as the epoch may be written
        // meanwhile, from outside; either epoch is right.
        unsafe { stamp.cast::<u64>().read_volatile() }.to_le()
    }

    /// The header's room, and [`Window::stamp`].
    #[inline(always)]
    pub(crate) fn room_and_stamp(&self) -> (u64, u64) {
        #[cfg(all(target_arch = "aarch64", target_os = "none"))]
        {
            const { assert!(offset_of!(Header, room) + 16 == size_of::<Header>()) };
            const { assert!(offset_of!(Header, stamp) + 8 == size_of::<Header>()) };
            let (room, stamp): (u64, u64);
            // SAFETY:
            // 1. The last two words of the header, which lies before the sites. A window that is void does
            //    not get here, as nothing is kept.
            // 2. As the machine reads them, each of the two is read whole: see `stamp`.
            unsafe {
                core::arch::asm!(
                    "ldp {room}, {stamp}, [{sites}, #-16]",
                    room = lateout(reg) room, stamp = lateout(reg) stamp, sites = in(reg) self.sites.as_ptr(),
                    options(readonly, nostack, preserves_flags),
                );
            }
            (room, stamp)
        }
        #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
        (self.header().room, self.stamp())
    }

    /// Entry of unit `unit`; 0 outside.
    #[inline(always)]
    pub(crate) fn unit(&self, unit: u32) -> u64 {
        self.unit_at(unit as usize)
    }

    /// Entry of unit `unit`; 0 outside.
    #[inline(always)]
    pub(crate) fn unit_at(&self, unit: usize) -> u64 {
        if unit >= self.entries {
            return 0;
        }
        // SAFETY: the unit table has `entries` words, before the body and thus committed; aligned
        // to 8.
        unsafe { self.map.add(unit).read() }
    }

    /// The class of blocks for a size and an alignment of up to 16; `None` for others.
    #[inline(always)]
    pub(crate) fn class_by_layout(&self, layout: Layout) -> Option<usize> {
        let class = classes::class_by_layout(&self.by_size, layout)?;
        // SAFETY: `by_size` holds nothing above 31.
        unsafe { core::hint::assert_unchecked(class < CLASSES) };
        Some(class)
    }

    /// Writes the entry of unit `unit`.
    #[inline(always)]
    pub(crate) fn set_unit(&mut self, unit: u32, entry: u64) {
        if (unit as usize) < self.entries {
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

    /// Bytes that blocks hold now.
    pub(crate) fn allocated(&self) -> u64 {
        if self.is_void() {
            return 0;
        }
        self.header().max_allocated.wrapping_sub(self.header().room)
    }

    /// Account of an owner, bytes in the low half, blocks in the high half. Owners outside
    /// share account 0. `None` if no accounts are kept.
    #[inline(always)]
    fn account_mut<const ACCOUNTS: bool>(&mut self, owner: u16) -> Option<&mut u64> {
        debug_assert!(ACCOUNTS || self.owners == 0);
        if !ACCOUNTS || self.owners == 0 {
            return None;
        }
        let index = if (owner as usize) < self.owners {
            owner as usize
        } else {
            0
        };
        // SAFETY:
        // 1. The accounts table has `owners >= 1` words, before the body and thus committed.
        // 2. It is aligned to 8. It is borrowed through `self`, mutably.
        Some(unsafe { self.accounts.add(index).as_mut() })
    }

    /// Where the hash of a call stack says that its site is.
    #[inline(always)]
    pub(crate) fn site_place(&self, key: u64) -> SitePlace {
        // Addresses of instructions are multiples of 4, which leaves the low two bits without meaning.
        self.place_in_bits(key << (SITE_SHIFT - 2))
    }

    /// The site of a call stack's hash, if it is where the hash says.
    #[inline(always)]
    pub(crate) fn known_site(&self, key: u64) -> Option<SitePlace> {
        let place = self.site_place(key);
        // SAFETY: inside the table, which is committed and aligned; any bits are valid.
        let found = unsafe { (*self.site_at(place).as_ptr()).key } == key;
        found.then_some(place)
    }

    /// Entry of a site; sites outside share the entries inside.
    #[inline(always)]
    pub(crate) fn site_mut(&mut self, site: u16) -> &mut SiteEntry {
        let mut entry = self.site_at(self.place_of(site));
        // SAFETY:
        // 1. The place is inside the table, committed and aligned to 8. It is borrowed through
        //    `self`, mutably.
        // 2. Any bits are a valid `SiteEntry`.
        unsafe { entry.as_mut() }
    }

    #[inline(always)]
    pub(crate) fn place_of(&self, site: u16) -> SitePlace {
        self.place_in_bits(u64::from(site) << SITE_SHIFT)
    }

    /// The place that `bits`, of which those below and above a place's are ignored, name.
    #[inline(always)]
    fn place_in_bits(&self, bits: u64) -> SitePlace {
        SitePlace(bits as usize & self.site_mask)
    }

    #[inline(always)]
    fn site_at(&self, place: SitePlace) -> NonNull<SiteEntry> {
        // SAFETY: a place was masked so that it is inside the table, which lies before the body and thus is
        // committed.
        unsafe { self.sites.byte_add(place.0) }
    }

    /// Adds a block to the accounts.
    pub(crate) fn credit(&mut self, owner: u16, place: SitePlace, size: usize) {
        self.credit_from::<true>(self.header().room, owner, place, size);
    }

    /// Adds a block to the accounts; `room` is the header's, as it is now.
    #[inline(always)]
    pub(crate) fn credit_from<const ACCOUNTS: bool>(
        &mut self,
        room: u64,
        owner: u16,
        place: SitePlace,
        size: usize,
    ) {
        let size = size as u64;
        let mut site = self.site_at(place);
        // SAFETY: a place is inside the table of this window, which is borrowed mutably.
        let site = unsafe { site.as_mut() };
        let (site_room, total) = (site.room.wrapping_add(1), settled(site.total));
        let header = self.header_mut();
        match room.checked_sub(size) {
            Some(left) => header.room = left,
            None => {
                header.max_allocated = header.max_allocated.wrapping_add(size - room);
                header.room = 0;
            }
        }
        if let Some(account) = self.account_mut::<ACCOUNTS>(owner) {
            *account = account.wrapping_add(1 << 32).wrapping_add(size);
        }
        let (mut left, above) = site_room.overflowing_sub(size << 32);
        if above {
            let more = size.wrapping_sub(site_room >> 32) as u32;
            site.peak = site.peak.wrapping_add(more);
            left = site_room & 0xffff_ffff;
        }
        (site.room, site.total) = (left, total.wrapping_add(1));
    }

    /// Takes a block, of which the record is as it was made, off the accounts.
    #[inline(always)]
    pub(crate) fn debit<const ACCOUNTS: bool>(&mut self, record: u64, size: usize) {
        let size = size as u64;
        let header = self.header_mut();
        header.room = header.room.wrapping_add(size);
        if let Some(account) = self.account_mut::<ACCOUNTS>(entry::record_owner(record)) {
            *account = account.wrapping_sub(1 << 32).wrapping_sub(size);
        }
        // Around the site are owner and epoch.
        let mut site = self.site_at(self.place_in_bits(record >> (32 - SITE_SHIFT)));
        // SAFETY: a place is inside the table of this window, which is borrowed mutably.
        let site = unsafe { site.as_mut() };
        site.room = site.room.wrapping_add(size << 32).wrapping_sub(1);
    }

    /// The block of a class that was kept last, if there is any.
    #[inline(always)]
    pub(crate) fn newest_kept(&self, class: usize) -> Option<NewestKept> {
        let hot = self.classes.get(class)?;
        // SAFETY: `top` is above the first place of the stack, so that this is a place of it.
        let (top, kept) = unsafe { (hot.top.sub(1), hot.top.sub(1).read()) };
        settled(kept.block as u64);
        // The first place is empty.
        (kept.record != 0).then_some(NewestKept(class, top, kept))
    }

    /// Takes what [`Window::newest_kept`] just found.
    #[inline(always)]
    pub(crate) fn take_newest(&mut self, newest: NewestKept) -> Kept {
        let NewestKept(class, top, kept) = newest;
        if let Some(hot) = self.classes.get_mut(class) {
            hot.top = top;
        }
        kept
    }

    /// Takes a block of a class that is kept, if there is any.
    pub(crate) fn take_kept(&mut self, class: usize) -> Option<Kept> {
        self.newest_kept(class)
            .map(|newest| self.take_newest(newest))
    }

    /// What is kept of a class, oldest first.
    pub(crate) fn kept(&self, class: usize) -> &[Kept] {
        let Some(hot) = self.classes.get(class) else {
            return &[];
        };
        if class >= SLAB_CLASSES + RUN_CLASSES || self.entries == 0 {
            return &[];
        }
        let first = self.geometry.kept_offset + (first_kept_place(class) + 1) * size_of::<Kept>();
        // SAFETY: the second place of the stack, at which what is kept begins.
        let first = unsafe { self.base().add(first) };
        let n = (hot.top.addr().get() - first.addr().get()) / size_of::<Kept>();
        // SAFETY: so many places are in use up to `top`; the stack is borrowed through `self`.
        unsafe { NonNull::slice_from_raw_parts(first.cast(), n).as_ref() }
    }

    /// Where another block of a class can be kept, if there is room. `RUNS` says whether it is a class of
    /// runs.
    #[inline(always)]
    fn place_to_keep<const RUNS: bool>(class: &mut Class) -> Option<PlaceToKeep<'_>> {
        let places = if RUNS { KEPT_RUNS } else { KEPT_BLOCKS };
        // A stack is aligned to its size, so that only the end of it can be a multiple.
        let is_full = class.top.addr().get() & (places * size_of::<Kept>() - 1) == 0;
        (!is_full).then_some(PlaceToKeep(class))
    }

    /// Where the block of a slot can be kept, if there is room.
    #[inline(always)]
    pub(crate) fn place_for_slot(&mut self, slot: &Slot) -> Option<PlaceToKeep<'_>> {
        let mut class = class_at(NonNull::from_mut(&mut self.classes), slot.class_offset);
        // SAFETY: a place of `classes`, which is borrowed mutably.
        Self::place_to_keep::<false>(unsafe { class.as_mut() })
    }

    /// Where a run of `more` units and one can be kept, if there is room.
    #[inline(always)]
    pub(crate) fn place_for_run(&mut self, more: usize) -> Option<PlaceToKeep<'_>> {
        Self::place_to_keep::<true>(self.classes.get_mut(SLAB_CLASSES + more)?)
    }

    /// Keeps a block of a class of slabs; false if enough are kept.
    #[inline(always)]
    pub(crate) fn keep(&mut self, class: usize, kept: Kept) -> bool {
        let class = self.classes.get_mut(class);
        match class.and_then(Self::place_to_keep::<false>) {
            Some(place) => {
                place.keep(kept);
                true
            }
            None => false,
        }
    }

    /// Writes the record of a kept block, which then is somebody's.
    #[inline(always)]
    pub(crate) fn record_kept(&mut self, kept: Kept, record: u64) -> NonNull<u8> {
        // SAFETY: blocks of slabs lie inside the body with their records, runs inside the body with their
        // records in the unit table.
        unsafe {
            let block = self.body.offset(kept.block as isize);
            let records = self.body.cast::<u64>();
            records.offset(kept.record as isize).write(record);
            block
        }
    }

    /// A run as it is kept.
    #[inline(always)]
    pub(crate) fn kept_run(&self, unit: usize) -> Kept {
        let bytes = self.map.addr().get() as isize - self.body.addr().get() as isize;
        Kept {
            block: (unit * UNIT) as i32,
            record: (bytes / 8 + unit as isize) as i32,
        }
    }

    /// Writes the record of a slot.
    #[inline(always)]
    pub(crate) fn set_slot_record(&mut self, slot: &Slot, record: u64) {
        // SAFETY: `slot_at` made it point to a record, inside a slab.
        unsafe { slot.place.write(record) };
    }

    /// The slot whose block begins at `offset` in the body, in the slab that `part` (the entry
    /// of that unit) is part of.
    #[inline(always)]
    pub(crate) fn slot_at(&self, offset: usize, part: u64) -> Option<Slot> {
        let class_offset = entry::class_offset(part);
        // SAFETY: a place of `classes`, which is borrowed.
        let params = unsafe { class_at(NonNull::from_ref(&self.classes), class_offset).as_ref() };
        // Block 0 ends where the slab ends.
        let distance = entry::left_bytes(part).wrapping_sub((offset % UNIT) as u32);
        // A rotation looks at the low five bits only. The distance is at least 1, and so is this.
        let number = classes::exactly(distance, params.inverse, params.shift_and_blocks);
        if number > params.shift_and_blocks >> 8 {
            return None;
        }
        let unit = (offset / UNIT) as u32 - entry::part(part);
        // `RECORDS` is the one that the number is more than the index.
        let record = (unit * (UNIT / 8) as u32 + number) as i32;
        let block = offset as i32;
        // SAFETY: the entry of a unit says that it is part of a slab, of which the first unit is so many
        // before it. Its records lie inside.
        let place = unsafe { self.body.cast::<u64>().add(record as usize) };
        Some(Slot {
            class: entry::class(part),
            class_offset,
            kept: Kept { block, record },
            place,
            // SAFETY: as above.
            record: unsafe { place.read() },
        })
    }

    /// Frames of a site.
    pub(crate) fn site_frames_mut(&mut self, site: u16) -> &mut [u64] {
        let index = site as usize & (self.geometry.sites - 1);
        let offset = self.geometry.frames_offset + index * self.geometry.depth * 8;
        // SAFETY: the table has `depth` words for each of `sites` sites, is aligned to 8 and lies
        // before the body.
        unsafe {
            let frames = self.base().add(offset).cast();
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
            self.base()
                .add(offset)
                .as_ptr()
                .copy_to_nonoverlapping(out.as_mut_ptr(), out.len());
        }
        true
    }
}
