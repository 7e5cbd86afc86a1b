//! Touching a TA's memory: its own faults, and the kernel's reads and writes on its behalf.
//!
//! **Invariant:** the kernel touches only what the TA itself could touch in the same way, through
//! physical addresses, page by page; a range is checked whole before any of it is touched.
//! Reading never populates a page.

use super::pages::PageUse;
use super::region::{Backing, Prot, RegionKind, page_number};
use super::space::{AddressSpace, Target, target};
use super::table::Leaf;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr, UserVa};
use crate::machine::Access;
use crate::mem::{Mem, SpaceMachine};
use crate::stack_pattern;
use core::ops::Range;
use tally_abi::TeeResult;
use zerocopy::IntoBytes;

/// Why a TA's memory cannot be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// Nothing is there.
    NotMapped,
    /// Not in this way.
    Denied,
    /// No page for it. Cannot happen, since pages are promised; an error all the same.
    OutOfMemory,
}

impl From<FaultError> for TeeResult {
    fn from(err: FaultError) -> Self {
        // No `_` arm: a new variant must choose its code.
        match err {
            FaultError::NotMapped | FaultError::Denied => Self::ACCESS_DENIED,
            FaultError::OutOfMemory => Self::OUT_OF_MEMORY,
        }
    }
}

impl AddressSpace {
    /// Answers a translation fault of the TA: populates the page that `va` is in. `Ok`: the TA
    /// may try again. Not for faults of another nature, which would come back for ever.
    ///
    /// # Errors
    /// [`FaultError`]: the TA did something forbidden.
    pub fn fault<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        va: UserVa,
        access: Access,
    ) -> Result<(), FaultError> {
        self.populate(mem, va, access).map(drop)
    }

    /// The physical address of `va`, populated where needed. Valid up to the end of its page and
    /// until it is unmapped.
    ///
    /// # Errors
    /// [`FaultError`].
    pub fn translate<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        va: UserVa,
        access: Access,
    ) -> Result<Target, FaultError> {
        let offset = va.page_offset() as u64;
        Ok(match target(self.populate(mem, va, access)?) {
            Target::Secure(pa) => Target::Secure(PhysAddr(pa.0 + offset)),
            Target::Normal(pa) => Target::Normal(PhysAddr(pa.0 + offset)),
        })
    }

    /// The physical page that `va` is in, if there is one now.
    #[must_use]
    pub fn resident<M: SpaceMachine>(&self, machine: &M, va: UserVa) -> Option<Target> {
        self.tables.get(machine, page_number(va)?).map(target)
    }

    /// Whether the TA could access all of a range in this way. An empty range always can be.
    ///
    /// # Errors
    /// [`FaultError::NotMapped`], [`FaultError::Denied`].
    pub fn check_access(&self, va: UserVa, len: u64, access: Access) -> Result<(), FaultError> {
        let Some(beyond_first) = len.checked_sub(1) else {
            return Ok(());
        };
        let last = va.checked_add(beyond_first).and_then(page_number);
        let (Some(mut page), Some(last)) = (page_number(va), last) else {
            return Err(FaultError::NotMapped);
        };
        let start = self.regions.find(page).ok_or(FaultError::NotMapped)?;
        for region in &self.regions()[start..] {
            if region.first > page || page - region.first >= region.committed {
                return Err(FaultError::NotMapped);
            }
            if !region.prot.allows(access) {
                return Err(FaultError::Denied);
            }
            page = region.first + region.committed;
            if last < page {
                return Ok(());
            }
        }
        Err(FaultError::NotMapped)
    }

    /// Whether no part of a range belongs to a parameter in shared memory or to a pseudo-TA's buffer.
    #[must_use]
    pub fn is_private(&self, va: UserVa, len: u64) -> bool {
        let end = va.0.saturating_add(len);
        self.regions().iter().all(|region| {
            !matches!(region.kind, RegionKind::Param | RegionKind::Buffer)
                || end <= region.va().0
                || region.va().0 + region.bytes() <= va.0
        })
    }

    /// Copies out of the TA's memory. Pages never touched read as zeros and stay so.
    ///
    /// # Errors
    /// [`FaultError::NotMapped`], [`FaultError::Denied`]; `buf` is as before then, unless memory
    /// of the normal world went away.
    pub fn read_user<M: SpaceMachine>(
        &self,
        machine: &M,
        va: UserVa,
        buf: &mut [u8],
    ) -> Result<(), FaultError> {
        self.check_access(va, buf.len() as u64, Access::Read)?;
        for (page, offset, range) in pieces(va, buf.len()) {
            let piece = &mut buf[range];
            match self.tables.get(machine, page).map(target) {
                None => piece.fill(0),
                Some(Target::Secure(pa)) => {
                    machine.read_secure(PhysAddr(pa.0 + offset), piece);
                }
                Some(Target::Normal(pa)) => {
                    if !machine.read_normal(PhysAddr(pa.0 + offset), piece) {
                        return Err(FaultError::NotMapped);
                    }
                }
            }
        }
        Ok(())
    }

    /// Copies into the TA's memory, where the TA could write itself.
    ///
    /// # Errors
    /// [`FaultError`]; nothing is written unless memory of the normal world went away.
    pub fn write_user<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        va: UserVa,
        data: &[u8],
    ) -> Result<(), FaultError> {
        self.check_access(va, data.len() as u64, Access::Write)?;
        for (page, offset, range) in pieces(va, data.len()) {
            let page_va = UserVa(u64::from(page) << PAGE_SHIFT);
            match target(self.populate(mem, page_va, Access::Write)?) {
                Target::Secure(pa) => {
                    mem.machine
                        .write_secure(PhysAddr(pa.0 + offset), &data[range]);
                }
                Target::Normal(pa) => {
                    if !mem
                        .machine
                        .write_normal(PhysAddr(pa.0 + offset), &data[range])
                    {
                        return Err(FaultError::NotMapped);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a TA's memory from outside, while it runs or not. False if not all of it is there.
    /// Touches nothing.
    #[must_use]
    pub fn peek<M: SpaceMachine>(&self, machine: &M, va: UserVa, buf: &mut [u8]) -> bool {
        self.read_user(machine, va, buf).is_ok()
    }

    /// Reads words of one page of the TA's own memory from outside. False, and nothing read, unless
    /// the page is populated.
    #[must_use]
    pub fn peek_words<M: SpaceMachine>(&self, machine: &M, va: UserVa, words: &mut [u64]) -> bool {
        let offset = va.page_offset();
        if offset + size_of_val(words) > PAGE_SIZE {
            return false;
        }
        match page_number(va).and_then(|page| self.tables.get(machine, page)) {
            Some(leaf) if !leaf.is_normal_world() => {
                let pa = PhysAddr(leaf.frame().addr().0 + offset as u64);
                machine.read_secure(pa, words.as_mut_bytes());
                true
            }
            _ => false,
        }
    }

    /// Where a writable page of the TA's own is that is populated, at `va`; good until it is unmapped.
    #[must_use]
    pub fn own_page<M: SpaceMachine>(&self, machine: &M, va: UserVa) -> Option<PhysAddr> {
        let page = page_number(va)?;
        let region = self.regions.get(self.regions.find(page)?);
        if region.backing != Backing::Zero || !region.prot.contains(Prot::WRITE) {
            return None;
        }
        let leaf = self.tables.get(machine, page)?;
        leaf.frame().addr().checked_add(va.page_offset() as u64)
    }

    /// Writes a number into a TA's memory from outside, little-endian. False, and nothing
    /// written, unless it lies in one page of its own that is populated and writable.
    #[must_use]
    pub fn poke<M: SpaceMachine>(&self, machine: &M, va: UserVa, data: &[u8]) -> bool {
        if va.page_offset() + data.len() > PAGE_SIZE {
            return false;
        }
        let Some(pa) = self.own_page(machine, va) else {
            return false;
        };
        machine.write_secure(pa, data);
        true
    }

    /// The descriptor of the page that `va` is in, which is populated if it was not.
    fn populate<M: SpaceMachine>(
        &mut self,
        mem: &mut Mem<'_, M>,
        va: UserVa,
        access: Access,
    ) -> Result<Leaf, FaultError> {
        let page = page_number(va).ok_or(FaultError::NotMapped)?;
        let at = self.regions.find(page).ok_or(FaultError::NotMapped)?;
        let region = *self.regions.get(at);
        if page - region.first >= region.committed {
            return Err(FaultError::NotMapped);
        }
        if !region.prot.allows(access) {
            return Err(FaultError::Denied);
        }
        if let Some(leaf) = self.tables.get(mem.machine, page) {
            return Ok(leaf);
        }
        if region.backing != Backing::Zero {
            return Err(FaultError::NotMapped);
        }
        let frame = mem
            .pages
            .alloc_reserved(&mut self.promised, page_use(region.kind), self.owner)
            .map_err(|_| FaultError::OutOfMemory)?;
        match region.kind {
            RegionKind::Stack => stack_pattern::fill(mem.machine, frame, PAGE_SIZE),
            _ => mem.machine.zero_page(frame),
        }
        if region.prot.contains(Prot::EXECUTE) {
            mem.machine.sync_code(frame);
        }
        let leaf = Leaf::page(frame, Leaf::attributes(region.prot, false));
        let prepared = self.tables.set(mem.machine, page, leaf);
        debug_assert!(prepared, "a committed page without a table");
        self.regions.get_mut(at).resident += 1;
        Ok(leaf)
    }
}

/// What the pages of a region count as.
fn page_use(kind: RegionKind) -> PageUse {
    match kind {
        RegionKind::LdelfCode | RegionKind::LdelfData => PageUse::TaCode,
        RegionKind::Image => PageUse::TaImage,
        RegionKind::Segment | RegionKind::Mapped => PageUse::TaSegment,
        RegionKind::Stack => PageUse::TaStack,
        RegionKind::Heap => PageUse::TaHeap,
        RegionKind::Param => PageUse::TaParam,
        RegionKind::Buffer => PageUse::SecureBuffer,
    }
}

/// Splits a range of addresses, which was checked, at page boundaries: page number, offset in it,
/// and which part of the range that is.
fn pieces(va: UserVa, len: usize) -> impl Iterator<Item = (u32, u64, Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = UserVa(va.0 + done as u64);
        let size = (PAGE_SIZE - at.page_offset()).min(len - done);
        let range = done..done + size;
        done += size;
        Some(((at.0 >> PAGE_SHIFT) as u32, at.page_offset() as u64, range))
    })
}
