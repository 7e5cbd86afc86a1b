//! TA instances: a loaded image, its address space, and whether it is loading, ready or dead.
//!
//! **Invariant:** an instance that is busy belongs to one thread; a dead one has no memory but
//! its entry here, which goes with its last session.

use crate::book::Book;
use crate::call::thread::MAX_THREADS;
use crate::guest_id::GuestId;
use crate::ta::crypto::Holdings;
use crate::ta::task::{Cause, End, Fate, Task};
use core::ops::{Deref, DerefMut};
use tally_abi::ldelf::MAX_FREE_LISTS;
use tally_abi::ta::flags;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::UserVa;
use tally_mem::fallible::{HeapExhausted, Table, TryBox};
use tally_mem::machine::{UserRoot, Vectors};
use tally_mem::owner::OwnerId;
use tally_mem::space::AddressSpace;

/// Names an instance; goes stale when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceRef {
    guest: GuestId,
    slot: u16,
    /// Which use of the slot.
    pub generation: u32,
}

impl InstanceRef {
    /// Its guest.
    #[must_use]
    pub const fn guest(self) -> GuestId {
        self.guest
    }

    /// A number for those who tell instances apart by 32 bits: the next 65,535 uses of its slot have others.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.generation << 16 | self.slot as u32
    }

    /// Slot in the guest's table.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Being loaded by the thread it is busy with.
    Loading,
    /// Can be entered.
    Ready,
    /// Panicked, crashed or killed.
    Dead,
}

/// A TA instance.
#[derive(Debug)]
pub struct Instance<O: Book> {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Which use of its slot.
    pub generation: u32,
    /// Whom its memory is charged to.
    pub owner: OwnerId,
    /// `TaHead::flags`.
    pub flags: u32,
    /// Its address space, while it has one.
    pub space: Option<AddressSpace>,
    /// Pages that it is still charged for while its address space is taken apart.
    pub leaving: u32,
    /// Entry point.
    pub entry: u64,
    /// Initial stack pointer.
    pub stack_top: u64,
    /// Bytes of stack.
    pub stack_len: u64,
    /// Deepest use of it that was noted: what lies there now may tell of more.
    pub stack_deepest: u64,
    /// Where link address 0 lies.
    pub load_base: u64,
    /// Bytes from there to the end of the image.
    pub load_len: u64,
    /// Which build of the TA it is, once its image was verified ([`tally_abi::shdr::image_id`]).
    pub image_id: u64,
    /// Start of its heap, once it reserved one.
    pub heap: Option<UserVa>,
    /// What it keeps between its runs, from when it is loaded on.
    pub kept: Option<TryBox<Kept>>,
    /// Where it is in its life.
    pub life: Life,
    /// Thread that runs it.
    pub busy: Option<usize>,
    /// What that thread runs in it, while it is entered.
    pub task: Option<Task>,
    /// Counter ticks when it was loaded.
    pub loaded_at: u64,
    /// Threads that wait for it, a bit each.
    pub waiters: u64,
    /// Sessions of it were closed meanwhile that whoever has it is to end.
    pub has_closings: bool,
    /// Shall end at the next chance.
    pub killed: bool,
    /// A session was opened: it was created well.
    pub has_served: bool,
    /// Open sessions.
    pub sessions: u32,
    /// How it died, once it did.
    pub fate: Option<Fate>,
    /// Difference of its own time to the system's, in milliseconds, once set.
    pub time_offset_millis: Option<i64>,
    /// What its observer keeps of it.
    pub notes: O::Notes,
}

/// What an instance keeps between its runs, beside its entry, which stays small so.
#[derive(Debug)]
pub struct Kept {
    /// Its floating-point registers.
    pub vectors: Vectors,
    /// Its thread pointer (TPIDR_EL0).
    pub tpidr: u64,
    /// Where what `ldelf` knows of its modules lies, and how long it is; 0 for who has none.
    pub link_map: (u64, u64),
    /// Where heads of free lists are by which the heap of a C TA is found; 0 after the last.
    pub free_lists: [u64; MAX_FREE_LISTS],
    /// Keys and operations that it holds, once it has had one.
    pub holdings: Option<TryBox<Holdings>>,
}

impl Kept {
    /// Of one that has not run.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            vectors: Vectors::zero(),
            tpidr: 0,
            link_map: (0, 0),
            free_lists: [0; MAX_FREE_LISTS],
            holdings: None,
        }
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an instance cannot be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceError {
    /// It ended.
    Dead,
    /// This very thread is in it already.
    Deadlock,
    /// Another thread is in it; wait for a notification.
    Wait,
}

impl From<InstanceError> for TeeResult {
    fn from(err: InstanceError) -> Self {
        match err {
            InstanceError::Dead => Self::TARGET_DEAD,
            InstanceError::Deadlock | InstanceError::Wait => Self::BUSY,
        }
    }
}

impl<O: Book> Instance<O> {
    /// A new instance of `uuid`, being loaded by `thread`.
    #[must_use]
    pub const fn loading(
        uuid: TeeUuid,
        generation: u32,
        owner: OwnerId,
        thread: usize,
        notes: O::Notes,
    ) -> Self {
        Self {
            uuid,
            generation,
            owner,
            flags: 0,
            space: None,
            leaving: 0,
            entry: 0,
            stack_top: 0,
            stack_len: 0,
            stack_deepest: 0,
            load_base: 0,
            load_len: 0,
            image_id: 0,
            heap: None,
            kept: None,
            life: Life::Loading,
            busy: Some(thread),
            task: None,
            loaded_at: 0,
            waiters: 0,
            has_closings: false,
            killed: false,
            has_served: false,
            sessions: 0,
            fate: None,
            time_offset_millis: None,
            notes,
        }
    }

    /// Lowest address of its stack.
    #[must_use]
    pub const fn stack_low(&self) -> u64 {
        self.stack_top.saturating_sub(self.stack_len)
    }

    /// Bytes of stack above a stack pointer. One that is not in the stack is of another one, which the TA made itself.
    #[must_use]
    pub fn depth_of(&self, sp: u64) -> u64 {
        let is_in_it = self.stack_low() <= sp;
        self.stack_top
            .checked_sub(sp)
            .filter(|_| is_in_it)
            .unwrap_or(0)
    }

    /// Notes where it had its stack pointer.
    pub fn note_stack_pointer(&mut self, sp: u64) {
        self.stack_deepest = self.stack_deepest.max(self.depth_of(sp));
    }

    /// Notes how it dies, unless that is known.
    pub fn note_fate(&mut self, cause: Cause, at: u64) {
        let task = self.task;
        self.fate.get_or_insert(Fate { cause, task, at });
    }

    /// Notes that it dies of nothing of its own: it was killed, or nobody knows.
    pub fn note_end(&mut self, at: u64) {
        let cause = if self.killed {
            Cause::Killed
        } else {
            Cause::Unknown
        };
        self.note_fate(cause, at);
    }

    /// Whether all of `wanted` ([`flags`]) are set.
    #[must_use]
    pub const fn has(&self, wanted: u32) -> bool {
        self.flags & wanted == wanted
    }

    /// Whether it stays when its last session closes. One whose first session was refused may not even be created.
    #[must_use]
    pub fn stays(&self) -> bool {
        const STAYS: u32 = flags::SINGLE_INSTANCE | flags::INSTANCE_KEEP_ALIVE;
        match self.life {
            Life::Dead => self.is_kept_crashed(),
            Life::Loading | Life::Ready => self.has_served && self.has(STAYS),
        }
    }

    /// Whether it died, and nobody gets another one in its place until it is killed.
    #[must_use]
    pub fn is_kept_crashed(&self) -> bool {
        const KEPT: u32 =
            flags::SINGLE_INSTANCE | flags::INSTANCE_KEEP_ALIVE | flags::INSTANCE_KEEP_CRASHED;
        self.life == Life::Dead && !self.killed && self.has_served && self.has(KEPT)
    }

    /// Whether it serves all sessions, or may turn out to: it is known when it is loaded.
    #[must_use]
    pub fn may_be_shared(&self) -> bool {
        self.life == Life::Loading || self.has(flags::SINGLE_INSTANCE)
    }

    /// Pages that are charged to it.
    #[must_use]
    pub fn charged_pages(&self) -> u32 {
        let space = self.space.as_ref();
        space.map_or(self.leaving, AddressSpace::charged_pages)
    }

    /// Its keys and operations, if it has had one.
    #[must_use]
    pub fn holdings(&self) -> Option<&Holdings> {
        self.kept.as_ref()?.holdings.as_deref()
    }

    /// Its address space as the hardware needs it.
    #[must_use]
    pub fn root(&self) -> Option<UserRoot> {
        self.space.as_ref().map(AddressSpace::root)
    }

    /// An address as an offset in the TA's image, if it lies in it.
    #[must_use]
    pub const fn image_offset(&self, va: u64) -> Option<u64> {
        match va.checked_sub(self.load_base) {
            Some(offset) if offset < self.load_len => Some(offset),
            _ => None,
        }
    }

    /// Claims it for `thread`, or notes that `thread` waits.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn claim(&mut self, thread: usize) -> Result<(), InstanceError> {
        if self.life == Life::Dead || self.killed {
            return Err(InstanceError::Dead);
        }
        match self.busy {
            None => {
                self.busy = Some(thread);
                Ok(())
            }
            Some(holder) if holder == thread => Err(InstanceError::Deadlock),
            Some(_) => {
                self.waiters |= 1 << thread;
                Err(InstanceError::Wait)
            }
        }
    }

    /// How it ends when it is let go of, if it does.
    pub(crate) fn end(&self) -> Option<End> {
        match self.life {
            Life::Dead => None,
            Life::Loading | Life::Ready if self.killed => Some(End::Died),
            Life::Loading | Life::Ready => {
                let is_unused = self.sessions == 0 && !self.stays();
                is_unused.then_some(End::Orderly)
            }
        }
    }

    /// Lets go of it; returns the threads that wait, a bit each.
    #[must_use]
    pub const fn unclaim(&mut self) -> u64 {
        self.busy = None;
        core::mem::replace(&mut self.waiters, 0)
    }
}

/// The instances of a guest.
#[derive(Debug)]
pub struct Instances<O: Book> {
    table: Table<Instance<O>>,
    guest: GuestId,
}

impl<O: Book> Deref for Instances<O> {
    type Target = Table<Instance<O>>;

    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl<O: Book> DerefMut for Instances<O> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.table
    }
}

impl<O: Book> Instances<O> {
    /// None yet of this guest, with room for `capacity`.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(guest: GuestId, capacity: usize) -> Result<Self, HeapExhausted> {
        let table = Table::new(capacity)?;
        Ok(Self { table, guest })
    }

    /// Those of a guest that is not there: there is room for none.
    #[must_use]
    pub fn absent(guest: GuestId) -> Self {
        Self {
            table: Table::default(),
            guest,
        }
    }

    /// The name of the instance of this generation in this slot.
    #[must_use]
    pub const fn name(&self, slot: usize, generation: u32) -> InstanceRef {
        InstanceRef {
            guest: self.guest,
            // A table has far fewer slots than numbers.
            slot: slot as u16,
            generation,
        }
    }

    /// All instances with their names.
    pub fn named(&self) -> impl Iterator<Item = (InstanceRef, &Instance<O>)> {
        let all = self.iter();
        all.map(|(slot, found)| (self.name(slot, found.generation), found))
    }

    /// The instance, unless it ended.
    #[must_use]
    pub fn at(&self, instance: InstanceRef) -> Option<&Instance<O>> {
        self.get(instance.slot())
            .filter(|found| found.generation == instance.generation)
    }

    /// The instance, to change, unless it ended.
    pub fn at_mut(&mut self, instance: InstanceRef) -> Option<&mut Instance<O>> {
        self.get_mut(instance.slot())
            .filter(|found| found.generation == instance.generation)
    }

    /// Whether `thread` waits for an instance whose thread waits, and so on, for `thread`.
    #[must_use]
    pub fn waits_in_a_ring(&self, thread: usize) -> bool {
        let mut waiter = thread;
        // A ring is no longer than there are threads.
        for _ in 0..MAX_THREADS {
            let awaited = self
                .iter()
                .find(|(_, found)| found.waiters & 1 << waiter != 0);
            match awaited.and_then(|(_, found)| found.busy) {
                Some(holder) if holder == thread => return true,
                Some(holder) => waiter = holder,
                None => return false,
            }
        }
        false
    }

    /// `thread` waits for `instance` no longer.
    pub fn stop_waiting(&mut self, instance: InstanceRef, thread: usize) {
        if let Some(found) = self.at_mut(instance) {
            found.waiters &= !(1 << thread);
        }
    }

    /// Whether one of `uuid` died, and nobody gets another in its place.
    #[must_use]
    pub fn keep_crashed(&self, uuid: TeeUuid) -> bool {
        let mut all = self.iter();
        all.any(|(_, found)| found.uuid == uuid && found.is_kept_crashed())
    }

    /// A living instance of `uuid` that serves all sessions, or may turn out to. One that serves
    /// one session tells that the others do so, too.
    #[must_use]
    pub fn shared_instance(&self, uuid: TeeUuid) -> Option<InstanceRef> {
        let living =
            |found: &Instance<O>| found.uuid == uuid && !found.killed && found.life != Life::Dead;
        if self
            .iter()
            .any(|(_, found)| living(found) && !found.may_be_shared())
        {
            return None;
        }
        self.iter()
            .find(|(_, found)| living(found))
            .map(|(slot, found)| self.name(slot, found.generation))
    }
}
