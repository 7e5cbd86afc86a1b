//! Mapping much of the normal world's memory, and giving much of any back, in steps between which others have their turn.
//!
//! **Invariant:** as of [`super::space`]. What a step has not mapped yet is not there, nor is what one has given back; the
//! TA does not run before the last one.

use super::region::{Backing, Place, Prot, RegionKind, page_number, page_range};
use super::space::{AddressSpace, SpaceError};
use super::table::Leaf;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr, PhysPage, UserVa};
use crate::mem::{Mem, SpaceMachine};

impl AddressSpace {
    /// Sets addresses aside for a [`RegionKind::Param`] of `pages` pages, and makes their tables. Returns the
    /// address `offset` bytes into the first. Pages are mapped by [`Self::map_next`].
    ///
    /// # Errors
    /// As [`Self::map_normal`].
    pub fn begin_normal<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        pages: u32,
        offset: usize,
        prot: Prot,
        place: Place,
    ) -> Result<UserVa, SpaceError> {
        if offset >= PAGE_SIZE {
            return Err(SpaceError::BadRange);
        }
        if prot.contains(Prot::EXECUTE) {
            return Err(SpaceError::Protection);
        }
        let bytes = u64::from(pages) << PAGE_SHIFT;
        let region = self.plan_for(
            mem,
            RegionKind::Param,
            bytes,
            prot,
            place,
            Backing::Borrowed,
        )?;
        self.prepare(mem, region.first, pages, 0)?;
        self.regions.insert(region);
        self.note_charge();
        Ok(UserVa(region.va().0 + offset as u64))
    }

    /// Maps `count` pages, at the addresses that `frames` yields, behind those that are mapped already of the
    /// parameter at `va`.
    ///
    /// # Errors
    /// [`SpaceError::NotMapped`] if there is none or it has no room for so many;
    /// [`SpaceError::BadMemory`] for addresses that are not aligned or not normal-world RAM. What was
    /// mapped before stays, and goes with [`Self::unmap`].
    pub fn map_next<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        va: UserVa,
        frames: impl IntoIterator<Item = PhysAddr>,
        count: u32,
    ) -> Result<(), SpaceError> {
        let first_page = page_range(va.page_base(), PAGE_SIZE as u64)?;
        let at = self.regions.find_whole(&first_page);
        let region = self.regions.get_mut(at.ok_or(SpaceError::NotMapped)?);
        let fits = region.kind() == RegionKind::Param && count <= region.pages - region.resident;
        if !fits {
            return Err(SpaceError::NotMapped);
        }
        let machine = mem.machine;
        let mut frames = frames.into_iter();
        let attributes = Leaf::attributes(region.prot, true);
        let next = || {
            let pa = frames.next()?;
            let frame = PhysPage::at(pa)?;
            machine
                .is_normal(pa, PAGE_SIZE as u64)
                .then(|| Leaf::page(frame, attributes))
        };
        let first = region.first + region.resident;
        if !self.tables.fill(machine, first, count, next) {
            return Err(SpaceError::BadMemory);
        }
        region.resident += count;
        Ok(())
    }

    /// Unmaps the last pages of the region that begins at `va`, `most` of them at most; of a heap, all that was never
    /// committed goes with them. True once all of it is gone, or if no region begins there.
    pub fn unmap_last<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        va: UserVa,
        most: u32,
    ) -> bool {
        let at = page_number(va).and_then(|page| self.regions.find(page));
        match at.filter(|at| self.regions.get(*at).va() == va) {
            Some(at) => self.cut(mem, at, most).1,
            None => true,
        }
    }

    /// Gives back `most` pages at most, from the last region on. True once no region is left.
    pub fn shrink<M: SpaceMachine>(&mut self, mem: &mut Mem<'_, M>, most: u32) -> bool {
        let mut left = most;
        while let Some(at) = self.regions.last() {
            let (pages, is_gone) = self.cut(mem, at, left);
            left -= pages;
            if !is_gone || left == 0 {
                break;
            }
        }
        self.regions.last().is_none()
    }

    /// Sets the protection of pages of one segment, at most `most` of them behind the `done` ones of earlier calls: how
    /// many it is set of now. Until it is set of all, the region has its old one.
    ///
    /// # Errors
    /// [`SpaceError::Protection`], [`SpaceError::NotMapped`], [`SpaceError::BadRange`],
    /// [`SpaceError::TooManyRegions`], [`SpaceError::OutOfMemory`].
    pub fn protect<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        va: UserVa,
        len: u64,
        prot: Prot,
        (done, most): (u32, u32),
    ) -> Result<u32, SpaceError> {
        let range = page_range(va, len)?;
        let at = self
            .regions
            .find_whole(&range)
            .ok_or(SpaceError::NotMapped)?;
        let prot = prot.union(Prot::READ);
        let old = *self.regions.get(at);
        let all = range.end - range.start;
        if old.prot == prot {
            return Ok(all);
        }
        if prot.is_writable_code()
            || old.prot.contains(Prot::EXECUTE)
            || old.kind != RegionKind::Segment
            || old.backing != Backing::Zero
        {
            return Err(SpaceError::Protection);
        }
        let at = self.isolate(mem.machine, at, range.start, range.end)?;
        let first = range.start + done.min(all);
        let pages = most.min(range.end - first);
        let attributes = Leaf::attributes(prot, false);
        let mut changed = false;
        let machine = mem.machine;
        self.tables.update(machine, first, pages, |_, leaf| {
            changed = true;
            if prot.contains(Prot::EXECUTE) {
                machine.sync_code(leaf.frame());
            }
            Leaf::page(leaf.frame(), attributes)
        });
        if changed {
            self.flush(machine, first, pages);
        }
        if first + pages == range.end {
            self.regions.get_mut(at).prot = prot;
        }
        Ok(first + pages - range.start)
    }

    /// Gives back the last pages of region `at`: how many, and whether it is gone.
    fn cut<M: SpaceMachine>(&mut self, mem: &mut Mem<'_, M>, at: usize, most: u32) -> (u32, bool) {
        let region = *self.regions.get(at);
        let pages = region.committed.min(most);
        let kept = region.committed - pages;
        let freed = self.give_back(mem, &region, region.first + kept, pages);
        self.flush(mem.machine, region.first + kept, pages);
        if kept == 0 {
            self.regions.remove(at);
        } else {
            let region = self.regions.get_mut(at);
            region.pages = kept;
            region.committed = kept;
            region.resident = (region.resident - freed).min(kept);
        }
        (pages, kept == 0)
    }
}
