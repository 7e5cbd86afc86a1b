//! Credits and debits: what each allocation and each release writes besides the block's record.
//!
//! **Invariant:** a place names an entry of the table of sites, whatever bits it was made of.

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
use core::mem::offset_of;
use core::mem::size_of;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::Window;
use crate::entry;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
use crate::layout::Header;
use crate::layout::{SiteEntry, Tracking};

/// Logarithm of a site's size.
pub(super) const SITE_SHIFT: u32 = size_of::<SiteEntry>().trailing_zeros();

const _: () = assert!(size_of::<SiteEntry>() == 1 << SITE_SHIFT);

/// Where a site is: bytes from the start of the table, inside it; and the entry there.
#[derive(Clone, Copy)]
pub(crate) struct SitePlace(usize, NonNull<SiteEntry>);

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

/// A value that was read, in a register from here on: left alone, the compiler reads some later, one by one
/// rather than together with their neighbours.
#[inline(always)]
pub(crate) fn settled(value: u64) -> u64 {
    #[cfg(all(target_arch = "aarch64", target_os = "none"))]
    // SAFETY: no instruction; the value is as it was.
    unsafe {
        core::arch::asm!("/* {} */", in(reg) value, options(nomem, nostack, preserves_flags));
    }
    value
}

/// A pointer, in a register from here on: left alone, the compiler computes it anew where it is used.
#[cfg_attr(
    all(target_arch = "aarch64", target_os = "none"),
    expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "the block has no instruction, so it reads and writes nothing"
    )
)]
#[inline(always)]
fn held(entry: NonNull<SiteEntry>) -> NonNull<SiteEntry> {
    #[cfg(all(target_arch = "aarch64", target_os = "none"))]
    {
        let mut held = entry.as_ptr();
        // SAFETY: no instruction; the pointer is as it was, hence not null.
        unsafe {
            core::arch::asm!(
                "/* {} */", inout(reg) held,
                options(pure, nomem, nostack, preserves_flags),
            );
            NonNull::new_unchecked(held)
        }
    }
    #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
    entry
}

impl Window {
    #[inline(always)]
    pub(crate) fn mark(&self) -> u16 {
        u16::from_be(self.header().stamp.mark.load(Ordering::Relaxed))
    }

    /// Owner and mark of the next blocks, as bits of a record.
    #[inline(always)]
    pub(crate) fn stamp(&self) -> u64 {
        let stamp = &raw const self.header().stamp;
        // SAFETY: a word of the header, aligned to 8. It is read whole as the mark may be written
        // meanwhile, from outside; either mark is right.
        unsafe { stamp.cast::<u64>().read_volatile() }.to_le()
    }

    /// Where the sites are, in a register from here on: read together with the end of the code that lies before
    /// it, this takes no instruction.
    #[inline(always)]
    pub(crate) fn settle_sites(&self) {
        settled(self.sites.as_ptr().expose_provenance() as u64);
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

    /// Bytes that blocks hold now.
    pub(crate) fn allocated(&self) -> u64 {
        if self.is_void() {
            return 0;
        }
        self.header().max_allocated.wrapping_sub(self.header().room)
    }

    /// Accounts of owners, bytes in the low half, blocks in the high half; none if they are not kept.
    pub(crate) fn accounts(&self) -> &[u64] {
        // SAFETY:
        // 1. The accounts table has `owners` words, before the body and thus committed.
        // 2. It is aligned to 8, and nobody writes to it while `self` is borrowed.
        unsafe { core::slice::from_raw_parts(self.accounts.as_ptr(), self.owners) }
    }

    /// One of [`Self::accounts`], to change. Owners outside share account 0. `None` if no accounts are kept.
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

    /// The site of a call stack's hash, if it is where the hash says or next to it.
    #[inline(always)]
    pub(crate) fn known_site(&self, key: u64) -> Option<SitePlace> {
        let place = self.site_place(key);
        if self.site_key(place) == key {
            return Some(place);
        }
        // Of 16 sites in a table of 64 about two are not where they belong.
        core::hint::cold_path();
        let SitePlace(at, entry) =
            self.place_in_bits((place.0 as u64).wrapping_add(1 << SITE_SHIFT));
        let next = SitePlace(at, held(entry));
        (self.site_key(next) == key).then_some(next)
    }

    /// The hash of the call stack whose site is at a place; 0 if none's is.
    #[inline(always)]
    pub(crate) fn site_key(&self, place: SitePlace) -> u64 {
        // SAFETY: inside the table, which is committed and aligned; any bits are valid.
        unsafe { (*self.site_at(place).as_ptr()).key }
    }

    pub(crate) fn tracking(&self) -> Tracking {
        self.geometry.tracking
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
        let at = bits as usize & self.site_mask;
        // SAFETY: masked so that it is inside the table, which lies before the body and thus is committed.
        SitePlace(at, unsafe { self.sites.byte_add(at) })
    }

    #[inline(always)]
    fn site_at(&self, place: SitePlace) -> NonNull<SiteEntry> {
        place.1
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
        self.take_room(room, size);
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

    /// Takes `size` bytes of the header's room, which is `room` now; without so much there is a new maximum.
    #[inline(always)]
    fn take_room(&mut self, room: u64, size: u64) {
        let header = self.header_mut();
        match room.checked_sub(size) {
            Some(left) => header.room = left,
            None => {
                header.max_allocated = header.max_allocated.wrapping_add(size - room);
                header.room = 0;
            }
        }
    }

    /// Adds a block to the pool's figures, which is all that is counted where sites have no counters: the blocks are
    /// counted at site 0, which is nobody's then. `room` is the header's, as it is now.
    #[inline(always)]
    pub(crate) fn credit_lightly(&mut self, room: u64, size: usize) {
        self.take_room(room, size as u64);
        let all = self.all_mut();
        (all.room, all.total) = (all.room.wrapping_add(1), all.total.wrapping_add(1));
    }

    /// Takes a block off the pool's figures.
    #[inline(always)]
    pub(crate) fn debit_lightly(&mut self, size: usize) {
        let header = self.header_mut();
        header.room = header.room.wrapping_add(size as u64);
        let all = self.all_mut();
        all.room = all.room.wrapping_sub(1);
    }

    /// Site 0.
    #[inline(always)]
    fn all_mut(&mut self) -> &mut SiteEntry {
        // SAFETY: the table has at least one entry, before the body and thus committed. It is borrowed through
        // `self`, mutably.
        unsafe { self.sites.as_mut() }
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
        // Around the site are owner and mark.
        const { assert!(SITE_SHIFT == 5) };
        let mut site = self.site_at(self.place_in_bits(entry::site_times_32(record)));
        // SAFETY: a place is inside the table of this window, which is borrowed mutably.
        let site = unsafe { site.as_mut() };
        site.room = site.room.wrapping_add(size << 32).wrapping_sub(1);
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
}
