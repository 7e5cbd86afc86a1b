//! Per-CPU data, reached through TPIDR_EL1.
//!
//! **Invariant:** field offsets are known to the assembler in boot.rs, thread.rs and exception.rs.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU16, Ordering};

use crate::config::{MAX_CPUS, NUM_THREADS};
use crate::mmu::{self, IDMAP_L1};
use crate::vectors::Lent;

/// A CPU's own data.
#[repr(C, align(64))]
pub(crate) struct PerCpu {
    /// Top of the stack for fast calls and thread switches.
    cpu_stack: u64,
    /// Top of the stack for crash reports.
    emergency_stack: u64,
    /// TTBR0 while no TA runs.
    idmap: u64,
    index: u64,
    /// Whether there are performance monitors: 0 or 1.
    has_pmu: u64,
    /// Owner of heap blocks allocated outside of threads.
    pub(crate) owner: AtomicU16,
    /// Floating-point registers.
    pub(crate) lent: Lent,
}

pub(crate) const CPU_STACK: usize = core::mem::offset_of!(PerCpu, cpu_stack);
pub(crate) const EMERGENCY_STACK: usize = core::mem::offset_of!(PerCpu, emergency_stack);
pub(crate) const IDMAP: usize = core::mem::offset_of!(PerCpu, idmap);
pub(crate) const HAS_PMU: usize = core::mem::offset_of!(PerCpu, has_pmu);
pub(crate) const SIZE: usize = size_of::<PerCpu>();

/// The array that TPIDR_EL1 points into.
pub(crate) struct All(UnsafeCell<[PerCpu; MAX_CPUS]>);

// SAFETY: written by `init` before any other CPU runs; atomics and constants afterwards.
unsafe impl Sync for All {}

pub(crate) static ALL: All = All(UnsafeCell::new(
    [const {
        PerCpu {
            cpu_stack: 0,
            emergency_stack: 0,
            idmap: 0,
            index: 0,
            has_pmu: 0,
            owner: AtomicU16::new(0),
            lent: Lent::nothing(),
        }
    }; MAX_CPUS],
));

/// Fills in every CPU's data.
///
/// # Safety
/// Called once, before other CPUs run and before any exception.
pub(crate) unsafe fn init() {
    // SAFETY: no one else looks at it yet, by contract.
    let all = unsafe { &mut *ALL.0.get() };
    for (index, cpu) in all.iter_mut().enumerate() {
        cpu.cpu_stack = mmu::stack_top(NUM_THREADS + index);
        cpu.emergency_stack = mmu::stack_top(NUM_THREADS + MAX_CPUS + index);
        cpu.idmap = mmu::image_pa(&raw const IDMAP_L1);
        cpu.index = index as u64;
        cpu.has_pmu = u64::from(has_pmu());
    }
}

/// Whether this CPU has performance monitors, as the others have.
fn has_pmu() -> bool {
    let features: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, id_aa64dfr0_el1", out(reg) features, options(nomem, nostack)) };
    !matches!(features >> 8 & 0xf, 0 | 0xf)
}

/// This CPU's data. The caller must not be suspended while it uses the answer.
pub(crate) fn this() -> &'static PerCpu {
    let this: *const PerCpu;
    // SAFETY: reads a register that boot set to an element of `ALL`.
    unsafe {
        asm!("mrs {}, tpidr_el1", out(reg) this, options(nomem, nostack, preserves_flags));
        &*this
    }
}

/// This CPU's index.
pub(crate) fn index() -> usize {
    this().index as usize
}

/// Sets the owner of blocks that this CPU allocates outside of threads.
pub(crate) fn set_owner(owner: u16) -> u16 {
    this().owner.swap(owner, Ordering::Relaxed)
}
