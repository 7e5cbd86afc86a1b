//! Snapshot store, and the watchpoints that wait.
//!
//! **Invariant:** the memory of a snapshot that is being taken is its taker's, and it cannot be dropped.

use crate::snapshot::image::Image;
use tally_abi::pta::watch::SLOTS;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::machine::SecureMemory;
use tally_mem::pages::PageAllocator;
use tally_records::SnapshotRow;
use tally_records::snapshot_state;
use tally_records::trigger;

/// Why a snapshot cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// All slots are taken.
    Full,
    /// There is none of this number.
    NotFound,
    /// Its watchpoint waits, waited in vain, or was met when there was no memory.
    NotTaken,
    /// It is being taken.
    Busy,
    /// No page, or no kernel heap, or it would be too big.
    OutOfMemory,
    /// The offset lies outside of it.
    OutOfRange,
}

impl From<SnapshotError> for TeeResult {
    fn from(err: SnapshotError) -> Self {
        match err {
            SnapshotError::Full | SnapshotError::OutOfMemory => Self::OUT_OF_MEMORY,
            SnapshotError::NotFound => Self::ITEM_NOT_FOUND,
            SnapshotError::NotTaken => Self::NO_DATA,
            SnapshotError::Busy => Self::BUSY,
            SnapshotError::OutOfRange => Self::BAD_PARAMETERS,
        }
    }
}

/// What a watchpoint waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchpoint {
    /// One of [`trigger`].
    pub trigger: u32,
    /// Of this TA.
    pub uuid: TeeUuid,
    /// Command, or bytes of heap.
    pub wanted: u64,
}

impl Watchpoint {
    /// A snapshot that somebody asked for.
    pub const ASKED: Self = Self {
        trigger: trigger::ASKED,
        uuid: TeeUuid::nil(),
        wanted: 0,
    };
}

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Armed,
    Taking,
    Taken,
    Ended,
    Failed,
}

#[derive(Debug)]
struct Slot {
    number: u32,
    phase: Phase,
    watchpoint: Watchpoint,
    at_ms: u64,
    dropped: u64,
    image: Image,
}

/// Every snapshot and watchpoint.
#[derive(Debug, Default)]
pub struct Snapshots {
    slots: [Option<Slot>; SLOTS],
    count: u32,
    /// Watchpoints that wait: nothing has to be looked for while there are none.
    armed: u32,
}

impl Snapshots {
    /// Arms a watchpoint; the number of its snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Full`].
    pub fn arm(&mut self, watchpoint: Watchpoint) -> Result<u32, SnapshotError> {
        let number = self.add(watchpoint, Phase::Armed)?;
        self.armed += 1;
        Ok(number)
    }

    /// Begins a snapshot that somebody asked for; its number.
    ///
    /// # Errors
    /// [`SnapshotError::Full`].
    pub fn begin(&mut self) -> Result<u32, SnapshotError> {
        self.add(Watchpoint::ASKED, Phase::Taking)
    }

    fn add(&mut self, watchpoint: Watchpoint, phase: Phase) -> Result<u32, SnapshotError> {
        let free = self.slots.iter_mut().find(|slot| slot.is_none());
        let free = free.ok_or(SnapshotError::Full)?;
        self.count = self.count.wrapping_add(1).max(1);
        *free = Some(Slot {
            number: self.count,
            phase,
            watchpoint,
            at_ms: 0,
            dropped: 0,
            image: Image::default(),
        });
        Ok(self.count)
    }

    /// Whether any watchpoint waits.
    #[must_use]
    pub const fn watches(&self) -> bool {
        self.armed != 0
    }

    /// Begins the snapshot of the first watchpoint that waits for this and is met; its number.
    pub fn meet(&mut self, kind: u32, uuid: TeeUuid, value: u64) -> Option<u32> {
        let slot = self.slots.iter_mut().flatten().find(|slot| {
            let point = slot.watchpoint;
            let met = match kind {
                trigger::HEAP => value > point.wanted,
                trigger::FAILURE => true,
                _ => value == point.wanted,
            };
            slot.phase == Phase::Armed && point.trigger == kind && point.uuid == uuid && met
        })?;
        slot.phase = Phase::Taking;
        self.armed -= 1;
        Some(slot.number)
    }

    /// The fewest heap bytes that a watchpoint waits for this TA to rise above, as the alarm of its pool. There 0
    /// is none, so that one that waits for any bytes at all has 1: a single byte alone does not ring.
    #[must_use]
    pub fn heap_alarm(&self, uuid: TeeUuid) -> Option<u64> {
        self.slots
            .iter()
            .flatten()
            .filter(|slot| {
                slot.phase == Phase::Armed
                    && slot.watchpoint.trigger == trigger::HEAP
                    && slot.watchpoint.uuid == uuid
            })
            .map(|slot| slot.watchpoint.wanted.max(1))
            .min()
    }

    /// The last instance of a TA ended: its watchpoints wait no longer.
    pub fn ended(&mut self, uuid: TeeUuid) {
        for slot in self.slots.iter_mut().flatten() {
            if slot.phase == Phase::Armed && slot.watchpoint.uuid == uuid {
                slot.phase = Phase::Ended;
                self.armed -= 1;
            }
        }
    }

    /// A snapshot is whole.
    pub(crate) fn taken(
        &mut self,
        allocator: &mut PageAllocator,
        number: u32,
        at_ms: u64,
        (image, dropped): (Image, u64),
    ) {
        match self.find_mut(number) {
            Some(slot) => {
                slot.phase = Phase::Taken;
                slot.at_ms = at_ms;
                slot.dropped = dropped;
                slot.image = image;
            }
            None => image.free(allocator),
        }
    }

    /// Copies bytes from `offset` on; how many there were.
    ///
    /// # Errors
    /// [`SnapshotError::NotFound`], [`SnapshotError::NotTaken`], [`SnapshotError::Busy`],
    /// [`SnapshotError::OutOfRange`].
    pub fn read<M: SecureMemory>(
        &self,
        machine: &M,
        number: u32,
        offset: usize,
        buf: &mut [u8],
    ) -> Result<usize, SnapshotError> {
        let slot = self.slots.iter().flatten().find(|s| s.number == number);
        let slot = slot.ok_or(SnapshotError::NotFound)?;
        match slot.phase {
            Phase::Taken => {}
            Phase::Taking => return Err(SnapshotError::Busy),
            Phase::Armed | Phase::Ended | Phase::Failed => return Err(SnapshotError::NotTaken),
        }
        slot.image.read(machine, offset, buf)
    }

    /// Forgets a snapshot or a watchpoint, and gives its memory back.
    ///
    /// # Errors
    /// [`SnapshotError::NotFound`], [`SnapshotError::Busy`].
    pub fn forget(
        &mut self,
        allocator: &mut PageAllocator,
        number: u32,
    ) -> Result<(), SnapshotError> {
        match self.find_mut(number) {
            None => Err(SnapshotError::NotFound),
            Some(slot) if slot.phase == Phase::Taking => Err(SnapshotError::Busy),
            Some(_) => {
                self.remove(allocator, number);
                Ok(())
            }
        }
    }

    /// Forgets every snapshot and watchpoint; nobody takes one.
    pub fn forget_all(&mut self, allocator: &mut PageAllocator) {
        for slot in core::mem::take(self).slots.into_iter().flatten() {
            slot.image.free(allocator);
        }
    }

    /// A snapshot cannot be taken. A watchpoint's stays to tell so, without memory.
    pub fn fail(&mut self, allocator: &mut PageAllocator, number: u32) {
        let Some(slot) = self.find_mut(number) else {
            return;
        };
        if slot.watchpoint == Watchpoint::ASKED {
            self.remove(allocator, number);
            return;
        }
        slot.phase = Phase::Failed;
    }

    fn remove(&mut self, allocator: &mut PageAllocator, number: u32) {
        for place in &mut self.slots {
            if let Some(slot) = place.take_if(|slot| slot.number == number) {
                self.armed -= u32::from(slot.phase == Phase::Armed);
                slot.image.free(allocator);
            }
        }
    }

    /// The next snapshot or watchpoint, oldest first, and where to go on.
    #[must_use]
    pub fn next(&self, cursor: u64) -> Option<(SnapshotRow, u64)> {
        let later = self.slots.iter().flatten();
        let later = later.filter(|slot| u64::from(slot.number) > cursor);
        let slot = later.min_by_key(|slot| slot.number)?;
        let row = SnapshotRow {
            number: slot.number,
            state: match slot.phase {
                Phase::Armed => snapshot_state::ARMED,
                Phase::Taking => snapshot_state::TAKING,
                Phase::Taken => snapshot_state::TAKEN,
                Phase::Ended => snapshot_state::ENDED,
                Phase::Failed => snapshot_state::FAILED,
            },
            trigger: slot.watchpoint.trigger,
            reserved: 0,
            uuid: slot.watchpoint.uuid,
            wanted: slot.watchpoint.wanted,
            at_ms: slot.at_ms,
            bytes: slot.image.len() as u64,
            memory: slot.image.room() as u64,
            dropped: slot.dropped,
        };
        Some((row, slot.number.into()))
    }

    fn find_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots
            .iter_mut()
            .flatten()
            .find(|slot| slot.number == number)
    }
}

#[cfg(test)]
mod tests;
