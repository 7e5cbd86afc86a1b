//! Entering the two worlds from Rust, and the assembly that holds reset, vectors and tables.
//!
//! **Invariant:** only the CPU that a context belongs to touches it.

use core::arch::global_asm;

use tally_abi::opteed::Vector;
use tally_board_virt as virt;

use crate::context::{self, CpuContext, offset};
use crate::{crash, gic, sysreg, trap};

/// Start of the block of 2 MiB that an address lies in.
const fn block(address: u64) -> u64 {
    address & !((2 << 20) - 1)
}

global_asm!(
    include_str!("asm/tables.s"),
    FLASH = const virt::FLASH_BASE,
    FLASH_BYTES = const virt::FLASH_BYTES,
    GIC = const block(virt::GICD),
    UART = const block(virt::SECURE_UART),
    SECURE_RAM = const virt::SECURE_RAM_BASE,
    SECURE_RAM_END = const virt::SECURE_RAM_END,
    KERNEL = const virt::KERNEL_BASE,
    RAM = const virt::RAM_BASE,
    MAX_CPUS = const context::MAX_CPUS,
    STACKS = const context::STACKS_BASE,
    STACK_STRIDE = const context::STACK_STRIDE,
);
global_asm!(
    include_str!("asm/reset.s"),
    SCR_SECURE = const sysreg::SCR_SECURE,
    MAX_CPUS = const context::MAX_CPUS,
    GICR = const virt::GICR,
    WAKE_SGI = const gic::WAKE_SGI,
    STACKS_BASE = const context::STACKS_BASE,
    STACK_STRIDE = const context::STACK_STRIDE,
    CONTEXT_SIZE = const size_of::<CpuContext>() + context::KEPT_BYTES,
);
global_asm!(
    include_str!("asm/vectors.s"),
    include_str!("asm/fp.s"),
    SECURE_ENTRY = const offset::SECURE_ENTRY,
    NORMAL_GP = const offset::NORMAL_GP,
    NORMAL_SYS = const offset::NORMAL_SYS,
    NORMAL_ONLY = const offset::NORMAL_ONLY,
    SECURE_SYS = const offset::SECURE_SYS,
    NORMAL_SPSR = const offset::NORMAL_SPSR,
    NORMAL_SCR = const offset::NORMAL_SCR,
    NORMAL_ARGS = const offset::NORMAL_ARGS,
    MONITOR_SP = const offset::MONITOR_SP,
    HAS_PMU = const offset::HAS_PMU,
    NORMAL_PMCR = const offset::NORMAL_PMCR,
    TRAPPED_GP = const offset::TRAPPED_GP,
    CPTR_SECURE = const offset::CPTR_SECURE,
    CPTR_OPEN = const sysreg::CPTR_OPEN,
    KEPT = const offset::KEPT,
    KEPT_FPSR = const offset::KEPT_FPSR,
    SCALABLE = const offset::SCALABLE,
    CONTEXT_SIZE = const size_of::<CpuContext>(),
    GIVE_BACK = sym trap::give_back,
    SPSR_EL1H_MASKED = const context::SPSR_EL1H_MASKED,
    FIQ_OFFSET = const Vector::Fiq.offset(),
    CRASH_FRAME = sym crash::CRASH_AREA,
    CRASH_STACK_END = const size_of::<crash::CrashArea>(),
);

/// How the secure world came back from [`enter_secure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct SecureReturn {
    /// One of `opteed::ret`, never CALL_DONE or FIQ_DONE.
    pub(crate) id: u64,
    /// Its x1.
    pub(crate) value: u64,
}

unsafe extern "C" {
    fn monitor_enter_secure(
        context: *mut CpuContext,
        entry: u64,
        x0: u64,
        x1: u64,
        x2: u64,
        x3: u64,
    ) -> SecureReturn;
    fn monitor_enter_normal(context: *mut CpuContext) -> !;
    fn monitor_park() -> !;
}

/// Runs the secure world from physical address `entry` until it returns.
pub(crate) fn enter_secure(context: &mut CpuContext, entry: u64, args: [u64; 4]) -> SecureReturn {
    let [x0, x1, x2, x3] = args;
    // SAFETY:
    // 1. `context` is this CPU's, at the top of the stack we run on, exclusively borrowed.
    // 2. The assembly keeps our callee-saved registers below our frame and gives them back.
    // 3. The secure world cannot reach the monitor's memory but by being trusted not to.
    unsafe { monitor_enter_secure(context, entry, x0, x1, x2, x3) }
}

/// Leaves for the normal world as `context` says; this EL3 stack is done with.
pub(crate) fn enter_normal(context: &mut CpuContext) -> ! {
    // SAFETY: `context` is this CPU's, exclusively borrowed, and its normal world's state is whole.
    unsafe { monitor_enter_normal(context) }
}

/// Halts this CPU until PSCI CPU_ON starts it afresh.
pub(crate) fn park() -> ! {
    // SAFETY: the parking place uses no memory; the CPU's stack is taken anew when it wakes.
    unsafe { monitor_park() }
}
