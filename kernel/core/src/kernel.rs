//! The kernel as one value: what the roof builds at boot and every call works on.
//!
//! **Invariant:** the state lock is never held across a suspend, a run of a TA or an
//! interruptible window.
//! **Knows nothing of:** how calls enter (see [`crate::entry`]).

use crate::audit::Audit;
use crate::buffers::Buffers;
use crate::commands::Commands;
use crate::guest::Guest;
use crate::heap::KernelHeap;
use crate::inspect::history::History;
use crate::inspect::left::Left;
use crate::oom::Report;
use crate::owners::OwnerTable;
use crate::pta_api::PseudoTa;
use crate::rsa::PublicKey;
use crate::scan::book::Scans;
use crate::snapshot::Snapshots;
use crate::thread::ThreadTable;
use spin::Once;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use tally_abi::TeeResult;
use tally_abi::snapshot::BuildId;
use tally_mem::addr::{PAGE_SIZE, PhysPage};
use tally_mem::fallible::HeapExhausted;
use tally_mem::machine::{Machine, millis};
use tally_mem::owner::OwnerId;
use tally_mem::pages::PageAllocator;

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
}

/// What the roof gives to build a kernel.
#[derive(Debug)]
pub struct Parts<M> {
    /// The machine.
    pub machine: M,
    /// Pages of secure RAM.
    pub pages: PageAllocator,
    /// How many threads the roof has stacks for.
    pub threads: usize,
    /// The loader.
    pub ldelf: LdelfImage,
    /// Key that TA images are signed with.
    pub key: &'static PublicKey,
    /// Breaks the kernel on purpose ([`tally_abi::pta::control::fault`]), in builds that can.
    pub fault: Option<fn(u32) -> bool>,
    /// What the normal world may see.
    pub shown: Shown,
    /// The linked image's.
    pub build: BuildId,
}

/// What of the secure world's memory the normal world may see, besides figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Virtual and physical addresses; offsets are always shown.
    pub addresses: bool,
    /// What is in blocks of heaps.
    pub contents: bool,
}

/// Everything behind the lock.
#[derive(Debug)]
pub struct State {
    /// Pages of secure RAM.
    pub pages: PageAllocator,
    /// Names of owners.
    pub owners: OwnerTable,
    /// The one guest (without a hypervisor).
    pub guest: Guest,
    /// What TAs used that have ended.
    pub history: History,
    /// What they had not freed, by call site.
    pub left: Left,
    /// What was done in the wrong order.
    pub audit: Audit,
    /// What TAs' commands cost.
    pub commands: Commands,
    /// Buffers that pseudo-TAs mapped into TAs.
    pub buffers: Buffers,
    /// Snapshots and watchpoints.
    pub snapshots: Snapshots,
    /// The last refusal of a TA's allocation.
    pub last_oom: Report,
    /// Scans of the kernel heap.
    pub scans: Scans,
    /// Address space ids in use, a bit each; id 0 is the kernel's.
    asids: [u64; 4],
}

impl State {
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

/// The kernel.
pub struct Kernel<M: 'static> {
    /// The machine.
    pub machine: M,
    /// The kernel heap.
    pub heap: &'static dyn KernelHeap,
    /// Threads.
    pub threads: ThreadTable,
    /// Pseudo-TAs.
    pub ptas: &'static [PseudoTa],
    /// The loader.
    pub ldelf: LdelfImage,
    /// Key that TA images are signed with.
    pub key: &'static PublicKey,
    /// Breaks the kernel on purpose.
    pub fault: Option<fn(u32) -> bool>,
    /// What the normal world may see.
    pub shown: Shown,
    /// Tells the image from others, in snapshots.
    pub build: BuildId,
    /// Bytes of secure RAM that the roof gave, whatever becomes of them.
    pub secure_ram: u64,
    boot: Once<u64>,
    state: SpinMutex<State>,
}

impl<M: Machine> Kernel<M> {
    /// Builds the kernel.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(
        parts: Parts<M>,
        heap: &'static dyn KernelHeap,
        ptas: &'static [PseudoTa],
    ) -> Result<Self, HeapExhausted> {
        let previous = parts.machine.set_owner(OwnerId::GUEST);
        let guest = Guest::new();
        let buffers = Buffers::new();
        parts.machine.set_owner(OwnerId::STATS);
        let audit = Audit::new();
        let commands = Commands::new();
        let left = Left::new();
        parts.machine.set_owner(previous);
        let secure_ram = u64::from(parts.pages.total_pages()) * PAGE_SIZE as u64;
        let state = State {
            pages: parts.pages,
            owners: OwnerTable::new(),
            guest: guest?,
            history: History::new(),
            left: left?,
            audit: audit?,
            commands: commands?,
            buffers: buffers?,
            snapshots: Snapshots::default(),
            last_oom: Report::EMPTY,
            scans: Scans::default(),
            asids: [1, 0, 0, 0],
        };
        Ok(Self {
            machine: parts.machine,
            heap,
            threads: ThreadTable::new(parts.threads),
            ptas,
            ldelf: parts.ldelf,
            key: parts.key,
            fault: parts.fault,
            shown: parts.shown,
            build: parts.build,
            secure_ram,
            boot: Once::new(),
            state: SpinMutex::new(state),
        })
    }

    /// The state, locked. Short: no suspend, no TA, no interruptible window while it is held.
    pub fn state(&self) -> SpinMutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state, unless somebody has it locked: for crash reports.
    pub fn try_state(&self) -> Option<SpinMutexGuard<'_, State>> {
        self.state.try_lock()
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
        let mut octets = [0; 8];
        self.machine.random(&mut octets);
        u64::from_le_bytes(octets)
    }

    /// A number that tells this boot from others, never 0. It is drawn when it is first asked for, so that
    /// boot does not wait for it.
    pub fn boot(&self) -> u64 {
        *self.boot.call_once(|| self.random_u64().max(1))
    }

    /// Milliseconds since boot.
    pub fn uptime_millis(&self) -> u64 {
        self.millis_at(self.machine.ticks())
    }

    /// Milliseconds since boot at a reading of the counter.
    pub fn millis_at(&self, ticks: u64) -> u64 {
        millis(ticks, self.machine.ticks_per_second())
    }
}

/// Bytes as a count of pages that fits the allocator's type.
///
/// # Errors
/// `OUT_OF_MEMORY` when there can be no such number of pages.
pub fn page_count(bytes: u64) -> Result<u32, TeeResult> {
    u32::try_from(bytes.div_ceil(PAGE_SIZE as u64)).map_err(|_| TeeResult::OUT_OF_MEMORY)
}
