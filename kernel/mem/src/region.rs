//! Regions of an address space: what lies where, and where a new one can go.
//!
//! **Invariant:** regions never overlap; the spans of different placements have an unmapped page
//! between them; only within one span regions touch.

use super::space::SpaceError;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, UserVa};
use crate::machine::Access;
use alloc::vec::Vec;
use bitflags::bitflags;
use core::ops::Range;
use tally_abi::ldelf;

/// Lowest address of a region.
pub const WINDOW_START: UserVa = UserVa(0x10_0000_0000);
/// End of the addresses for regions.
pub const WINDOW_END: UserVa = UserVa(0x70_0000_0000);
/// Most regions of an address space.
pub const MAX_REGIONS: usize = 96;

/// Regions that there is room for from the start.
const INITIAL_REGIONS: usize = 12;
/// Unmapped pages kept around every span.
const GUARD_PAGES: u32 = 1;
/// Spans are kept apart by a random number of pages below this, besides the guard page.
const MAX_GAP_PAGES: u64 = 64;
/// The first span lies in a random place at least this far from the end of the window.
const HEADROOM_PAGES: u64 = 1 << 22;
const FIRST_PAGE: u32 = (WINDOW_START.0 >> PAGE_SHIFT) as u32;
const END_PAGE: u32 = (WINDOW_END.0 >> PAGE_SHIFT) as u32;

bitflags! {
    /// What a TA may do with a page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Prot: u8 {
        /// Load. Always allowed.
        const READ = 1 << 0;
        /// Store.
        const WRITE = 1 << 1;
        /// Fetch instructions.
        const EXECUTE = 1 << 2;
    }
}

impl Prot {
    /// Readable and writable.
    pub const READ_WRITE: Self = Self::READ.union(Self::WRITE);
    /// Readable and executable.
    pub const READ_EXECUTE: Self = Self::READ.union(Self::EXECUTE);

    /// Reads the argument of `ldelf`'s SET_PROT; `None` for flags that are not defined. Writable
    /// and executable together is for [`super::space::AddressSpace::protect`] to refuse.
    #[must_use]
    pub fn from_ldelf(flags: u64) -> Option<Self> {
        if flags & !(ldelf::prot::WRITE | ldelf::prot::EXEC) != 0 {
            return None;
        }
        let mut prot = Self::READ;
        prot.set(Self::WRITE, flags & ldelf::prot::WRITE != 0);
        prot.set(Self::EXECUTE, flags & ldelf::prot::EXEC != 0);
        Some(prot)
    }

    /// Whether an access is allowed.
    #[must_use]
    pub const fn allows(self, access: Access) -> bool {
        self.contains(match access {
            Access::Read => Self::READ,
            Access::Write => Self::WRITE,
            Access::Execute => Self::EXECUTE,
        })
    }

    /// Writable and executable at once.
    #[must_use]
    pub const fn is_writable_code(self) -> bool {
        self.contains(Self::WRITE.union(Self::EXECUTE))
    }
}

/// What a region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RegionKind {
    /// Code of `ldelf`.
    LdelfCode,
    /// Data and stack of `ldelf`.
    LdelfData,
    /// The verified ELF file.
    Image,
    /// A segment of the TA.
    Segment,
    /// The TA's stack.
    Stack,
    /// The TA's heap.
    Heap,
    /// A parameter in shared memory.
    Param,
    /// A buffer that a pseudo-TA mapped.
    Buffer,
    /// What the TA had mapped for itself while it ran.
    Mapped,
}

impl RegionKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::LdelfCode,
        Self::LdelfData,
        Self::Image,
        Self::Segment,
        Self::Stack,
        Self::Heap,
        Self::Param,
        Self::Buffer,
        Self::Mapped,
    ];
}

/// Whose pages a region shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Backing {
    /// Its own, promised when it was mapped and zeroed when first touched.
    Zero,
    /// Somebody else's, secure or not. They outlive the mapping and are not freed with it.
    Borrowed,
    /// As [`Self::Borrowed`], but secure pages that were taken for this address space, whose quota they are on.
    Lent,
}

/// Where a region shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere; `random` decides.
    Anywhere {
        /// Unpredictable.
        random: u64,
        /// Bytes kept free before it, for [`Place::At`].
        pad_before: u64,
        /// Bytes kept free after it, for [`Place::At`].
        pad_after: u64,
    },
    /// At an address within the padding of another region.
    At(UserVa),
}

impl Place {
    /// Anywhere, without padding.
    #[must_use]
    pub const fn random(random: u64) -> Self {
        Self::Anywhere {
            random,
            pad_before: 0,
            pad_after: 0,
        }
    }
}

/// A region. Its pages are adjacent virtual ones with the same protection and backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub(super) first: u32,
    pub(super) pages: u32,
    /// Pages from the start that may be touched: all of them but in a heap.
    pub(super) committed: u32,
    /// Pages that are mapped now.
    pub(super) resident: u32,
    /// The placement it is part of, padding included.
    pub(super) span: Span,
    pub(super) kind: RegionKind,
    pub(super) backing: Backing,
    pub(super) prot: Prot,
}

/// Pages set aside by one placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Region {
    /// Its first address.
    #[must_use]
    pub fn va(&self) -> UserVa {
        UserVa(u64::from(self.first) << PAGE_SHIFT)
    }

    /// Its size in bytes; of a heap, what it may grow to.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) << PAGE_SHIFT
    }

    /// Bytes from the start that may be touched.
    #[must_use]
    pub fn committed_bytes(&self) -> u64 {
        u64::from(self.committed) << PAGE_SHIFT
    }

    /// Bytes that physical pages stand behind now.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        u64::from(self.resident) << PAGE_SHIFT
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> RegionKind {
        self.kind
    }

    /// Whose pages it shows.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// What the TA may do with it.
    #[must_use]
    pub fn prot(&self) -> Prot {
        self.prot
    }

    /// One page past its end.
    pub(super) fn end(&self) -> u32 {
        self.first + self.pages
    }
}

/// The regions of an address space, sorted by address.
#[derive(Debug)]
pub(super) struct Regions {
    list: Vec<Region>,
    /// Where the first span goes.
    base: u32,
}

impl Regions {
    /// None yet. `random` decides where they will be.
    pub(super) fn new(random: u64) -> Result<Self, SpaceError> {
        let mut list = Vec::new();
        list.try_reserve_exact(INITIAL_REGIONS)
            .map_err(|_| SpaceError::OutOfMemory)?;
        let choices = u64::from(END_PAGE - FIRST_PAGE) - HEADROOM_PAGES;
        Ok(Self {
            list,
            base: FIRST_PAGE + (random % choices) as u32,
        })
    }

    pub(super) fn as_slice(&self) -> &[Region] {
        &self.list
    }

    pub(super) fn get(&self, at: usize) -> &Region {
        &self.list[at]
    }

    pub(super) fn get_mut(&mut self, at: usize) -> &mut Region {
        &mut self.list[at]
    }

    /// Makes sure that `more` regions can be added.
    pub(super) fn make_room(&mut self, more: usize) -> Result<(), SpaceError> {
        let wanted = self.list.len() + more;
        if wanted > MAX_REGIONS {
            return Err(SpaceError::TooManyRegions);
        }
        if wanted > self.list.capacity() {
            let target = (self.list.capacity() * 2).clamp(wanted, MAX_REGIONS);
            self.list
                .try_reserve_exact(target - self.list.len())
                .map_err(|_| SpaceError::OutOfMemory)?;
        }
        Ok(())
    }

    /// Adds a region for which [`Self::make_room`] was called. Returns its index.
    pub(super) fn insert(&mut self, region: Region) -> usize {
        let at = self
            .list
            .partition_point(|other| other.first < region.first);
        self.list.insert(at, region);
        at
    }

    pub(super) fn remove(&mut self, at: usize) -> Region {
        self.list.remove(at)
    }

    /// The index of the last one.
    pub(super) fn last(&self) -> Option<usize> {
        self.list.len().checked_sub(1)
    }

    /// The region that a page is in.
    pub(super) fn find(&self, page: u32) -> Option<usize> {
        let at = self
            .list
            .partition_point(|region| region.first <= page)
            .checked_sub(1)?;
        (page < self.list[at].end()).then_some(at)
    }

    /// The region that all of a range is in.
    pub(super) fn find_whole(&self, range: &Range<u32>) -> Option<usize> {
        let at = self.find(range.start)?;
        (range.end <= self.list[at].end()).then_some(at)
    }

    /// Cuts region `at` in two before page `cut`, which is inside of it; `resident` of its pages
    /// before the cut are mapped. There is room for one more.
    pub(super) fn split(&mut self, at: usize, cut: u32, resident: u32) {
        let low = &mut self.list[at];
        let mut high = *low;
        let pages = cut - low.first;
        high.first = cut;
        high.pages = low.pages - pages;
        high.committed = low.committed.saturating_sub(pages);
        high.resident = low.resident - resident;
        low.pages = pages;
        low.committed = low.committed.min(pages);
        low.resident = resident;
        self.list.insert(at + 1, high);
    }

    /// Where a region of `pages` pages can go.
    pub(super) fn place(&self, pages: u32, place: Place) -> Result<(u32, Span), SpaceError> {
        match place {
            Place::Anywhere {
                random,
                pad_before,
                pad_after,
            } => {
                let before = pages_of(pad_before)?;
                let total = pages
                    .checked_add(before)
                    .and_then(|sum| sum.checked_add(pages_of(pad_after).ok()?))
                    .ok_or(SpaceError::NoSpace)?;
                let gap = GUARD_PAGES + (random % MAX_GAP_PAGES) as u32;
                let start = self
                    .hole(self.base, total, gap)
                    .or_else(|| self.hole(FIRST_PAGE, total, GUARD_PAGES))
                    .ok_or(SpaceError::NoSpace)?;
                Ok((
                    start + before,
                    Span {
                        start,
                        end: start + total,
                    },
                ))
            }
            Place::At(va) => {
                let range = page_range(va, u64::from(pages) << PAGE_SHIFT)?;
                let span = self
                    .list
                    .iter()
                    .map(|region| region.span)
                    .find(|span| span.start <= range.start && range.end <= span.end)
                    .ok_or(SpaceError::NoSpace)?;
                let overlaps =
                    |region: &Region| region.first < range.end && range.start < region.end();
                if self.list.iter().any(overlaps) {
                    return Err(SpaceError::Overlap);
                }
                Ok((range.start, span))
            }
        }
    }

    /// The first place from `from` on for a span of `total` pages, at least `gap` pages after the
    /// one before it and a guard page before the next.
    fn hole(&self, from: u32, total: u32, gap: u32) -> Option<u32> {
        let mut at = from;
        for span in self.list.iter().map(|region| region.span) {
            if at.checked_add(total)?.checked_add(GUARD_PAGES)? <= span.start {
                break;
            }
            if at < span.end + GUARD_PAGES {
                at = span.end + gap;
            }
        }
        (at.checked_add(total)? <= END_PAGE).then_some(at)
    }
}

/// How many pages hold `bytes`, if an address space can.
pub(super) fn pages_of(bytes: u64) -> Result<u32, SpaceError> {
    let pages = bytes.div_ceil(PAGE_SIZE as u64);
    if pages <= u64::from(END_PAGE - FIRST_PAGE) {
        Ok(pages as u32)
    } else {
        Err(SpaceError::NoSpace)
    }
}

/// The pages of an aligned, not empty range in the window.
pub(super) fn page_range(va: UserVa, len: u64) -> Result<Range<u32>, SpaceError> {
    let end = va.checked_add(len).ok_or(SpaceError::BadRange)?;
    let aligned = va.is_aligned(PAGE_SIZE as u64) && end.is_aligned(PAGE_SIZE as u64);
    if !aligned || len == 0 || va < WINDOW_START || end > WINDOW_END {
        return Err(SpaceError::BadRange);
    }
    Ok((va.0 >> PAGE_SHIFT) as u32..(end.0 >> PAGE_SHIFT) as u32)
}

/// The number of the page that an address is in, if that can be mapped.
pub(super) fn page_number(va: UserVa) -> Option<u32> {
    (WINDOW_START <= va && va < WINDOW_END).then_some((va.0 >> PAGE_SHIFT) as u32)
}
