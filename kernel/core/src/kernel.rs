//! The kernel as one value: what the roof builds at boot and every call works on.
//!
//! **Invariant:** the state lock is never held across a suspend, a run of a TA or an
//! interruptible window.

use crate::book::Book;
use crate::call::thread::ThreadTable;
use crate::guest::Guest;
use crate::guest_id::{GuestId, MAX_GUESTS};
use crate::hardware_key::storage_key;
use crate::locked::Locked;
use crate::observer::Observer;
use crate::owners::OwnerTable;
use crate::pta::PseudoTa;
use crate::refused::Refusals;
use crate::ta::instance::{Instance, InstanceRef};
use crate::ta::load::rsa::PublicKey;
use crate::ta::load::versions::Versions;
use core::fmt;
use core::sync::atomic::AtomicBool;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use tally_abi::TeeResult;
use tally_mem::addr::{PAGE_SIZE, PhysPage};
use tally_mem::injection::Injection;
use tally_mem::machine::{Machine, millis};
use tally_mem::owner::OwnerId;
use tally_mem::pages::{PageAllocator, PageUse};
use tally_storage::keys::Keys;

/// The loader as the roof embeds it: see `linker/ldelf.ld` for its header.
#[derive(Clone, Copy, Debug)]
pub struct LdelfImage {
    /// First of the adjacent secure pages that hold its code.
    pub code: PhysPage,
    /// Pages of code.
    pub code_pages: u32,
    /// Initial data.
    pub data: &'static [u8],
    /// Bytes of data, zeros behind `data` included.
    pub data_len: usize,
    /// Entry, from the start of the code.
    pub entry_offset: u64,
    /// Which build it is, as reports show it.
    pub id: u64,
}

impl LdelfImage {
    /// Bytes of its code, constants included.
    pub(crate) fn code_bytes(&self) -> u64 {
        u64::from(self.code_pages) * PAGE_SIZE as u64
    }
}

/// What the roof gives to build a kernel.
pub struct Parts<M, O: Book> {
    /// The machine.
    pub machine: M,
    /// Pages of secure RAM.
    pub pages: PageAllocator,
    /// How many threads the roof has stacks for.
    pub threads: usize,
    /// The loader.
    pub ldelf: LdelfImage,
    /// Keys that TA images are signed with one of; without any, all are refused.
    pub keys: &'static [&'static PublicKey],
    /// The machine's secret that keys of encrypted images derive from.
    pub hardware_key: [u8; 16],
    /// Breaks the kernel on purpose, in builds that can; the numbers are the `control` pseudo-TA's.
    pub fault: Option<fn(u32) -> bool>,
    /// What the observer has that needs no lock of the kernel's.
    pub shared: O::Shared,
}

/// The kernel heap, as far as the kernel itself asks it.
pub trait KernelHeap: Sync {
    /// Bytes and blocks that `owner` holds.
    fn account(&self, owner: OwnerId) -> (u32, u32);
    /// Refuses requests on purpose, in builds that can; what became of those before.
    fn inject(&self, _: Injection) -> Injection {
        Injection::NONE
    }
}

/// Everything behind the lock.
#[derive(Debug)]
pub struct State<O: Book> {
    /// Pages of secure RAM.
    pub pages: PageAllocator,
    guests: [Guest<O>; MAX_GUESTS],
    /// Address space ids in use, a bit each; id 0 is the kernel's.
    asids: [u64; 4],
    /// What was refused.
    pub(crate) refusals: Refusals,
    /// Of TAs and subkeys, whichever guest's.
    pub(crate) versions: Versions,
}

impl<O: Book> State<O> {
    /// A client machine.
    #[must_use]
    pub const fn guest(&self, id: GuestId) -> &Guest<O> {
        &self.guests[id.index()]
    }

    /// A client machine, to change.
    pub const fn guest_mut(&mut self, id: GuestId) -> &mut Guest<O> {
        &mut self.guests[id.index()]
    }

    /// The pages and a client machine, to change both.
    pub const fn split(&mut self, id: GuestId) -> (&mut PageAllocator, &mut Guest<O>) {
        (&mut self.pages, &mut self.guests[id.index()])
    }

    /// All client machines.
    pub fn guests(&self) -> impl Iterator<Item = &Guest<O>> {
        self.guests.iter()
    }

    /// A TA instance, unless it ended.
    #[must_use]
    pub fn instance(&self, instance: InstanceRef) -> Option<&Instance<O>> {
        self.guest(instance.guest()).instances.at(instance)
    }

    /// A TA instance, to change, unless it ended.
    pub fn instance_mut(&mut self, instance: InstanceRef) -> Option<&mut Instance<O>> {
        self.guest_mut(instance.guest()).instances.at_mut(instance)
    }

    /// Takes an address space id.
    pub fn take_asid(&mut self) -> Option<u16> {
        let word = self.asids.iter().position(|&word| word != u64::MAX)?;
        let bit = self.asids[word].trailing_ones();
        self.asids[word] |= 1 << bit;
        u16::try_from(word as u32 * 64 + bit).ok()
    }

    /// Gives it back. The address space's translations were flushed.
    pub fn give_asid(&mut self, asid: u16) {
        if let Some(word) = self.asids.get_mut(usize::from(asid) / 64) {
            *word &= !(1 << (asid % 64));
        }
    }
}

/// Names of owners, locked.
pub type LockedOwners<'k> = SpinMutexGuard<'k, OwnerTable>;

/// The kernel.
pub struct Kernel<M: 'static, O: Book> {
    /// The machine.
    pub machine: M,
    /// The kernel heap.
    pub heap: &'static dyn KernelHeap,
    /// Threads.
    pub threads: ThreadTable,
    /// Pseudo-TAs.
    pub ptas: &'static [PseudoTa<O>],
    /// The loader.
    pub ldelf: LdelfImage,
    /// Keys that TA images are signed with one of; without any, all are refused.
    pub keys: &'static [&'static PublicKey],
    /// The machine's secret.
    pub(crate) hardware_key: [u8; 16],
    /// Those of trusted storage.
    pub(crate) storage: Keys,
    /// Breaks the kernel on purpose.
    pub fault: Option<fn(u32) -> bool>,
    /// What the observer has that needs no lock.
    pub shared: O::Shared,
    /// Guests that are ending, or are not there.
    pub(crate) gates: [AtomicBool; MAX_GUESTS],
    /// Bytes of secure RAM that the roof gave, whatever becomes of them.
    pub secure_ram: u64,
    state: SpinMutex<State<O>>,
    /// Held for no longer than a name takes, by who holds the state or not.
    owners: SpinMutex<OwnerTable>,
}

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// Builds the kernel. No guest is there yet.
    pub fn new(
        parts: Parts<M, O>,
        heap: &'static dyn KernelHeap,
        ptas: &'static [PseudoTa<O>],
    ) -> Self {
        let secure_ram = u64::from(parts.pages.total_pages()) * PAGE_SIZE as u64;
        let state = State {
            pages: parts.pages,
            guests: [Guest::absent(GuestId::FIRST)],
            asids: [1, 0, 0, 0],
            refusals: Refusals::default(),
            versions: Versions::none(),
        };
        Self {
            machine: parts.machine,
            heap,
            threads: ThreadTable::new(parts.threads),
            ptas,
            ldelf: parts.ldelf,
            keys: parts.keys,
            hardware_key: parts.hardware_key,
            storage: Keys::new(storage_key(&parts.hardware_key)),
            fault: parts.fault,
            shared: parts.shared,
            gates: [const { AtomicBool::new(true) }; MAX_GUESTS],
            secure_ram,
            state: SpinMutex::new(state),
            owners: SpinMutex::new(OwnerTable::new()),
        }
    }

    /// The state, locked. Short: no suspend, no TA, no interruptible window while it is held.
    #[inline(always)]
    pub fn state(&self) -> Locked<'_, M, O> {
        Locked::new(self, self.state.lock())
    }

    /// The state, unless somebody has it locked: for crash reports.
    pub fn try_state(&self) -> Option<SpinMutexGuard<'_, State<O>>> {
        self.state.try_lock()
    }

    /// Names of owners, locked.
    pub fn owners(&self) -> LockedOwners<'_> {
        self.owners.lock()
    }

    /// Names of owners, unless somebody has them locked: for reports out of the allocator.
    pub fn try_owners(&self) -> Option<LockedOwners<'_>> {
        self.owners.try_lock()
    }

    /// Runs `work` with heap blocks charged to `owner`.
    pub fn as_owner<R>(&self, owner: OwnerId, work: impl FnOnce() -> R) -> R {
        let previous = self.machine.set_owner(owner);
        let result = work();
        self.machine.set_owner(previous);
        result
    }

    /// An unpredictable number.
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.machine.random(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Milliseconds since boot.
    pub fn uptime_millis(&self) -> u64 {
        self.millis_at(self.machine.ticks())
    }

    /// Milliseconds since boot at a reading of the counter.
    pub fn millis_at(&self, ticks: u64) -> u64 {
        millis(ticks, self.machine.ticks_per_second())
    }

    /// Writes the account of memory, for a crash report. Skips what another CPU holds locked.
    ///
    /// # Errors
    /// The output's.
    pub fn panic_account(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(state) = self.try_state() else {
            return writeln!(out, "memory: locked by a CPU in the middle of a change");
        };
        for usage in PageUse::ALL {
            let bytes = state.pages.used_for(*usage) as usize * PAGE_SIZE;
            if bytes != 0 {
                writeln!(out, "{:<24} {bytes:>10} bytes", usage.label())?;
            }
        }
        let count = |of: fn(&Guest<O>) -> usize| state.guests().map(of).sum::<usize>();
        writeln!(
            out,
            "{} TA instances, {} sessions, {} shared memory objects, {} of {} threads in use",
            count(|guest| guest.instances.iter().count()),
            count(|guest| guest.sessions.iter().count()),
            count(|guest| guest.shm.len()),
            self.threads.in_use(),
            self.threads.count()
        )
    }

    /// Lets interrupts of the normal world through, between two steps of long work. Nothing is locked.
    pub fn breathe(&self) {
        self.machine.interruptible(|| ());
    }
}

/// Bytes as a count of pages that fits the allocator's type.
///
/// # Errors
/// `OUT_OF_MEMORY` when there can be no such number of pages.
pub fn page_count(bytes: u64) -> Result<u32, TeeResult> {
    u32::try_from(bytes.div_ceil(PAGE_SIZE as u64)).map_err(|_| TeeResult::OUT_OF_MEMORY)
}
