//! Machine traits of the portable kernel; host tests implement them with a model.
//!
//! **Invariant:** implementations do no policy; they touch memory, registers and devices.

use crate::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use crate::owner::OwnerId;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use tally_abi::TeeUuid;

/// Access to translation tables, which lie in secure pages.
pub trait TableMemory {
    /// Entry `index` (0..512) of the table in `table`.
    fn read_entry(&self, table: PhysPage, index: usize) -> u64;
    /// Sets entry `index` (0..512) of the table in `table`. Ordered before later walks of this
    /// table by any CPU once [`Tlb`]'s or [`UserCpu`]'s functions are called.
    fn write_entry(&self, table: PhysPage, index: usize, value: u64);
}

/// Access to the contents of secure pages through the kernel's own mapping.
///
/// The caller owns the pages it names; implementations refuse (panic on) addresses outside of
/// secure RAM, which only a kernel bug can produce.
pub trait SecureMemory {
    /// Copies out of secure memory; `pa..pa + buf.len()` may cross pages that are adjacent.
    fn read_secure(&self, pa: PhysAddr, buf: &mut [u8]);
    /// Copies into secure memory.
    fn write_secure(&self, pa: PhysAddr, data: &[u8]);
    /// Fills a page with zeros.
    fn zero_page(&self, page: PhysPage);
    /// Lends a page's bytes, which the caller owns and nobody writes meanwhile, for reading: a TA's own pages are only
    /// copied ([`Self::read_secure`]).
    fn with_page<R>(&self, page: PhysPage, read: impl FnOnce(&[u8; PAGE_SIZE]) -> R) -> R;
    /// Makes instructions written to a page visible to instruction fetch.
    fn sync_code(&self, page: PhysPage);
}

/// Access to memory of the normal world, which may change under our hands at any time.
pub trait NormalMemory {
    /// Whether all of `pa..pa + len` is normal-world RAM (never secure memory, never a device).
    fn is_normal(&self, pa: PhysAddr, len: u64) -> bool;
    /// Copies out, each byte read once. False, and nothing copied, unless [`Self::is_normal`].
    fn read_normal(&self, pa: PhysAddr, buf: &mut [u8]) -> bool;
    /// Copies in. False, and nothing copied, unless [`Self::is_normal`].
    fn write_normal(&self, pa: PhysAddr, data: &[u8]) -> bool;
}

/// Invalidation of cached translations of TAs' address spaces, on all CPUs.
pub trait Tlb {
    /// Forgets one page of an address space.
    fn flush_page(&self, asid: u16, va: u64);
    /// Forgets an address space.
    fn flush_asid(&self, asid: u16);
}

/// Registers of a TA between its runs.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct UserContext {
    /// x0..x30.
    pub x: [u64; 31],
    /// Stack pointer (SP_EL0).
    pub sp: u64,
    /// Program counter.
    pub pc: u64,
    /// Saved process state; flags only, mode and masks are set by the implementation.
    pub pstate: u64,
    /// Thread pointer (TPIDR_EL0).
    pub tpidr: u64,
}

/// Floating-point and SIMD registers of a TA, while they are not in the CPU: V0 to V31, FPSR and FPCR, all zero at first.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Vectors {
    words: [AtomicU64; Self::WORDS],
}

impl Vectors {
    /// Registers V0 to V31.
    pub const COUNT: usize = 32;
    /// Words of 64 bits: two for each V register, low one first, FPSR and FPCR.
    pub const WORDS: usize = 2 * Self::COUNT + 2;

    /// As they are before their first use.
    #[must_use]
    pub const fn zero() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; Self::WORDS],
        }
    }

    /// One of the V registers.
    #[must_use]
    pub fn get(&self, n: usize) -> u128 {
        let word = |at: usize| u128::from(self.words[at].load(Ordering::Relaxed));
        word(2 * n) | word(2 * n + 1) << 64
    }

    /// Whether all of them are zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        let mut words = self.words.iter();
        words.all(|word| word.load(Ordering::Relaxed) == 0)
    }
}

/// An address space as the hardware needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRoot {
    /// Top translation table (39-bit addresses, 4 KiB granule: level 1).
    pub table: PhysPage,
    /// Address space id, 1..=255.
    pub asid: u16,
}

/// Why a TA stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// `svc #0`.
    Syscall,
    /// A data or instruction access that translation refused.
    Abort(Abort),
    /// Floating point or SIMD, whose registers were not lent to it. ESR_EL1.
    Vectors {
        /// Exception syndrome.
        esr: u64,
    },
    /// Anything else that ends it: undefined instruction, breakpoint, alignment. ESR_EL1.
    Fault {
        /// Exception syndrome.
        esr: u64,
    },
    /// An interrupt of the normal world is pending: suspend with `RPC_FOREIGN_INTR`.
    ForeignInterrupt,
    /// An interrupt of the secure world came and is dealt with: another CPU may want something.
    SecureInterrupt,
}

/// A refused access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// Address accessed.
    pub va: u64,
    /// Exception syndrome (ESR_EL1).
    pub esr: u64,
    /// What was tried.
    pub access: Access,
    /// Translation fault (nothing mapped) rather than a permission or other fault.
    pub translation: bool,
}

/// Kinds of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Instruction fetch.
    Execute,
}

/// Running TAs.
pub trait UserCpu {
    /// Runs at EL0 in `root` from `context` until a trap; interrupts of the normal world are
    /// unmasked meanwhile. Must be called on a kernel thread. May return on another CPU only if
    /// the caller suspends in between.
    fn run_user(&self, context: &mut UserContext, root: UserRoot) -> Trap;

    /// Puts a TA's floating-point and SIMD registers into this CPU, for EL0 to use, and keeps the normal world's meanwhile;
    /// false where there are none for TAs. They are back in `vectors`, and the normal world's in the CPU, after
    /// [`Self::take_vectors`] and whenever the thread leaves for the normal world; until then `vectors` must stay.
    #[must_use]
    fn lend_vectors(&self, vectors: &Vectors) -> bool;

    /// Undoes it on this CPU, if any were lent.
    fn take_vectors(&self);

    /// Has every other CPU that runs a TA leave it at once with [`Trap::SecureInterrupt`]. What was written
    /// before is seen there.
    fn interrupt_others(&self);

    /// Takes note of where a TA was laid out, or `ldelf`, whose UUID is nil: for debuggers.
    fn laid_out(&self, _: TeeUuid, _base: u64) {}
}

/// The current kernel thread.
pub trait ThreadControl {
    /// Leaves for the normal world with x0..x3 = `out` and comes back, perhaps on another CPU,
    /// with the x0..x7 of the resuming call. The caller holds no lock.
    fn suspend(&self, out: [u64; 4]) -> [u64; 8];
    /// Runs `work` with interrupts of the normal world let through: the thread may suspend and
    /// resume in the middle. The caller holds no lock.
    fn interruptible<R>(&self, work: impl FnOnce() -> R) -> R;
    /// Number of the current thread.
    fn thread_id(&self) -> usize;
    /// Whom heap blocks allocated on this thread belong to; returns the previous owner.
    fn set_owner(&self, owner: OwnerId) -> OwnerId;
    /// Free bytes left on this thread's stack.
    fn stack_left(&self) -> usize;
}

/// Pages of a kernel thread's stack.
pub const STACK_PAGES: usize = 8;

/// Stacks of the kernel's threads. Some threads always have one; the others are lent one for a call.
pub trait ThreadStacks {
    /// Threads below this number always have a stack.
    fn resident_threads(&self) -> usize;
    /// Gives `thread`, which is not resident and has no stack, one of these zeroed pages.
    fn lend_stack(&self, thread: usize, pages: &[PhysPage; STACK_PAGES]);
    /// Takes the stack of `thread`, which does not run, away on all CPUs; returns its pages.
    fn return_stack(&self, thread: usize) -> [PhysPage; STACK_PAGES];
}

/// Time and chance.
pub trait Clock {
    /// Counter ticks since power-on.
    fn ticks(&self) -> u64;
    /// Ticks a second, never 0.
    fn ticks_per_second(&self) -> u64;
    /// Fills with unpredictable bytes.
    fn random(&self, buf: &mut [u8]);
    /// Mixes what somebody else believes to be unpredictable into what the bytes are made of.
    fn stir(&self, words: [u64; 4]);
}

/// Registers that functions preserve for their callers (AAPCS64: x19..x28).
pub const PRESERVED: usize = 10;

/// The running stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Here {
    /// Address of the last word pushed.
    pub stack_pointer: u64,
    /// What the preserved registers hold.
    pub registers: [u64; PRESERVED],
}

/// The kernel's own memory outside of its heap, where pointers into the heap may be.
pub trait KernelRoots {
    /// Addresses of the kernel's variables, range by range; `None` after the last.
    fn variables(&self, index: usize) -> Option<Range<u64>>;
    /// What of a thread's stack may hold something: from the stack pointer up if the thread is
    /// suspended, else all of it.
    fn stack_of(&self, thread: usize, suspended: bool) -> Range<u64>;
    /// The running stack, as the caller has it.
    fn here(&self) -> Here;
    /// Reads words from `at`, a multiple of eight, in variables, stacks and the kernel heap.
    /// Returns how many words could be read: 0 where nothing is. Others may write them meanwhile.
    fn read_words(&self, at: u64, words: &mut [u64]) -> usize;
}

/// Milliseconds since power-on at a reading of the counter that has `hz` ticks a second.
#[must_use]
pub const fn millis(ticks: u64, hz: u64) -> u64 {
    ticks / hz * 1000 + ticks % hz * 1000 / hz
}

/// A range of the kernel's own addresses, all of it mapped in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMapping {
    /// First virtual address.
    pub va: u64,
    /// First physical address; 0 if nothing is mapped.
    pub pa: u64,
    /// Bytes.
    pub bytes: u64,
    /// [`tally_records::prot`] bits; 0 for a guard, where nothing is mapped on purpose.
    pub prot: u32,
    /// What is there.
    pub label: &'static str,
}

/// The kernel's own address space.
pub trait KernelMap {
    /// The first mapping, or guard of a stack, that ends behind the virtual address `from`, from there on.
    /// What it tells comes from the tables that the hardware walks.
    fn kernel_mapping(&self, from: u64) -> Option<KernelMapping>;
}

/// All of it.
pub trait Machine:
    TableMemory
    + SecureMemory
    + NormalMemory
    + Tlb
    + UserCpu
    + ThreadControl
    + ThreadStacks
    + Clock
    + KernelMap
    + KernelRoots
{
}

impl<T> Machine for T where
    T: TableMemory
        + SecureMemory
        + NormalMemory
        + Tlb
        + UserCpu
        + ThreadControl
        + ThreadStacks
        + Clock
        + KernelMap
        + KernelRoots
{
}
