//! Translation tables of one TA: AArch64 stage 1, EL1&0, 4 KiB granule, 39-bit addresses.
//!
//! **Invariant:** a table exists exactly as long as some prepared page needs it; its pages come
//! from the page allocator with use [`PageUse::TaPageTable`] and go back there. The allocator's
//! note of a last-level table counts the pages prepared in it, that of the others the tables
//! linked in it.
//! **Knows nothing of:** regions and who may have what mapped; TLBs: the caller flushes.
//!
//! Mapping is done in two steps: [`Tables::prepare`] makes the tables for a range and may fail,
//! [`Tables::set`] and [`Tables::fill`] write entries into them and cannot. Source: Arm ARM DDI
//! 0487, D8.3 "Translation table descriptor formats".

use super::pages::{PageError, PageUse};
use super::region::Prot;
use crate::addr::{PhysAddr, PhysPage};
use crate::machine::{SecureMemory, TableMemory};
use crate::mem::Mem;
use crate::owner::OwnerId;
use core::ops::Range;

/// Index in MAIR_EL1 of Device-nGnRnE or nGnRE memory.
pub const ATTR_INDEX_DEVICE: u64 = 0;
/// Index in MAIR_EL1 of normal memory, inner and outer write-back (0xff).
pub const ATTR_INDEX_NORMAL: u64 = 1;

/// Bits of descriptors.
pub mod bits {
    /// The descriptor means something.
    pub const VALID: u64 = 1 << 0;
    /// Levels 1 and 2: a table, not a block. Level 3: a page.
    pub const TABLE_OR_PAGE: u64 = 1 << 1;
    /// Position of the index into MAIR_EL1.
    pub const ATTR_INDEX_SHIFT: u32 = 2;
    /// The output address is in the normal world.
    pub const NON_SECURE: u64 = 1 << 5;
    /// AP[1]: EL0 may access.
    pub const USER: u64 = 1 << 6;
    /// AP[2]: nobody may write.
    pub const READ_ONLY: u64 = 1 << 7;
    /// Inner shareable.
    pub const INNER_SHAREABLE: u64 = 0b11 << 8;
    /// Accessed already: no access flag fault.
    pub const ACCESSED: u64 = 1 << 10;
    /// Belongs to an ASID.
    pub const NOT_GLOBAL: u64 = 1 << 11;
    /// EL1 may not execute.
    pub const PRIVILEGED_EXECUTE_NEVER: u64 = 1 << 53;
    /// EL0 may not execute.
    pub const USER_EXECUTE_NEVER: u64 = 1 << 54;
    /// In a table descriptor: EL1 executes nothing below.
    pub const TABLE_PRIVILEGED_EXECUTE_NEVER: u64 = 1 << 59;
    /// The output address or next table.
    pub const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
}

/// Entries of a table.
const ENTRIES: u32 = 512;

/// A last-level descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Leaf(pub u64);

impl Leaf {
    /// Everything but the output address of a descriptor for a TA's page.
    #[must_use]
    pub const fn attributes(prot: Prot, normal_world: bool) -> u64 {
        let mut value = bits::VALID
            | bits::TABLE_OR_PAGE
            | ATTR_INDEX_NORMAL << bits::ATTR_INDEX_SHIFT
            | bits::USER
            | bits::INNER_SHAREABLE
            | bits::ACCESSED
            | bits::NOT_GLOBAL
            | bits::PRIVILEGED_EXECUTE_NEVER;
        if normal_world {
            value |= bits::NON_SECURE;
        }
        if !prot.contains(Prot::WRITE) {
            value |= bits::READ_ONLY;
        }
        if !prot.contains(Prot::EXECUTE) {
            value |= bits::USER_EXECUTE_NEVER;
        }
        value
    }

    /// The descriptor of a page.
    #[must_use]
    pub const fn page(frame: PhysPage, attributes: u64) -> Self {
        Self(frame.addr().0 & bits::ADDRESS | attributes)
    }

    /// Whether it maps anything.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & bits::VALID != 0
    }

    /// The page it maps.
    #[must_use]
    pub const fn frame(self) -> PhysPage {
        PhysPage::containing(PhysAddr(self.0 & bits::ADDRESS))
    }

    /// Whether that page is the normal world's.
    #[must_use]
    pub const fn is_normal_world(self) -> bool {
        self.0 & bits::NON_SECURE != 0
    }
}

/// Why tables cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// No page for a table.
    OutOfPages,
    /// More tables than the caller allowed.
    Quota,
}

impl From<PageError> for TableError {
    fn from(err: PageError) -> Self {
        match err {
            PageError::OutOfPages
            | PageError::NotManaged
            | PageError::NotInUse
            | PageError::InUse
            | PageError::BadOwner
            | PageError::BadUse
            | PageError::ReservationSpent => Self::OutOfPages,
        }
    }
}

/// The translation tables of an address space. Virtual pages are given by number: the address
/// divided by 4,096, below 2^27.
#[derive(Debug)]
pub struct Tables {
    root: PhysPage,
    owner: OwnerId,
    count: u32,
}

impl Tables {
    /// Empty tables: one page.
    ///
    /// # Errors
    /// [`TableError::OutOfPages`].
    pub fn new<M: TableMemory + SecureMemory>(
        mem: &mut Mem<'_, M>,
        owner: OwnerId,
    ) -> Result<Self, TableError> {
        let root = mem.pages.alloc(PageUse::TaPageTable, owner)?;
        mem.machine.zero_page(root);
        Ok(Self {
            root,
            owner,
            count: 1,
        })
    }

    /// The top table.
    #[must_use]
    pub fn root(&self) -> PhysPage {
        self.root
    }

    /// How many pages the tables take.
    #[must_use]
    pub const fn pages(&self) -> u32 {
        self.count
    }

    /// Makes the tables for `count` pages from `first` on, at most `budget` new ones.
    ///
    /// # Errors
    /// All of [`TableError`]; the tables are as before then.
    pub fn prepare<M: TableMemory + SecureMemory>(
        &mut self,
        mem: &mut Mem<'_, M>,
        first: u32,
        count: u32,
        budget: u32,
    ) -> Result<(), TableError> {
        let limit = self.count.saturating_add(budget);
        for chunk in chunks(first, count) {
            match self.make_last(mem, chunk.start, limit) {
                Ok(table) => {
                    let note = mem.pages.note(table);
                    mem.pages.set_note(table, note + (chunk.end - chunk.start));
                }
                Err(err) => {
                    self.forget(mem, first, chunk.start - first);
                    return Err(err);
                }
            }
        }
        Ok(())
    }

    /// Undoes [`Self::prepare`], handing every mapped page to `each` with its descriptor.
    pub fn release<M: TableMemory>(
        &mut self,
        mem: &mut Mem<'_, M>,
        first: u32,
        count: u32,
        mut each: impl FnMut(&mut Mem<'_, M>, Leaf),
    ) {
        for chunk in chunks(first, count) {
            if let Some(table) = self.last(mem.machine, chunk.start) {
                for index in indices(&chunk) {
                    let leaf = Leaf(mem.machine.read_entry(table, index));
                    if leaf.is_valid() {
                        mem.machine.write_entry(table, index, 0);
                        each(mem, leaf);
                    }
                }
                self.drop_prepared(mem, table, &chunk);
            }
        }
    }

    /// Undoes [`Self::prepare`] where nobody has to hear of the mapped pages. Tables that go away
    /// whole are not looked at.
    pub fn forget<M: TableMemory>(&mut self, mem: &mut Mem<'_, M>, first: u32, count: u32) {
        for chunk in chunks(first, count) {
            if let Some(table) = self.last(mem.machine, chunk.start) {
                if mem.pages.note(table) != chunk.end - chunk.start {
                    for index in indices(&chunk) {
                        mem.machine.write_entry(table, index, 0);
                    }
                }
                self.drop_prepared(mem, table, &chunk);
            }
        }
    }

    /// What a virtual page is mapped to, if it is.
    pub fn get<M: TableMemory>(&self, machine: &M, page: u32) -> Option<Leaf> {
        let table = self.last(machine, page)?;
        let leaf = Leaf(machine.read_entry(table, index(page, 0)));
        leaf.is_valid().then_some(leaf)
    }

    /// Maps a prepared page. False, and nothing done, if it is not prepared.
    pub fn set<M: TableMemory>(&self, machine: &M, page: u32, leaf: Leaf) -> bool {
        let Some(table) = self.last(machine, page) else {
            return false;
        };
        machine.write_entry(table, index(page, 0), leaf.0);
        true
    }

    /// Maps `count` prepared pages from `first` on to what `next` yields. False as soon as it
    /// yields nothing or a page is not prepared; what was mapped until then stays.
    pub fn fill<M: TableMemory>(
        &self,
        machine: &M,
        first: u32,
        count: u32,
        mut next: impl FnMut() -> Option<Leaf>,
    ) -> bool {
        for chunk in chunks(first, count) {
            let Some(table) = self.last(machine, chunk.start) else {
                return false;
            };
            for index in indices(&chunk) {
                let Some(leaf) = next() else { return false };
                machine.write_entry(table, index, leaf.0);
            }
        }
        true
    }

    /// Lets `each` replace the descriptors of the mapped pages of a range.
    pub fn update<M: TableMemory>(
        &self,
        machine: &M,
        first: u32,
        count: u32,
        mut each: impl FnMut(u32, Leaf) -> Leaf,
    ) {
        for chunk in chunks(first, count) {
            let Some(table) = self.last(machine, chunk.start) else {
                continue;
            };
            for page in chunk {
                let leaf = Leaf(machine.read_entry(table, index(page, 0)));
                if leaf.is_valid() {
                    let new = each(page, leaf);
                    if new != leaf {
                        machine.write_entry(table, index(page, 0), new.0);
                    }
                }
            }
        }
    }

    /// How many pages of a range are mapped.
    pub fn mapped<M: TableMemory>(&self, machine: &M, first: u32, count: u32) -> u32 {
        let mut mapped = 0;
        self.update(machine, first, count, |_, leaf| {
            mapped += 1;
            leaf
        });
        mapped
    }

    /// Gives the top table back. Everything prepared was released before, else its tables are
    /// lost.
    pub fn destroy<M>(self, mem: &mut Mem<'_, M>) {
        debug_assert_eq!(self.count, 1, "tables destroyed while in use");
        free_table(mem, self.root);
    }

    /// The last-level table that a page's entry is in.
    fn last<M: TableMemory>(&self, machine: &M, page: u32) -> Option<PhysPage> {
        let middle = next_table(machine, self.root, index(page, 2))?;
        next_table(machine, middle, index(page, 1))
    }

    /// As [`Self::last`], making what is missing while there are fewer than `limit` tables.
    fn make_last<M: TableMemory + SecureMemory>(
        &mut self,
        mem: &mut Mem<'_, M>,
        page: u32,
        limit: u32,
    ) -> Result<PhysPage, TableError> {
        let old_middle = next_table(mem.machine, self.root, index(page, 2));
        let middle = match old_middle {
            Some(middle) => middle,
            None => self.make(mem, self.root, index(page, 2), limit)?,
        };
        if let Some(last) = next_table(mem.machine, middle, index(page, 1)) {
            return Ok(last);
        }
        self.make(mem, middle, index(page, 1), limit)
            .inspect_err(|_| {
                if old_middle.is_none() {
                    self.unlink(mem, self.root, index(page, 2), middle);
                }
            })
    }

    /// Makes a table and links it in `parent`.
    fn make<M: TableMemory + SecureMemory>(
        &mut self,
        mem: &mut Mem<'_, M>,
        parent: PhysPage,
        index: usize,
        limit: u32,
    ) -> Result<PhysPage, TableError> {
        if self.count >= limit {
            return Err(TableError::Quota);
        }
        let table = mem.pages.alloc(PageUse::TaPageTable, self.owner)?;
        mem.machine.zero_page(table);
        let descriptor = table.addr().0
            | bits::VALID
            | bits::TABLE_OR_PAGE
            | bits::TABLE_PRIVILEGED_EXECUTE_NEVER;
        mem.machine.write_entry(parent, index, descriptor);
        let note = mem.pages.note(parent);
        mem.pages.set_note(parent, note + 1);
        self.count += 1;
        Ok(table)
    }

    /// Undoes [`Self::make`]. Returns how many tables are still linked in `parent`.
    fn unlink<M: TableMemory>(
        &mut self,
        mem: &mut Mem<'_, M>,
        parent: PhysPage,
        index: usize,
        table: PhysPage,
    ) -> u32 {
        mem.machine.write_entry(parent, index, 0);
        free_table(mem, table);
        self.count -= 1;
        let left = mem.pages.note(parent).saturating_sub(1);
        mem.pages.set_note(parent, left);
        left
    }

    /// The pages of `chunk`, all in `table`, are no longer prepared.
    fn drop_prepared<M: TableMemory>(
        &mut self,
        mem: &mut Mem<'_, M>,
        table: PhysPage,
        chunk: &Range<u32>,
    ) {
        let left = mem
            .pages
            .note(table)
            .saturating_sub(chunk.end - chunk.start);
        mem.pages.set_note(table, left);
        if left > 0 {
            return;
        }
        let at = index(chunk.start, 2);
        if let Some(middle) = next_table(mem.machine, self.root, at)
            && self.unlink(mem, middle, index(chunk.start, 1), table) == 0
        {
            self.unlink(mem, self.root, at, middle);
        }
    }
}

/// Frees a table; it came from this allocator, so that it is always taken back.
fn free_table<M>(mem: &mut Mem<'_, M>, table: PhysPage) {
    let freed = mem.pages.free(table);
    debug_assert_eq!(freed, Ok(()), "a table that the allocator does not know");
}

/// The table that entry `index` of `table` links, if any.
fn next_table<M: TableMemory>(machine: &M, table: PhysPage, index: usize) -> Option<PhysPage> {
    let entry = Leaf(machine.read_entry(table, index));
    entry.is_valid().then_some(entry.frame())
}

/// Index of a page in its table, `up` levels above the last.
const fn index(page: u32, up: u32) -> usize {
    (page >> (9 * up) & (ENTRIES - 1)) as usize
}

/// Indices in the last-level table of pages that share one.
fn indices(chunk: &Range<u32>) -> Range<usize> {
    let start = index(chunk.start, 0);
    start..start + (chunk.end - chunk.start) as usize
}

/// Splits a range of pages into those that share a last-level table.
fn chunks(first: u32, count: u32) -> impl Iterator<Item = Range<u32>> {
    let end = first + count;
    let mut at = first;
    core::iter::from_fn(move || {
        let start = at;
        at = end.min((start | (ENTRIES - 1)) + 1);
        (start < end).then_some(start..at)
    })
}
