//! The address space of one TA.
//!
//! **Invariant:** nothing is mapped outside of a region, nor with more rights than its region has;
//! no page is writable and executable; tables for every committed page exist, and a page is
//! promised for every committed page of its own, so that touching one never fails for want of
//! memory. Whatever fails leaves everything as it was.
//!
//! An [`AddressSpace`] has to be given back with [`AddressSpace::destroy`]: it cannot free its
//! pages by itself, since it does not hold the allocator.

use super::pages::{PageError, PageUse, Reservation};
use super::quota::Quota;
use super::region::{
    Backing, MAX_REGIONS, Place, Prot, Region, RegionKind, Regions, page_range, pages_of,
};
use super::table::{Leaf, TableError, Tables};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr, PhysPage, UserVa};
use crate::machine::{TableMemory, Tlb, UserRoot};
use crate::mem::{Mem, SpaceMachine};
use crate::owner::OwnerId;
use crate::refused::{RefusedPages, Short};
use tally_abi::TeeResult;

/// Up to this many pages are flushed one by one, more of them with their whole address space.
const MAX_SINGLE_FLUSHES: u32 = 8;

/// A physical address with the world it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// In secure RAM.
    Secure(PhysAddr),
    /// In the normal world's RAM.
    Normal(PhysAddr),
}

/// Why an operation on an address space fails. Nothing changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceError {
    /// No secure pages, or no kernel heap.
    OutOfMemory,
    /// More pages than this address space may have.
    QuotaExceeded,
    /// Too many regions.
    TooManyRegions,
    /// No room, or the place asked for is not in the padding of a region.
    NoSpace,
    /// Something is at the place asked for.
    Overlap,
    /// The range is not within one region.
    NotMapped,
    /// Not page-aligned, empty, wrapping, or out of the window for regions.
    BadRange,
    /// The memory to borrow is not what it should be: normal-world RAM, or secure pages in use.
    BadMemory,
    /// The protection is not allowed here: writable and executable, a change of executable pages,
    /// or of pages that are not the TA's own segments.
    Protection,
    /// There is a heap already, there is none, or it would outgrow its region.
    Heap,
}

impl From<SpaceError> for TeeResult {
    fn from(err: SpaceError) -> Self {
        // No `_` arm: a new variant must choose its code.
        match err {
            SpaceError::OutOfMemory
            | SpaceError::QuotaExceeded
            | SpaceError::TooManyRegions
            | SpaceError::NoSpace
            | SpaceError::Heap => Self::OUT_OF_MEMORY,
            SpaceError::Overlap => Self::ACCESS_CONFLICT,
            SpaceError::NotMapped | SpaceError::BadRange => Self::BAD_PARAMETERS,
            SpaceError::BadMemory | SpaceError::Protection => Self::SECURITY,
        }
    }
}

impl From<PageError> for SpaceError {
    fn from(err: PageError) -> Self {
        match err {
            PageError::OutOfPages | PageError::BadOwner => Self::OutOfMemory,
            PageError::NotManaged
            | PageError::NotInUse
            | PageError::InUse
            | PageError::BadUse
            | PageError::ReservationSpent => Self::BadMemory,
        }
    }
}

impl From<TableError> for SpaceError {
    fn from(err: TableError) -> Self {
        match err {
            TableError::OutOfPages => Self::OutOfMemory,
            TableError::Quota => Self::QuotaExceeded,
        }
    }
}

/// Bytes of one kind of region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindFigures {
    /// Mapped or reserved addresses.
    pub virtual_bytes: u64,
    /// Of these, with a page behind them now.
    pub resident_bytes: u64,
}

/// What an address space takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceFigures {
    /// By kind, in the order of [`RegionKind::ALL`].
    pub kinds: [KindFigures; RegionKind::ALL.len()],
    /// Pages of translation tables.
    pub table_pages: u32,
    /// Pages of its own that are populated.
    pub own_pages: u32,
    /// Pages promised to it and not populated yet.
    pub promised_pages: u32,
    /// Pages it is charged for: the sum of the three above, without what was lent to it and with what it has lent.
    pub charged_pages: u32,
    /// Most pages it may be charged for.
    pub limit_pages: u32,
}

/// The TA's heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapRange {
    /// Its start.
    pub va: UserVa,
    /// Bytes that may be touched.
    pub committed: u64,
    /// Bytes it may grow to.
    pub max: u64,
}

/// The address space of one TA.
#[derive(Debug)]
#[must_use]
pub struct AddressSpace {
    pub(super) tables: Tables,
    pub(super) regions: Regions,
    pub(super) promised: Reservation,
    /// Pages of regions with [`Backing::Zero`], populated or promised, and of those with [`Backing::Lent`].
    pub(super) own_pages: u32,
    /// Those of them that another address space is charged for: what it lent for one call.
    pub(super) borrowed_pages: u32,
    /// Pages of others that it is charged for.
    pub(super) lent_pages: u32,
    pub(super) limit_pages: u32,
    /// What of that others leave to it.
    pub(super) ceiling: u32,
    /// Most pages that it was charged for, since the last reset.
    pub(super) charged_max: u32,
    pub(super) asid: u16,
    pub(super) owner: OwnerId,
}

impl AddressSpace {
    /// An empty address space that is charged to `owner`, within a quota. `asid` is 1..=255 and nobody else's; `random` decides where its regions go.
    ///
    /// # Errors
    /// [`SpaceError::OutOfMemory`], [`SpaceError::QuotaExceeded`].
    pub fn new<M: SpaceMachine>(
        mem: &mut Mem<'_, M>,
        asid: u16,
        owner: OwnerId,
        quota: Quota,
        random: u64,
    ) -> Result<Self, SpaceError> {
        quota.check_first(mem, owner)?;
        let regions = Regions::new(random)?;
        let tables = Tables::new(mem, owner)?;
        let promised = Reservation::EMPTY;
        Ok(Self {
            tables,
            regions,
            promised,
            own_pages: 0,
            borrowed_pages: 0,
            lent_pages: 0,
            limit_pages: quota.pages,
            ceiling: quota.left(),
            charged_max: 1,
            asid,
            owner,
        })
    }

    /// Frees everything; what is long was given back by [`Self::shrink`] before.
    pub fn destroy<M: SpaceMachine>(mut self, mem: &mut Mem<'_, M>) {
        while !self.shrink(mem, u32::MAX) {}
        debug_assert_eq!(self.own_pages, 0, "pages charged to no region");
        debug_assert_eq!(
            self.promised,
            Reservation::EMPTY,
            "pages promised to no region"
        );
        // The freed pages are nobody's yet: whoever wants them waits for our caller's lock.
        mem.machine.flush_asid(self.asid);
        self.tables.destroy(mem);
    }

    /// Maps zeroed memory of its own. The pages are promised now and taken when touched. Those of a
    /// [`RegionKind::Param`] are charged to who lent them ([`Self::lend`]).
    ///
    /// # Errors
    /// [`SpaceError::OutOfMemory`], [`SpaceError::QuotaExceeded`], [`SpaceError::TooManyRegions`],
    /// [`SpaceError::NoSpace`], [`SpaceError::Overlap`], [`SpaceError::BadRange`],
    /// [`SpaceError::Protection`].
    pub fn map_zero<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        kind: RegionKind,
        bytes: u64,
        prot: Prot,
        place: Place,
    ) -> Result<UserVa, SpaceError> {
        let region = self.plan_for(mem, kind, bytes, prot, place, Backing::Zero)?;
        let charged = if is_lent_for_a_call(&region) {
            0
        } else {
            region.pages
        };
        self.commit(mem, region.first, region.pages, charged)?;
        self.regions.insert(region);
        Ok(region.va())
    }

    /// Maps secure pages of somebody else's, who keeps them in use as long as they are mapped
    /// (and calls [`crate::machine::SecureMemory::sync_code`] for code).
    ///
    /// # Errors
    /// As [`Self::map_zero`]; [`SpaceError::BadMemory`] for pages that are free or not managed, or
    /// if `frames` yields fewer than `pages`.
    pub fn map_borrowed<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        kind: RegionKind,
        frames: impl IntoIterator<Item = PhysPage>,
        pages: u32,
        prot: Prot,
        place: Place,
    ) -> Result<UserVa, SpaceError> {
        self.map_targets(mem, kind, secure(frames), pages, prot, place)
    }

    /// As [`Self::map_borrowed`], readable and writable, of pages that were taken for it: they are on its quota.
    ///
    /// # Errors
    /// As there; [`SpaceError::QuotaExceeded`].
    pub fn map_lent<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        kind: RegionKind,
        frames: impl IntoIterator<Item = PhysPage>,
        pages: u32,
        place: Place,
    ) -> Result<UserVa, SpaceError> {
        self.check_quota(mem, pages)?;
        let bytes = u64::from(pages) << PAGE_SHIFT;
        let region = self.plan_for(mem, kind, bytes, Prot::READ_WRITE, place, Backing::Lent)?;
        self.map_region(mem, region, secure(frames))
    }

    /// Maps normal-world memory as a [`RegionKind::Param`]: `pages` pages at the page-aligned
    /// addresses that `frames` yields. Returns the address `offset` bytes into the first.
    ///
    /// # Errors
    /// As [`Self::map_borrowed`]; [`SpaceError::BadMemory`] for addresses that are not aligned or
    /// not normal-world RAM, [`SpaceError::Protection`] for executable memory.
    pub fn map_normal<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        frames: impl IntoIterator<Item = PhysAddr>,
        pages: u32,
        offset: usize,
        prot: Prot,
        place: Place,
    ) -> Result<UserVa, SpaceError> {
        if offset >= PAGE_SIZE {
            return Err(SpaceError::BadRange);
        }
        let targets = frames.into_iter().map(Target::Normal);
        let va = self.map_targets(mem, RegionKind::Param, targets, pages, prot, place)?;
        Ok(UserVa(va.0 + offset as u64))
    }

    /// Maps pages of somebody else's, of either world; see [`Self::map_borrowed`] and
    /// [`Self::map_normal`]. For parameters that a TA passes on.
    ///
    /// # Errors
    /// As these two.
    pub fn map_targets<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        kind: RegionKind,
        targets: impl IntoIterator<Item = Target>,
        pages: u32,
        prot: Prot,
        place: Place,
    ) -> Result<UserVa, SpaceError> {
        let bytes = u64::from(pages) << PAGE_SHIFT;
        let region = self.plan_for(mem, kind, bytes, prot, place, Backing::Borrowed)?;
        self.map_region(mem, region, targets)
    }

    fn map_region<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        mut region: Region,
        targets: impl IntoIterator<Item = Target>,
    ) -> Result<UserVa, SpaceError> {
        let (pages, prot) = (region.pages, region.prot);
        let charged = match region.backing {
            Backing::Lent => pages,
            Backing::Zero | Backing::Borrowed => 0,
        };
        self.prepare(mem, region.first, pages, charged)?;

        let machine = mem.machine;
        let allocator = &*mem.pages;
        let secure = Leaf::attributes(prot, false);
        let normal = Leaf::attributes(prot, true);
        let executable = prot.contains(Prot::EXECUTE);
        let mut refusal = SpaceError::BadMemory;
        let mut targets = targets.into_iter();
        let next = || match targets.next()? {
            Target::Secure(pa) => {
                let frame = PhysPage::at(pa)?;
                let in_use = allocator.record(frame)?.usage() != PageUse::Free;
                in_use.then(|| Leaf::page(frame, secure))
            }
            Target::Normal(_) if executable => {
                refusal = SpaceError::Protection;
                None
            }
            Target::Normal(pa) => {
                let frame = PhysPage::at(pa)?;
                machine
                    .is_normal(pa, PAGE_SIZE as u64)
                    .then(|| Leaf::page(frame, normal))
            }
        };
        if !self.tables.fill(machine, region.first, pages, next) {
            self.tables.forget(mem, region.first, pages);
            self.flush(mem.machine, region.first, pages);
            return Err(refusal);
        }
        region.resident = pages;
        self.own_pages += charged;
        self.regions.insert(region);
        self.note_charge();
        Ok(region.va())
    }

    /// Sets addresses aside for a heap of up to `max_bytes`. There is one heap; it starts empty.
    ///
    /// # Errors
    /// [`SpaceError::Heap`], [`SpaceError::TooManyRegions`], [`SpaceError::NoSpace`],
    /// [`SpaceError::OutOfMemory`], [`SpaceError::BadRange`].
    pub fn heap_reserve<M>(
        &mut self,
        mem: &mut Mem<'_, M>,
        max_bytes: u64,
        random: u64,
    ) -> Result<UserVa, SpaceError> {
        if self.heap_index().is_some() {
            return Err(SpaceError::Heap);
        }
        let place = Place::random(random);
        let mut region = self.plan_for(
            mem,
            RegionKind::Heap,
            max_bytes,
            Prot::READ_WRITE,
            place,
            Backing::Zero,
        )?;
        region.committed = 0;
        self.regions.insert(region);
        Ok(region.va())
    }

    /// Lets the TA touch `bytes` more of its heap, rounded up to pages. Returns how much it may
    /// touch now.
    ///
    /// # Errors
    /// [`SpaceError::Heap`], [`SpaceError::QuotaExceeded`], [`SpaceError::OutOfMemory`].
    pub fn heap_grow<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        bytes: u64,
    ) -> Result<u64, SpaceError> {
        let at = self.heap_index().ok_or(SpaceError::Heap)?;
        let heap = *self.regions.get(at);
        let more = pages_of(bytes)?;
        if more > heap.pages - heap.committed {
            return Err(SpaceError::Heap);
        }
        self.commit(mem, heap.first + heap.committed, more, more)?;
        let heap = self.regions.get_mut(at);
        heap.committed += more;
        Ok(heap.committed_bytes())
    }

    /// Where the heap is, if there is one.
    #[must_use]
    pub fn heap(&self) -> Option<HeapRange> {
        let heap = self.regions.get(self.heap_index()?);
        Some(HeapRange {
            va: heap.va(),
            committed: heap.committed_bytes(),
            max: heap.bytes(),
        })
    }

    /// Unmaps pages of one region (of a heap: all of it). What a caller may unmap by itself is for
    /// the system call to check ([`Self::region_at`]).
    ///
    /// # Errors
    /// [`SpaceError::NotMapped`], [`SpaceError::BadRange`], [`SpaceError::TooManyRegions`],
    /// [`SpaceError::OutOfMemory`].
    pub fn unmap<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        va: UserVa,
        len: u64,
    ) -> Result<(), SpaceError> {
        let range = page_range(va, len)?;
        let at = self
            .regions
            .find_whole(&range)
            .ok_or(SpaceError::NotMapped)?;
        let whole = *self.regions.get(at);
        let is_all = range.start == whole.first && range.end == whole.end();
        if whole.kind == RegionKind::Heap && !is_all {
            return Err(SpaceError::NotMapped);
        }
        let at = self.isolate(mem.machine, at, range.start, range.end)?;
        let region = self.regions.remove(at);
        self.give_back(mem, &region, region.first, region.committed);
        self.flush(mem.machine, range.start, range.end - range.start);
        Ok(())
    }

    /// The region that an address is in.
    #[must_use]
    pub fn region_at(&self, va: UserVa) -> Option<&Region> {
        let page = super::region::page_number(va)?;
        Some(self.regions.get(self.regions.find(page)?))
    }

    /// All regions, sorted by address.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        self.regions.as_slice()
    }

    /// Where the first page of a region is, if it is resident. For a status report.
    pub fn first_page<M: TableMemory>(&self, machine: &M, region: &Region) -> Option<Target> {
        self.tables.get(machine, region.first).map(target)
    }

    /// What a CPU needs to run in it.
    #[must_use]
    pub fn root(&self) -> UserRoot {
        UserRoot {
            table: self.tables.root(),
            asid: self.asid,
        }
    }

    /// Whom it is charged to.
    #[must_use]
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// As [`Self::plan`]; that there are too many regions is noted.
    pub(super) fn plan_for<M>(
        &mut self,
        mem: &mut Mem<'_, M>,
        kind: RegionKind,
        bytes: u64,
        prot: Prot,
        place: Place,
        backing: Backing,
    ) -> Result<Region, SpaceError> {
        let planned = self.plan(kind, bytes, prot, place, backing);
        if planned == Err(SpaceError::TooManyRegions) {
            mem.pages.note_refused(RefusedPages {
                short: Short::Regions,
                owner: self.owner,
                wanted: 1,
                used: self.regions().len() as u32,
                size: MAX_REGIONS as u32,
                left: 0,
            });
        }
        planned
    }

    /// A region that can be inserted once its memory is there.
    fn plan(
        &mut self,
        kind: RegionKind,
        bytes: u64,
        prot: Prot,
        place: Place,
        backing: Backing,
    ) -> Result<Region, SpaceError> {
        let prot = prot.union(Prot::READ);
        if prot.is_writable_code() {
            return Err(SpaceError::Protection);
        }
        if bytes == 0 {
            return Err(SpaceError::BadRange);
        }
        let pages = pages_of(bytes)?;
        let (first, span) = self.regions.place(pages, place)?;
        self.regions.make_room(1)?;
        Ok(Region {
            first,
            pages,
            committed: pages,
            resident: 0,
            span,
            kind,
            backing,
            prot,
        })
    }

    /// Promises and makes tables for pages of its own, so many of which it is charged for.
    fn commit<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        first: u32,
        pages: u32,
        charged: u32,
    ) -> Result<(), SpaceError> {
        self.check_quota(mem, charged)?;
        let promise = mem.pages.reserve(pages, self.owner)?;
        if let Err(err) = self.prepare(mem, first, pages, charged) {
            mem.pages.unreserve(promise);
            return Err(err);
        }
        self.promised.merge(promise);
        self.own_pages += pages;
        self.borrowed_pages += pages - charged;
        self.note_charge();
        Ok(())
    }

    /// Makes tables, given that `new_own` pages will be charged besides.
    pub(super) fn prepare<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        first: u32,
        pages: u32,
        new_own: u32,
    ) -> Result<(), SpaceError> {
        let budget = self.left().saturating_sub(new_own);
        let prepared = self.tables.prepare(mem, first, pages, budget);
        if prepared == Err(TableError::Quota) {
            mem.pages.note_refused(self.over_quota(new_own + 1));
        }
        Ok(prepared?)
    }

    /// Undoes [`Self::commit`] or [`Self::map_targets`] for pages of `region`. The caller flushes. How many pages were
    /// freed.
    pub(super) fn give_back<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        region: &Region,
        first: u32,
        pages: u32,
    ) -> u32 {
        match region.backing {
            Backing::Borrowed => {
                self.tables.forget(mem, first, pages);
                0
            }
            Backing::Lent => {
                self.tables.forget(mem, first, pages);
                self.own_pages -= pages;
                0
            }
            Backing::Zero => {
                let mut freed = 0;
                self.tables.release(mem, first, pages, |mem, leaf| {
                    let result = mem.pages.free(leaf.frame());
                    debug_assert_eq!(result, Ok(()), "a page that the allocator does not know");
                    freed += 1;
                });
                let unused = self.promised.split(pages - freed);
                mem.pages.unreserve(unused);
                self.own_pages -= pages;
                if is_lent_for_a_call(region) {
                    self.borrowed_pages -= pages;
                }
                freed
            }
        }
    }

    /// Makes the pages `start..end`, which region `at` contains, a region of their own. Returns
    /// its index.
    pub(super) fn isolate<M: SpaceMachine>(
        &mut self,
        machine: &M,
        at: usize,
        start: u32,
        end: u32,
    ) -> Result<usize, SpaceError> {
        let region = *self.regions.get(at);
        let cut_low = region.first < start;
        let cut_high = end < region.end();
        self.regions
            .make_room(usize::from(cut_low) + usize::from(cut_high))?;
        if cut_high {
            let resident = self
                .tables
                .mapped(machine, region.first, end - region.first);
            self.regions.split(at, end, resident);
        }
        if cut_low {
            let resident = self
                .tables
                .mapped(machine, region.first, start - region.first);
            self.regions.split(at, start, resident);
        }
        Ok(at + usize::from(cut_low))
    }

    /// Forgets cached translations of a range.
    pub(super) fn flush<M: Tlb>(&self, machine: &M, first: u32, pages: u32) {
        if pages > MAX_SINGLE_FLUSHES {
            machine.flush_asid(self.asid);
        } else {
            for page in first..first + pages {
                machine.flush_page(self.asid, u64::from(page) << PAGE_SHIFT);
            }
        }
    }

    fn heap_index(&self) -> Option<usize> {
        self.regions()
            .iter()
            .position(|region| region.kind == RegionKind::Heap)
    }
}

/// Pages of secure RAM as what is mapped.
fn secure(frames: impl IntoIterator<Item = PhysPage>) -> impl Iterator<Item = Target> {
    frames.into_iter().map(|frame| Target::Secure(frame.addr()))
}

/// What a descriptor points to.
pub(super) fn target(leaf: Leaf) -> Target {
    if leaf.is_normal_world() {
        Target::Normal(leaf.frame().addr())
    } else {
        Target::Secure(leaf.frame().addr())
    }
}

/// Whether another is charged for its pages.
fn is_lent_for_a_call(region: &Region) -> bool {
    region.kind == RegionKind::Param && region.backing == Backing::Zero
}
