//! The page allocator: who has which page of secure RAM, and for what.
//!
//! **Invariant:** every page of the range is free or has exactly one use and one owner; the counts
//! over all uses, free pages included, add up to the range; free pages never number fewer than the
//! promised ones.
//! **Knows nothing of:** what lies in a page (it never touches one); locks, translation tables.

mod report;

use crate::addr::{PAGE_SIZE, PhysPage};
use crate::injection::Injection;
use crate::owner::OwnerId;
use crate::refused::{RefusedPages, Short};
use core::mem;
use core::ops::Range;

/// How many owners have an account.
pub const OWNERS: usize = 256;

macro_rules! page_uses {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// What a page is used for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PageUse {
            $($(#[$doc])* $name,)*
        }

        impl PageUse {
            /// All uses, in the order of a report.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Name for people, at most 31 bytes.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

page_uses! {
    /// Nobody's.
    Free = "free",
    /// The firmware's, below the kernel.
    Firmware = "firmware",
    /// Kernel code.
    KernelText = "kernel text",
    /// Kernel constants.
    KernelRodata = "kernel rodata",
    /// Kernel variables.
    KernelData = "kernel data",
    /// Table of named call sites in the kernel image.
    KernelSites = "kernel sites",
    /// `ldelf` as embedded in the kernel image.
    LdelfImage = "ldelf image",
    /// Records of this allocator.
    PageRecords = "page records",
    /// Stacks of kernel threads and CPUs.
    KernelStack = "kernel stacks",
    /// Translation tables of the kernel.
    KernelPageTable = "kernel page tables",
    /// Kernel heap.
    KernelHeap = "kernel heap",
    /// Translation tables of TAs.
    TaPageTable = "TA page tables",
    /// Code and data of `ldelf` in a TA.
    TaCode = "TA loader",
    /// A TA's signed image as fetched.
    TaImage = "TA image buffers",
    /// Segments of a TA.
    TaSegment = "TA segments",
    /// Stack of a TA.
    TaStack = "TA stacks",
    /// Heap of a TA.
    TaHeap = "TA heaps",
    /// Secure memory passed between TAs.
    TaParam = "TA parameters",
    /// What scans for leaks found, and their marks.
    LeakScan = "leak scans",
    /// Buffers that pseudo-TAs map into TAs.
    SecureBuffer = "secure buffers",
    /// Snapshots of the account.
    Snapshot = "snapshots",
}

const USES: usize = PageUse::ALL.len();
/// End of the free list.
const NIL: u32 = u32::MAX;

/// What the allocator knows of one page, 8 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PageRecord {
    /// Free page: index of the next in the free list. Page in use: a number of its user's.
    link: u32,
    owner: OwnerId,
    usage: PageUse,
    /// Claimed rather than allocated: not part of the pool that figures describe.
    claimed: bool,
}

const _: () = assert!(size_of::<PageRecord>() == 8);

impl PageRecord {
    /// A record that was not handed to an allocator yet.
    pub const FREE: Self = Self {
        link: NIL,
        owner: OwnerId::KERNEL,
        usage: PageUse::Free,
        claimed: false,
    };

    /// What the page is used for.
    #[must_use]
    pub const fn usage(&self) -> PageUse {
        self.usage
    }

    /// Whose it is; meaningless for a free page.
    #[must_use]
    pub const fn owner(&self) -> OwnerId {
        self.owner
    }
}

/// Why the page allocator refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// Too few pages that are neither used nor promised.
    OutOfPages,
    /// The page does not lie in the range.
    NotManaged,
    /// The page is free: freed twice, or never allocated.
    NotInUse,
    /// The page is not free.
    InUse,
    /// The owner has no account (its number is not below [`OWNERS`]).
    BadOwner,
    /// [`PageUse::Free`] is no use.
    BadUse,
    /// The reservation promises fewer pages.
    ReservationSpent,
}

/// What of the bookkeeping does not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inconsistency {
    /// The free list is circular, leaves the range or holds a page in use.
    FreeList,
    /// Free pages are not all reachable.
    LostPage,
    /// Counts by use differ from the records.
    UseCounts,
    /// Counts by owner differ from the records.
    OwnerCounts,
    /// More pages promised than free.
    Promises,
}

/// A promise of pages: they are free still, but nobody else gets them.
///
/// Goes back with [`PageAllocator::unreserve`]; dropped otherwise, the promise stays forever.
#[must_use]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    pages: u32,
}

impl Reservation {
    /// Promises nothing.
    pub const EMPTY: Self = Self { pages: 0 };

    /// Pages promised.
    #[must_use]
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Adds another reservation to this one.
    pub fn merge(&mut self, other: Self) {
        self.pages += other.pages;
    }

    /// Takes up to `pages` out into a reservation of their own.
    pub fn split(&mut self, pages: u32) -> Self {
        let pages = pages.min(self.pages);
        self.pages -= pages;
        Self { pages }
    }
}

/// Figures of the pool of pages, in bytes. Pages claimed at boot are not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Size of the pool.
    pub size: u64,
    /// Allocated or promised now.
    pub allocated: u64,
    /// Of these, promised but not populated.
    pub promised: u64,
    /// Most ever allocated or promised since the last reset.
    pub max_allocated: u64,
    /// Requests refused since the last reset.
    pub failures: u32,
    /// Size of the biggest one refused.
    pub biggest_failure: u64,
    /// Allocated or promised when that happened.
    pub biggest_failure_used: u64,
    /// Sum of the squares of the sizes of runs of adjacent free pages.
    pub free2_sum: u64,
    /// The longest of these runs, or all that can be had if that is less.
    pub largest_free: u64,
    /// Pages ever allocated.
    pub gets: u64,
    /// Pages ever freed.
    pub releases: u64,
}

/// Hands out the pages of one physical range.
#[derive(Debug)]
pub struct PageAllocator {
    records: &'static mut [PageRecord],
    base: PhysPage,
    /// First of the free list, which holds free pages below `fresh` only.
    head: u32,
    /// Pages from here on were never allocated, so no list had to be built of them.
    fresh: u32,
    promised: u32,
    claimed: u32,
    by_use: [u32; USES],
    by_owner: [u32; OWNERS],
    max_pages: u32,
    failures: u32,
    biggest_failure_pages: u32,
    biggest_failure_used_pages: u32,
    gets: u64,
    releases: u64,
    /// The last request that was refused, until somebody asks.
    refused: Option<RefusedPages>,
    /// Something is to be told of.
    refusing: bool,
    injection: Injection,
}

impl PageAllocator {
    /// An allocator of the pages from `base` on, one for each record. All of them are free.
    #[must_use]
    pub fn new(base: PhysPage, records: &'static mut [PageRecord]) -> Self {
        // A record more than `u32` can count is left out rather than mistaken for another.
        let count = records.len().min(NIL as usize - 1);
        let records = &mut records[..count];
        records.fill(PageRecord::FREE);
        let mut by_use = [0; USES];
        by_use[PageUse::Free as usize] = records.len() as u32;
        Self {
            records,
            base,
            head: NIL,
            fresh: 0,
            promised: 0,
            claimed: 0,
            by_use,
            by_owner: [0; OWNERS],
            max_pages: 0,
            failures: 0,
            biggest_failure_pages: 0,
            biggest_failure_used_pages: 0,
            gets: 0,
            releases: 0,
            refused: None,
            refusing: false,
            injection: Injection::NONE,
        }
    }

    /// Allocates a page, whose contents are whatever was there. O(1).
    ///
    /// # Errors
    /// [`PageError::OutOfPages`], [`PageError::BadOwner`], [`PageError::BadUse`].
    pub fn alloc(&mut self, usage: PageUse, owner: OwnerId) -> Result<PhysPage, PageError> {
        Self::check_tag(usage, owner)?;
        if self.refuses(1) {
            return Err(self.refuse(1, self.available(), owner));
        }
        let page = self.take(usage, owner)?;
        self.note_maximum();
        Ok(page)
    }

    /// Allocates `count` adjacent pages, the lowest that there are, and returns the first.
    /// Searches all records.
    ///
    /// # Errors
    /// As [`Self::alloc`].
    pub fn alloc_adjacent(
        &mut self,
        count: u32,
        usage: PageUse,
        owner: OwnerId,
    ) -> Result<PhysPage, PageError> {
        Self::check_tag(usage, owner)?;
        let run = if count == 0 || self.refuses(count) {
            None
        } else {
            self.free_runs().find(|run| run.end - run.start >= count)
        };
        let Some(run) = run else {
            return Err(self.refuse(count, self.longest_run(), owner));
        };
        self.take_run(run.start..run.start + count, usage, owner, false);
        self.gets += u64::from(count);
        self.note_maximum();
        Ok(self.base.offset(u64::from(run.start)))
    }

    /// Promises `pages` pages to `owner`.
    ///
    /// # Errors
    /// [`PageError::OutOfPages`].
    pub fn reserve(&mut self, pages: u32, owner: OwnerId) -> Result<Reservation, PageError> {
        if pages == 0 {
            return Ok(Reservation::EMPTY);
        }
        if self.refuses(pages) {
            return Err(self.refuse(pages, self.available(), owner));
        }
        self.promised += pages;
        self.note_maximum();
        Ok(Reservation { pages })
    }

    /// Takes a promise back.
    pub fn unreserve(&mut self, reservation: Reservation) {
        self.promised -= reservation.pages;
    }

    /// Allocates one of the pages that were promised. O(1).
    ///
    /// # Errors
    /// [`PageError::ReservationSpent`], [`PageError::BadOwner`], [`PageError::BadUse`]; never for
    /// want of a page.
    pub fn alloc_reserved(
        &mut self,
        reservation: &mut Reservation,
        usage: PageUse,
        owner: OwnerId,
    ) -> Result<PhysPage, PageError> {
        Self::check_tag(usage, owner)?;
        if reservation.pages == 0 {
            return Err(PageError::ReservationSpent);
        }
        let page = self.take(usage, owner)?;
        reservation.pages -= 1;
        self.promised -= 1;
        Ok(page)
    }

    /// Frees a page. O(1).
    ///
    /// # Errors
    /// [`PageError::NotManaged`], [`PageError::NotInUse`]; nothing changed then.
    pub fn free(&mut self, page: PhysPage) -> Result<(), PageError> {
        let index = self.index_of(page)?;
        let record = &mut self.records[index];
        if record.usage == PageUse::Free {
            return Err(PageError::NotInUse);
        }
        self.by_use[record.usage as usize] -= 1;
        self.by_owner[usize::from(record.owner.0)] -= 1;
        self.claimed -= u32::from(record.claimed);
        *record = PageRecord {
            link: NIL,
            ..PageRecord::FREE
        };
        if index < self.fresh as usize {
            record.link = self.head;
            self.head = index as u32;
        }
        self.by_use[PageUse::Free as usize] += 1;
        self.releases += 1;
        Ok(())
    }

    /// Takes free pages for what lies there since boot. They do not count as allocated.
    ///
    /// # Errors
    /// [`PageError::NotManaged`], [`PageError::InUse`], [`PageError::OutOfPages`] if they are
    /// promised, [`PageError::BadOwner`], [`PageError::BadUse`]; nothing changed then.
    pub fn claim(
        &mut self,
        range: Range<PhysPage>,
        usage: PageUse,
        owner: OwnerId,
    ) -> Result<(), PageError> {
        Self::check_tag(usage, owner)?;
        let count = range.end.number().saturating_sub(range.start.number());
        if count == 0 {
            return Ok(());
        }
        let start = self.index_of(range.start)? as u32;
        let end = self.index_of(range.start.offset(count - 1))? as u32 + 1;
        if self.records[start as usize..end as usize]
            .iter()
            .any(|r| r.usage != PageUse::Free)
        {
            return Err(PageError::InUse);
        }
        if end - start > self.available() {
            return Err(PageError::OutOfPages);
        }
        self.take_run(start..end, usage, owner, true);
        self.claimed += end - start;
        Ok(())
    }

    /// Gives a page in use another use and owner.
    ///
    /// # Errors
    /// [`PageError::NotManaged`], [`PageError::NotInUse`], [`PageError::BadOwner`],
    /// [`PageError::BadUse`].
    pub fn retag(
        &mut self,
        page: PhysPage,
        usage: PageUse,
        owner: OwnerId,
    ) -> Result<(), PageError> {
        Self::check_tag(usage, owner)?;
        let index = self.index_of(page)?;
        let record = &mut self.records[index];
        if record.usage == PageUse::Free {
            return Err(PageError::NotInUse);
        }
        self.by_use[record.usage as usize] -= 1;
        self.by_owner[usize::from(record.owner.0)] -= 1;
        record.usage = usage;
        record.owner = owner;
        self.by_use[usage as usize] += 1;
        self.by_owner[usize::from(owner.0)] += 1;
        Ok(())
    }

    /// What is known of a page, or `None` outside of the range.
    #[must_use]
    pub fn record(&self, page: PhysPage) -> Option<&PageRecord> {
        self.records.get(self.index_of(page).ok()?)
    }

    /// The number that the user of a page keeps with it; 0 after allocation.
    #[must_use]
    pub(crate) fn note(&self, page: PhysPage) -> u32 {
        self.record(page).map_or(0, |record| record.link)
    }

    /// Sets the number that the user of a page keeps with it. Free pages keep none.
    pub(crate) fn set_note(&mut self, page: PhysPage, note: u32) {
        if let Ok(index) = self.index_of(page)
            && self.records[index].usage != PageUse::Free
        {
            self.records[index].link = note;
        }
    }

    fn check_tag(usage: PageUse, owner: OwnerId) -> Result<(), PageError> {
        if usage == PageUse::Free {
            return Err(PageError::BadUse);
        }
        if usize::from(owner.0) >= OWNERS {
            return Err(PageError::BadOwner);
        }
        Ok(())
    }

    /// Pages allocated or promised.
    fn committed(&self) -> u32 {
        self.total_pages() - self.claimed - self.available()
    }

    /// Whether a request for `pages` must be refused.
    fn refuses(&mut self, pages: u32) -> bool {
        self.injection.refuses() || pages > self.available()
    }

    /// Notes a refusal, of which `left` pages could have been had.
    #[cold]
    fn refuse(&mut self, wanted: u32, left: u32, owner: OwnerId) -> PageError {
        self.note_refused(RefusedPages {
            short: Short::SecureRam,
            owner,
            wanted,
            used: self.committed(),
            size: self.total_pages() - self.claimed,
            left,
        });
        PageError::OutOfPages
    }

    /// Notes a refusal until [`Self::settle_refused`] or [`Self::withdraw_refused`].
    pub(crate) fn note_refused(&mut self, refused: RefusedPages) {
        self.refused = Some(refused);
        self.refusing = true;
    }

    /// Whether there is a refusal, of pages or of what its user has raised, to be settled.
    #[must_use]
    #[inline(always)]
    pub const fn is_refusing(&self) -> bool {
        self.refusing
    }

    /// Has [`Self::is_refusing`] say so until it is settled.
    pub const fn raise(&mut self) {
        self.refusing = true;
    }

    /// The last refusal since this was last asked: whoever wanted the pages is told that there are none, and it
    /// counts.
    pub fn settle_refused(&mut self) -> Option<RefusedPages> {
        self.refusing = false;
        let refused = self.refused.take()?;
        if refused.short == Short::SecureRam {
            self.failures = self.failures.saturating_add(1);
            if refused.wanted > self.biggest_failure_pages {
                self.biggest_failure_pages = refused.wanted;
                self.biggest_failure_used_pages = refused.used;
            }
        }
        Some(refused)
    }

    /// As [`Self::settle_refused`], of an attempt that something else follows: it does not count.
    pub const fn withdraw_refused(&mut self) -> Option<RefusedPages> {
        self.refusing = false;
        self.refused.take()
    }

    fn note_maximum(&mut self) {
        self.max_pages = self.max_pages.max(self.committed());
    }

    /// Takes any free page.
    fn take(&mut self, usage: PageUse, owner: OwnerId) -> Result<PhysPage, PageError> {
        let index = if self.head != NIL {
            let index = self.head as usize;
            self.head = self.records[index].link;
            index
        } else {
            // Claimed pages are skipped here once and never again.
            let fresh = self.records.get(self.fresh as usize..).unwrap_or(&[]);
            let skip = fresh
                .iter()
                .position(|record| record.usage == PageUse::Free);
            let index = self.fresh as usize + skip.ok_or(PageError::OutOfPages)?;
            self.fresh = index as u32 + 1;
            index
        };
        self.records[index] = PageRecord {
            link: 0,
            owner,
            usage,
            claimed: false,
        };
        self.by_use[PageUse::Free as usize] -= 1;
        self.by_use[usage as usize] += 1;
        self.by_owner[usize::from(owner.0)] += 1;
        self.gets += 1;
        Ok(self.base.offset(index as u64))
    }

    /// Takes particular pages, which are free.
    fn take_run(&mut self, run: Range<u32>, usage: PageUse, owner: OwnerId, claimed: bool) {
        if run.start < self.fresh {
            self.unlink(&run);
        }
        let count = run.end - run.start;
        self.records[run.start as usize..run.end as usize].fill(PageRecord {
            link: 0,
            owner,
            usage,
            claimed,
        });
        self.by_use[PageUse::Free as usize] -= count;
        self.by_use[usage as usize] += count;
        self.by_owner[usize::from(owner.0)] += count;
    }

    /// Takes the pages of `run` out of the free list. As long as the list.
    fn unlink(&mut self, run: &Range<u32>) {
        let mut previous = NIL;
        let mut at = self.head;
        while at != NIL {
            let next = self.records[at as usize].link;
            if run.contains(&at) {
                if previous == NIL {
                    self.head = next;
                } else {
                    self.records[previous as usize].link = next;
                }
            } else {
                previous = at;
            }
            at = next;
        }
    }

    /// Runs of adjacent free pages, from the lowest.
    fn free_runs(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut at = 0;
        core::iter::from_fn(move || {
            let is_free = |record: &PageRecord| record.usage == PageUse::Free;
            let start = at + self.records.get(at..)?.iter().position(is_free)?;
            let length = self.records[start..]
                .iter()
                .position(|record| !is_free(record));
            at = length.map_or(self.records.len(), |length| start + length);
            Some(start as u32..at as u32)
        })
    }

    fn index_of(&self, page: PhysPage) -> Result<usize, PageError> {
        let index = page
            .number()
            .checked_sub(self.base.number())
            .ok_or(PageError::NotManaged)? as usize;
        if index < self.records.len() {
            Ok(index)
        } else {
            Err(PageError::NotManaged)
        }
    }
}

fn bytes(pages: u32) -> u64 {
    u64::from(pages) * PAGE_SIZE as u64
}

/// Host tests get the records from a shelf and put them back, so that none leak.
#[cfg(any(test, feature = "testing"))]
impl Drop for PageAllocator {
    fn drop(&mut self) {
        crate::testing::shelve_records(core::mem::take(&mut self.records));
    }
}
