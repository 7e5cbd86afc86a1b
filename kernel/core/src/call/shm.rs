//! Shared memory: what the normal world registered or lends for one call.
//!
//! **Invariant:** every page of an object lay in normal-world RAM when it was taken in; an object
//! in use is never removed; the page list is read once.

use crate::refused::{RefusedEntry, SharedTable};
use alloc::vec::Vec;
use core::ptr;
use tally_abi::msg::PAGE_LIST_ENTRIES;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use tally_mem::fallible::{HeapExhausted, Table};
use tally_mem::machine::{NormalMemory, ThreadControl};
use zerocopy::IntoBytes;
/// Bytes of physical addresses at most (Arm ARM, 48 bits without FEAT_LPA): nothing is larger.
const ADDRESSES: u64 = 1 << 48;

/// Most pages of one object: 64 MiB.
pub const MAX_PAGES: u64 = 16384;
/// Most runs of pages of all objects that are taken in, with the room for more: 96 KiB of the kernel heap, half of it.
const MAX_RUNS: usize = 6144;

/// Pages taken in or mapped in a step: some 20,000 instructions at most, and of four parameters four times as many.
const STEP_PAGES: u64 = 256;
/// Bytes of a step.
pub const STEP_BYTES: u64 = STEP_PAGES * PAGE_SIZE as u64;

/// Whether so many bytes are too many for one step.
#[must_use]
pub const fn is_large(bytes: u64) -> bool {
    bytes > STEP_BYTES
}

/// Entries of a page list copied at a time: little, since kernel stacks are small.
const LIST_CHUNK: usize = 64;
/// Bytes of an entry of a page list.
const ENTRY_BYTES: u64 = size_of::<u64>() as u64;

/// Pages that lie one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: PhysPage,
    count: u32,
}

/// Why shared memory is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShmError {
    /// An address is not normal-world RAM, not aligned, or wraps.
    BadAddress,
    /// So many pages, more than [`MAX_PAGES`].
    TooBig(u64),
    /// More than [`MAX_RUNS`] runs of pages.
    Scattered {
        /// Its own.
        runs: usize,
        /// Those of all others.
        used: usize,
    },
    /// No slot: there are so many objects.
    Full(usize),
    /// The cookie is taken.
    CookieTaken,
    /// No object has this cookie.
    NotFound,
    /// The object is used by a call.
    InUse,
    /// The range does not lie in the object.
    OutOfRange,
    /// No memory for the bookkeeping.
    Exhausted,
}

impl From<HeapExhausted> for ShmError {
    fn from(_: HeapExhausted) -> Self {
        Self::Exhausted
    }
}

impl ShmError {
    /// What is to be told of it; nothing if the heap tells it, or nothing was short.
    #[must_use]
    #[cold]
    pub fn refusal(self) -> Option<RefusedEntry> {
        let (table, wanted, used, size) = match self {
            Self::TooBig(pages) => (SharedTable::SharedPages, pages, 0, MAX_PAGES as usize),
            Self::Scattered { runs, used } => (SharedTable::PageRuns, runs as u64, used, MAX_RUNS),
            Self::Full(all) => (SharedTable::SharedMemory, 1, all, all),
            Self::BadAddress
            | Self::CookieTaken
            | Self::NotFound
            | Self::InUse
            | Self::OutOfRange
            | Self::Exhausted => return None,
        };
        Some(RefusedEntry {
            table,
            asker: TeeUuid::nil(),
            wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
            used: used as u32,
            size: size as u32,
            holder: TeeUuid::nil(),
            held: used as u32,
        })
    }
}

impl From<ShmError> for TeeResult {
    fn from(err: ShmError) -> Self {
        match err {
            ShmError::BadAddress
            | ShmError::CookieTaken
            | ShmError::NotFound
            | ShmError::OutOfRange => Self::BAD_PARAMETERS,
            ShmError::InUse => Self::BUSY,
            ShmError::TooBig(_)
            | ShmError::Scattered { .. }
            | ShmError::Full(_)
            | ShmError::Exhausted => Self::OUT_OF_MEMORY,
        }
    }
}

/// An object: a list of pages and the bytes of it that are meant.
#[derive(Debug)]
pub struct Shm {
    runs: Vec<Run>,
    /// Offset of the first byte in the first page.
    offset: usize,
    /// Bytes.
    size: u64,
    /// Named by this cookie; `None` lives for one call.
    cookie: Option<u64>,
    /// Milliseconds of uptime when it was registered.
    since_ms: u64,
    uses: u32,
}

/// What is known of a registered object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its slot in the table.
    pub slot: usize,
    /// What the normal world calls it.
    pub cookie: u64,
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds of uptime when it was registered.
    pub since_ms: u64,
    /// Uses of it by the calls that are under way.
    pub uses: u32,
}

impl Shm {
    /// Takes in physically contiguous memory.
    ///
    /// # Errors
    /// [`ShmError::BadAddress`], [`ShmError::TooBig`], [`ShmError::Exhausted`].
    pub fn contiguous(
        memory: &impl NormalMemory,
        pa: PhysAddr,
        size: u64,
        cookie: Option<u64>,
    ) -> Result<Self, ShmError> {
        let offset = pa.page_offset();
        let pages = page_count(offset, size)?;
        let first = PhysPage::containing(pa);
        if !memory.is_normal(first.addr(), pages * PAGE_SIZE as u64) {
            return Err(ShmError::BadAddress);
        }
        let mut runs = Vec::new();
        if pages > 0 {
            let count = u32::try_from(pages).map_err(|_| ShmError::TooBig(pages))?;
            runs.try_reserve_exact(1).map_err(|_| ShmError::Exhausted)?;
            runs.push(Run { first, count });
        }
        Ok(Self {
            runs,
            offset,
            size,
            cookie,
            since_ms: 0,
            uses: 0,
        })
    }

    /// As [`Self::from_page_list`], with interrupts let through if there are many. Nothing is locked.
    ///
    /// # Errors
    /// As [`Self::from_page_list`].
    pub fn take_in_list(
        machine: &(impl NormalMemory + ThreadControl),
        list: PhysAddr,
        size: u64,
        cookie: Option<u64>,
    ) -> Result<Self, ShmError> {
        let take_in = || Self::from_page_list(machine, list, size, cookie);
        if is_large(size) {
            machine.interruptible(take_in)
        } else {
            take_in()
        }
    }

    /// Takes in the pages of a list at `list` (`OPTEE_MSG_ATTR_NONCONTIG`): the offset in the
    /// first page is the offset of `list` in its own.
    ///
    /// # Errors
    /// [`ShmError::BadAddress`], [`ShmError::TooBig`], [`ShmError::Exhausted`].
    pub fn from_page_list(
        memory: &impl NormalMemory,
        list: PhysAddr,
        size: u64,
        cookie: Option<u64>,
    ) -> Result<Self, ShmError> {
        let offset = list.page_offset();
        let mut left = page_count(offset, size)?;
        let mut runs: Vec<Run> = Vec::new();
        let mut expected = PhysPage::containing(list);
        let mut list_page = list.page_base();
        while left > 0 {
            let in_page = left.min(PAGE_LIST_ENTRIES as u64) as usize;
            let mut at = 0;
            while at < in_page {
                // Every entry is copied once; only the copy is looked at.
                let mut entries = [0_u64; LIST_CHUNK];
                let entries = &mut entries[..(in_page - at).min(LIST_CHUNK)];
                let pa = PhysAddr(list_page.0 + at as u64 * ENTRY_BYTES);
                if !memory.read_normal(pa, entries.as_mut_bytes()) {
                    return Err(ShmError::BadAddress);
                }
                for &entry in &*entries {
                    let page = PhysPage::at(PhysAddr(entry)).ok_or(ShmError::BadAddress)?;
                    match runs.last_mut() {
                        Some(run) if expected == page => run.count += 1,
                        _ => begin_run(&mut runs, page)?,
                    }
                    expected = page.offset(1);
                }
                at += entries.len();
            }
            left -= in_page as u64;
            if left > 0 {
                let mut next = 0_u64;
                let pa = PhysAddr(list_page.0 + PAGE_LIST_ENTRIES as u64 * ENTRY_BYTES);
                if !memory.read_normal(pa, next.as_mut_bytes())
                    || !next.is_multiple_of(PAGE_SIZE as u64)
                {
                    return Err(ShmError::BadAddress);
                }
                list_page = PhysAddr(next);
            }
        }
        let all_normal = runs
            .iter()
            .all(|run| memory.is_normal(run.first.addr(), u64::from(run.count) * PAGE_SIZE as u64));
        if !all_normal {
            return Err(ShmError::BadAddress);
        }
        Ok(Self {
            runs,
            offset,
            size,
            cookie,
            since_ms: 0,
            uses: 0,
        })
    }

    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Offset of the first byte in the first page.
    #[must_use]
    pub const fn first_offset(&self) -> usize {
        self.offset
    }

    /// The pages that hold bytes `offset..offset + len` (which must lie in the object).
    pub fn pages(&self, offset: u64, len: u64) -> impl Iterator<Item = PhysAddr> + '_ {
        let begin = (self.offset as u64 + offset) / PAGE_SIZE as u64;
        let end = (self.offset as u64 + offset + len).div_ceil(PAGE_SIZE as u64);
        let mut skip = begin;
        let mut left = if len == 0 { 0 } else { end - begin };
        self.runs.iter().flat_map(move |run| {
            let count = u64::from(run.count);
            let from = skip.min(count);
            skip -= from;
            let take = left.min(count - from);
            left -= take;
            (from..from + take).map(move |i| run.first.offset(i).addr())
        })
    }

    /// Physical address of byte `offset` and how many bytes follow it without a break.
    fn locate(&self, offset: u64) -> Option<(PhysAddr, u64)> {
        let mut at = self.offset as u64 + offset;
        for run in &self.runs {
            let bytes = u64::from(run.count) * PAGE_SIZE as u64;
            if at < bytes {
                return Some((PhysAddr(run.first.addr().0 + at), bytes - at));
            }
            at -= bytes;
        }
        None
    }

    /// Physical address of byte `offset` if `len` bytes from there lie one after another.
    #[must_use]
    pub fn contiguous_at(&self, offset: u64, len: u64) -> Option<PhysAddr> {
        self.check(offset, len).ok()?;
        let (pa, room) = self.locate(offset)?;
        (room >= len).then_some(pa)
    }

    /// Copies bytes out, each read once.
    ///
    /// # Errors
    /// [`ShmError::OutOfRange`], [`ShmError::BadAddress`].
    pub fn read(
        &self,
        memory: &impl NormalMemory,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), ShmError> {
        self.check(offset, buf.len() as u64)?;
        let mut done = 0;
        while done < buf.len() {
            let (pa, room) = self
                .locate(offset + done as u64)
                .ok_or(ShmError::OutOfRange)?;
            let n = room.min((buf.len() - done) as u64) as usize;
            if !memory.read_normal(pa, &mut buf[done..done + n]) {
                return Err(ShmError::BadAddress);
            }
            done += n;
        }
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// [`ShmError::OutOfRange`], [`ShmError::BadAddress`].
    pub fn write(
        &self,
        memory: &impl NormalMemory,
        offset: u64,
        data: &[u8],
    ) -> Result<(), ShmError> {
        self.check(offset, data.len() as u64)?;
        let mut done = 0;
        while done < data.len() {
            let (pa, room) = self
                .locate(offset + done as u64)
                .ok_or(ShmError::OutOfRange)?;
            let n = room.min((data.len() - done) as u64) as usize;
            if !memory.write_normal(pa, &data[done..done + n]) {
                return Err(ShmError::BadAddress);
            }
            done += n;
        }
        Ok(())
    }

    /// Confirms that `offset..offset + len` lies in the object.
    ///
    /// # Errors
    /// [`ShmError::OutOfRange`].
    pub fn check(&self, offset: u64, len: u64) -> Result<(), ShmError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(ShmError::OutOfRange),
        }
    }
}

impl Shm {
    /// Whether the block of the kernel heap at this address is part of the object.
    fn has_block(&self, address: u64) -> bool {
        let blocks = [ptr::from_ref(self).addr(), self.runs.as_ptr().addr()];
        blocks.contains(&(address as usize))
    }
}

/// Begins another run of pages.
fn begin_run(runs: &mut Vec<Run>, first: PhysPage) -> Result<(), ShmError> {
    if runs.len() == MAX_RUNS {
        return Err(ShmError::Scattered {
            runs: MAX_RUNS + 1,
            used: 0,
        });
    }
    if runs.len() == runs.capacity() {
        // A quarter more: what is not needed then stays taken as long as the object.
        let more = (runs.len() / 4).max(4).min(MAX_RUNS - runs.len());
        let grown = runs.try_reserve_exact(more);
        grown.map_err(|_| ShmError::Exhausted)?;
    }
    runs.push(Run { first, count: 1 });
    Ok(())
}

fn page_count(offset: usize, size: u64) -> Result<u64, ShmError> {
    if size > ADDRESSES {
        return Err(ShmError::BadAddress);
    }
    let pages = match size {
        0 => 0,
        _ => (offset as u64 + size).div_ceil(PAGE_SIZE as u64),
    };
    if pages > MAX_PAGES {
        Err(ShmError::TooBig(pages))
    } else {
        Ok(pages)
    }
}

/// All objects of a guest.
#[derive(Debug, Default)]
pub struct ShmTable {
    objects: Table<Shm>,
    /// Runs of all of them.
    runs: usize,
}

/// Names an object that a call uses. Must be given back with [`ShmTable::put`].
#[derive(Debug, PartialEq, Eq)]
pub struct ShmRef(usize);

impl ShmTable {
    /// A table with room for `capacity` objects.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(capacity: usize) -> Result<Self, HeapExhausted> {
        Ok(Self {
            objects: Table::new(capacity)?,
            runs: 0,
        })
    }

    fn find(&self, cookie: u64) -> Option<usize> {
        self.objects
            .iter()
            .find(|(_, shm)| shm.cookie == Some(cookie))
            .map(|(index, _)| index)
    }

    /// Registers an object that has a cookie, at this time of uptime.
    ///
    /// # Errors
    /// [`ShmError::CookieTaken`], [`ShmError::Scattered`], [`ShmError::Full`], [`ShmError::Exhausted`].
    pub fn register(&mut self, mut shm: Shm, now_ms: u64) -> Result<(), ShmError> {
        if shm.cookie.is_some_and(|cookie| self.find(cookie).is_some()) {
            return Err(ShmError::CookieTaken);
        }
        shm.since_ms = now_ms;
        self.insert(shm).map(drop)
    }

    fn insert(&mut self, shm: Shm) -> Result<usize, ShmError> {
        let runs = self.runs + shm.runs.capacity();
        if runs > MAX_RUNS {
            return Err(ShmError::Scattered {
                runs: shm.runs.capacity(),
                used: self.runs,
            });
        }
        if self.objects.is_full() {
            return Err(ShmError::Full(self.len()));
        }
        let at = self.objects.insert(shm)?;
        self.runs = runs;
        Ok(at)
    }

    fn remove(&mut self, index: usize) {
        if let Some(shm) = self.objects.remove(index) {
            self.runs -= shm.runs.capacity();
        }
    }

    /// Removes an object.
    ///
    /// # Errors
    /// [`ShmError::NotFound`], [`ShmError::InUse`].
    pub fn unregister(&mut self, cookie: u64) -> Result<(), ShmError> {
        let index = self.find(cookie).ok_or(ShmError::NotFound)?;
        if self.objects.get(index).is_some_and(|shm| shm.uses > 0) {
            return Err(ShmError::InUse);
        }
        self.remove(index);
        Ok(())
    }

    /// Takes a registered object into use.
    ///
    /// # Errors
    /// [`ShmError::NotFound`].
    pub fn get(&mut self, cookie: u64) -> Result<ShmRef, ShmError> {
        let index = self.find(cookie).ok_or(ShmError::NotFound)?;
        let shm = self.objects.get_mut(index).ok_or(ShmError::NotFound)?;
        shm.uses += 1;
        Ok(ShmRef(index))
    }

    /// Takes in an object for one call.
    ///
    /// # Errors
    /// [`ShmError::Scattered`], [`ShmError::Full`], [`ShmError::Exhausted`].
    pub fn lend(&mut self, mut shm: Shm) -> Result<ShmRef, ShmError> {
        shm.cookie = None;
        shm.uses = 1;
        Ok(ShmRef(self.insert(shm)?))
    }

    /// Ends a use.
    pub fn put(&mut self, shm_ref: ShmRef) {
        let last = self.objects.get_mut(shm_ref.0).is_some_and(|shm| {
            shm.uses -= 1;
            shm.uses == 0 && shm.cookie.is_none()
        });
        if last {
            self.remove(shm_ref.0);
        }
    }

    /// The object behind a use.
    #[must_use]
    pub fn object(&self, shm_ref: &ShmRef) -> Option<&Shm> {
        self.objects.get(shm_ref.0)
    }

    /// Whether the block of the kernel heap at this address is part of an object that a call uses.
    #[must_use]
    pub fn is_in_use(&self, address: u64) -> bool {
        let mut used = self.objects.iter().filter(|(_, shm)| shm.uses > 0);
        used.any(|(_, shm)| shm.has_block(address))
    }

    /// How many objects are registered or lent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.iter().count()
    }

    /// What is registered.
    pub fn registered(&self) -> impl Iterator<Item = Registered> + '_ {
        let registered = |(slot, shm): (usize, &Shm)| {
            Some(Registered {
                slot,
                cookie: shm.cookie?,
                bytes: shm.size,
                since_ms: shm.since_ms,
                uses: shm.uses,
            })
        };
        self.objects.iter().filter_map(registered)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_RUNS, Run, Shm, ShmError, ShmTable};
    use crate::refused::SharedTable;
    use core::ptr;
    use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
    use tally_mem::machine::NormalMemory;
    use tally_mem::testing::{NORMAL_BASE, TestMachine};
    use zerocopy::IntoBytes;

    #[test]
    fn an_object_is_in_use_for_as_long_as_a_call_has_it() {
        let machine = TestMachine::new(1, 8);
        let mut table = ShmTable::new(4).unwrap();
        for cookie in [6, 7] {
            let shm = Shm::contiguous(&machine, NORMAL_BASE, 100, Some(cookie)).unwrap();
            table.register(shm, cookie).unwrap();
        }
        let used = table.get(7).unwrap();
        // Bug: all that was told of them was cookie and bytes.
        let told = table.registered();
        let told = told.map(|one| (one.cookie, one.bytes, one.since_ms, one.uses));
        assert!(told.eq([(6, 100, 6, 0), (7, 100, 7, 1)]));
        let shm = table.object(&used).unwrap();
        let blocks = [ptr::from_ref(shm).addr(), shm.runs.as_ptr().addr()];
        let is_in_use = |table: &ShmTable| blocks.map(|block| table.is_in_use(block as u64));
        assert_eq!(is_in_use(&table), [true; 2]);
        let other = table.get(6).unwrap();
        let unused = ptr::from_ref(table.object(&other).unwrap()).addr();
        table.put(other);
        assert!(!table.is_in_use(unused as u64));
        table.put(used);
        assert_eq!(is_in_use(&table), [false; 2]);
    }

    #[test]
    fn scattered_pages_and_full_tables_are_refused_and_told_by_what_is_short() {
        let machine = TestMachine::new(1, 8);
        let mut table = ShmTable::new(2).unwrap();
        let shm = |cookie| Shm::contiguous(&machine, NORMAL_BASE, 100, Some(cookie)).unwrap();
        assert!(table.is_empty());
        for cookie in [1, 2] {
            table.register(shm(cookie), 0).unwrap();
            assert!(!table.is_empty());
        }
        let told = |why: ShmError| {
            let entry = why.refusal().unwrap();
            (entry.table, entry.wanted, entry.used, entry.size)
        };
        let full = table.register(shm(3), 0).unwrap_err();
        assert_eq!(told(full), (SharedTable::SharedMemory, 1, 2, 2));
        // Bug: pages were those of the bytes alone, wherever the first of them is.
        let at = PhysAddr(NORMAL_BASE.0 + 1);
        let big = Shm::contiguous(&machine, at, 64 << 20, None).unwrap_err();
        let pages = (64 << 8) + 1;
        assert_eq!(told(big), (SharedTable::SharedPages, pages, 0, 64 << 8));
        assert_eq!(ShmError::Exhausted.refusal(), None);

        // As much as all lists may have, and no run more.
        let scattered = |runs| {
            let run = Run {
                first: PhysPage::containing(NORMAL_BASE),
                count: 1,
            };
            Shm {
                runs: vec![run; runs],
                ..shm(4)
            }
        };
        table.unregister(1).unwrap();
        let most = scattered(MAX_RUNS);
        let runs = told(table.register(most, 0).unwrap_err());
        assert_eq!(runs, (SharedTable::PageRuns, 6144, 1, 6144));
        table.register(scattered(MAX_RUNS - 1), 0).unwrap();
        // Pages one after another are one run, and no byte is none.
        let pages = [0, 1, 2].map(|n| NORMAL_BASE.0 + n * PAGE_SIZE as u64);
        assert!(machine.write_normal(NORMAL_BASE, pages.as_bytes()));
        let listed = Shm::from_page_list(&machine, NORMAL_BASE, 3 * PAGE_SIZE as u64, None);
        assert_eq!(listed.unwrap().runs.len(), 1);
        let empty = Shm::contiguous(&machine, PhysAddr(NORMAL_BASE.0 + 1), 0, None);
        assert_eq!(empty.unwrap().runs.len(), 0);
        // Room is made before there is too little, and a quarter more at most.
        for (count, room) in [(1, 4), (6, 8), (9, 12), (21, 25)] {
            let pages = [0, 2].map(|n| NORMAL_BASE.0 + n * PAGE_SIZE as u64);
            let list: Vec<u64> = (0..count).map(|n| pages[n % 2]).collect();
            assert!(machine.write_normal(NORMAL_BASE, list.as_bytes()));
            let size = (count * PAGE_SIZE) as u64;
            let listed = Shm::from_page_list(&machine, NORMAL_BASE, size, None).unwrap();
            assert_eq!((listed.runs.len(), listed.runs.capacity()), (count, room));
        }
        table.unregister(4).unwrap();
        table.unregister(2).unwrap();
        assert_eq!((table.len(), table.runs), (0, 0));
    }
}
