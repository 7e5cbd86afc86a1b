//! Two words of a heap's header around each call: live bytes and their maximum, restarted from outside.
//!
//! **Invariant:** the header is the TA's, and untrusted: what does not add up counts as nothing and is not
//! written to, and nothing is while a call may be inside.

use crate::book::Book;
use crate::heaps::ta_heap;
use tally_core::ta::instance::Instance;
use tally_ledger::{FAILURES_OFFSET, MAX_POOL_BYTES, PEAK_OFFSET};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, UserVa};
use tally_mem::machine::Machine;
use tally_mem::space::AddressSpace;
use zerocopy::IntoBytes;

/// Two words of a pool's header: the most live bytes, and by how much the live bytes fall short of
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peak {
    max: u64,
    room: u64,
}

impl Peak {
    fn read<M: Machine>(machine: &M, at: PhysAddr) -> Option<Self> {
        let mut words = [0_u64; 2];
        machine.read_secure(at, words.as_mut_bytes());
        let [max, room] = words;
        let sane = max <= MAX_POOL_BYTES as u64 && room <= max;
        sane.then_some(Self { max, room })
    }

    /// Makes what is live the maximum.
    fn restart<M: Machine>(self, machine: &M, at: PhysAddr) {
        if self.room != 0 {
            machine.write_secure(at, [self.live(), 0].as_bytes());
        }
    }

    /// Most live bytes since the call began.
    #[must_use]
    pub(crate) const fn max(self) -> u64 {
        self.max
    }

    /// Live bytes.
    #[must_use]
    pub(crate) const fn live(self) -> u64 {
        self.max - self.room
    }
}

/// A call is about to enter: the pool's maximum restarts. Live bytes.
pub(crate) fn begins<M: Machine>(found: &mut Instance<Book>, machine: &M) -> u64 {
    let Some((at, peak)) = peak(found, machine) else {
        return 0;
    };
    found.notes.maxima.max = found.notes.maxima.max.max(peak.max);
    peak.restart(machine, at);
    peak.live()
}

/// The call that was inside has left, or died: what it made of the heap, if that adds up.
pub(crate) fn ends<M: Machine>(found: &mut Instance<Book>, machine: &M) -> Option<Peak> {
    let peak = peak(found, machine).map(|(_, peak)| peak);
    if let Some(peak) = peak {
        found.notes.maxima.max = found.notes.maxima.max.max(peak.max);
    }
    if let Some(before) = found.notes.maxima.failed_before {
        let now = failures(found, machine);
        if now.is_some_and(|now| now <= before) {
            forget_failures(found, machine);
        }
    }
    peak
}

/// Restarts the heap's maximum and its failure figures. While a call may be inside its books are left
/// alone: then the maximum is the one since that call began, and what failed before is put aside.
pub(crate) fn restart<M: Machine>(found: &mut Instance<Book>, machine: &M) {
    found.notes.maxima.max = 0;
    if found.busy.is_some() {
        found.notes.maxima.failed_before = failures(found, machine);
        return;
    }
    if let Some((at, peak)) = peak(found, machine) {
        peak.restart(machine, at);
        forget_failures(found, machine);
    }
}

fn failures<M: Machine>(found: &Instance<Book>, machine: &M) -> Option<u32> {
    let (space, heap) = pool(found)?;
    Some(ta_heap::figures(machine, space, heap).alloc.num_alloc_fail)
}

fn forget_failures<M: Machine>(found: &mut Instance<Book>, machine: &M) {
    if let Some((space, heap)) = pool(found)
        && let Ok(_) = ta_heap::open(machine, space, heap)
        && let Some(at) = heap.checked_add(FAILURES_OFFSET as u64)
        && space.poke(machine, at, [0_u64; 3].as_bytes())
    {
        found.notes.maxima.failed_before = None;
    }
}

fn pool(found: &Instance<Book>) -> Option<(&AddressSpace, UserVa)> {
    Some((found.space.as_ref()?, found.heap?))
}

/// The two words, if they add up, and where they are. A heap is never unmapped, so the place is good for as
/// long as the instance has memory.
fn peak<M: Machine>(found: &mut Instance<Book>, machine: &M) -> Option<(PhysAddr, Peak)> {
    if found.notes.maxima.peak_at.is_none() {
        let (space, heap) = pool(found)?;
        let va = heap.checked_add(PEAK_OFFSET as u64)?;
        // Both words lie in one page.
        if va.page_offset() + size_of::<Peak>() > PAGE_SIZE {
            return None;
        }
        found.notes.maxima.peak_at = space.own_page(machine, va);
    }
    let at = found.notes.maxima.peak_at?;
    Peak::read(machine, at).map(|peak| (at, peak))
}
