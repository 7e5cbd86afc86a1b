//! Scan findings of a heap: a code for each block that nothing points to.
//!
//! A code tells which scan found the block first, or that it was cleared. It stands for a place in
//! the heap, and the book knows the number that blocks have carried since the scan
//! ([`crate::leaks::marks::Bits::advance`]): a block there that carries it, or a later one, is another.
//!
//! **Invariant:** a book has pages only where it has codes; a book without codes is not kept.
//! **Knows nothing of:** heaps; locks.

use crate::leaks::bits::GRANULE;
use alloc::vec::Vec;
use tally_ledger::Block;
use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use tally_mem::fallible::{HeapExhausted, vec_with_capacity};
use tally_mem::machine::SecureMemory;
use tally_mem::owner::OwnerId;
use tally_mem::pages::{PageAllocator, PageUse};
use tally_records::LATE_SCAN;

/// What is known of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing.
    Unknown,
    /// It was found, and then cleared.
    Cleared,
    /// It was first found by this scan of the heap, at least 1, at most [`LATE_SCAN`].
    Suspect(u32),
}

impl Finding {
    const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Cleared => 1,
            Self::Suspect(scan) if scan < LATE_SCAN => scan as u8 + 1,
            Self::Suspect(_) => LATE_SCAN as u8 + 1,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Unknown,
            1 => Self::Cleared,
            code => Self::Suspect(code as u32 - 1),
        }
    }
}

/// Scans of one heap.
#[derive(Debug, Default)]
pub struct Scans {
    /// How many there were.
    pub count: u32,
    /// What the last one left.
    pub findings: Option<Findings>,
}

/// The codes, a byte for each granule of the heap.
#[derive(Debug)]
pub struct Findings {
    /// What blocks carry that are younger than the scan.
    mark: u16,
    /// Page numbers; 0: there is no code.
    pages: Vec<u32>,
    findings: u32,
}

impl Findings {
    /// A book without codes for a heap of so many bytes, about blocks older than `mark`.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(bytes: u64, mark: u16) -> Result<Self, HeapExhausted> {
        let count = bytes.div_ceil(GRANULE * PAGE_SIZE as u64) as usize;
        let mut pages = vec_with_capacity(count)?;
        pages.resize(count, 0);
        Ok(Self {
            mark,
            pages,
            findings: 0,
        })
    }

    /// How many blocks it has a code for.
    #[must_use]
    pub const fn findings(&self) -> u32 {
        self.findings
    }

    /// What is known of a block.
    pub fn get(&self, machine: &impl SecureMemory, block: &Block) -> Finding {
        if block.mark >= self.mark {
            return Finding::Unknown;
        }
        let Some((page, offset)) = self.place(block) else {
            return Finding::Unknown;
        };
        let mut code = [0];
        machine.read_secure(PhysAddr(page.addr().0 + offset), &mut code);
        Finding::of(code[0])
    }

    /// Notes a block that has no code yet.
    ///
    /// # Errors
    /// [`HeapExhausted`] when there is no page for it.
    pub fn add(
        &mut self,
        machine: &impl SecureMemory,
        pages: &mut PageAllocator,
        block: &Block,
        finding: Finding,
    ) -> Result<(), HeapExhausted> {
        let (index, _) = split(block);
        let entry = self.pages.get_mut(index).ok_or(HeapExhausted)?;
        if *entry == 0 {
            let page = pages
                .alloc(PageUse::LeakScan, OwnerId::STATS)
                .map_err(|_| HeapExhausted)?;
            machine.zero_page(page);
            *entry = page.number() as u32;
        }
        self.write(machine, block, finding);
        self.findings += 1;
        Ok(())
    }

    /// Hides a block if it is suspect; whether it was.
    pub fn clear(&mut self, machine: &impl SecureMemory, block: &Block) -> bool {
        let suspect = matches!(self.get(machine, block), Finding::Suspect(_));
        if suspect {
            self.write(machine, block, Finding::Cleared);
        }
        suspect
    }

    /// Gives its pages back.
    pub fn destroy(self, pages: &mut PageAllocator) {
        for number in self.pages.into_iter().filter(|number| *number != 0) {
            let page = PhysPage::containing(PhysAddr(u64::from(number) * PAGE_SIZE as u64));
            let freed = pages.free(page);
            debug_assert_eq!(freed, Ok(()), "a page of a book that is nobody's");
        }
    }

    fn write(&self, machine: &impl SecureMemory, block: &Block, finding: Finding) {
        if let Some((page, offset)) = self.place(block) {
            machine.write_secure(PhysAddr(page.addr().0 + offset), &[finding.code()]);
        }
    }

    fn place(&self, block: &Block) -> Option<(PhysPage, u64)> {
        let (index, offset) = split(block);
        match self.pages.get(index) {
            None | Some(0) => None,
            Some(number) => {
                let address = PhysAddr(u64::from(*number) * PAGE_SIZE as u64);
                Some((PhysPage::containing(address), offset))
            }
        }
    }
}

/// Index of the page that a block's code is in, and where in it.
fn split(block: &Block) -> (usize, u64) {
    let granule = block.offset as u64 / GRANULE;
    let codes = PAGE_SIZE as u64;
    ((granule / codes) as usize, granule % codes)
}
