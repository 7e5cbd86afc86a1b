//! Cold boot: CPU 0 loads the kernel, runs it once, and starts the normal world; the others come up
//! by CPU_ON, secure world first.
//!
//! **Invariant:** no CPU enters the normal world before its secure world has said that it is up.

use core::arch::asm;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use tally_abi::opteed::{Vector, ret};
use tally_board_virt as virt;

use crate::context::CpuContext;
use crate::package::{self, HEADER_BYTES, LINE_BYTES};
use crate::psci::Cpus;
use crate::{console, crash, gic, payload, sysreg, world};

/// Power states of all CPUs.
pub(crate) static CPUS: Cpus = Cpus::new();
/// Physical address of the kernel's vector table, once CPU 0 has it.
static VECTOR_TABLE: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
unsafe extern "C" fn monitor_primary(context: *mut CpuContext, cpu: u64) -> ! {
    // SAFETY: reset hands over this CPU's own context, which nothing else refers to; it is plain
    // data in mapped RAM.
    let context = unsafe { take(context, cpu) };
    console::init();
    match gic::init_distributor() {
        Ok(count) => CPUS.set_count(count),
        Err(error) => crash::refuse(format_args!("GIC: {error}")),
    }
    if let Err(error) = gic::init_cpu(cpu as usize) {
        crash::refuse(format_args!("GIC: {error}"));
    }
    // SAFETY: flash is mapped for reading.
    let header = unsafe {
        *((virt::FLASH_BASE + virt::images::PACKAGE_OFFSET) as *const [u8; HEADER_BYTES])
    };
    let kernel = match package::find_kernel(header) {
        Ok(range) => range,
        Err(error) => crash::refuse(format_args!("{error}")),
    };
    load(&kernel);

    let done = world::enter_secure(context, virt::KERNEL_BASE, [0, 0, virt::RAM_BASE, 0]);
    if done.id != ret::ENTRY_DONE || done.value == 0 {
        crash::refuse(format_args!(
            "kernel did not start: {:#x} {:#x}",
            done.id, done.value
        ));
    }
    VECTOR_TABLE.store(done.value, Ordering::Release);
    context.secure_table = done.value;
    CPUS.set_on(cpu as usize);
    let payload = match payload::load() {
        Ok(payload) => payload,
        Err(error) => crash::refuse(format_args!("{error}")),
    };
    console::line(format_args!(
        "kernel of {} bytes is up, entering {} at {:#x}",
        kernel.end - kernel.start,
        payload.what,
        payload.entry
    ));
    context.start_normal(payload.entry, virt::RAM_BASE, sysreg::has_el2());
    world::enter_normal(context)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn monitor_secondary(context: *mut CpuContext, cpu: u64) -> ! {
    let Some(start) = CPUS.pending_start(cpu as usize) else {
        // Woken by no CPU_ON: the kernel sent the SGI.
        world::park()
    };
    // SAFETY: as in `monitor_primary`.
    let context = unsafe { take(context, cpu) };
    if let Err(error) = gic::init_cpu(cpu as usize) {
        crash::refuse(format_args!("GIC: {error}"));
    }
    let table = VECTOR_TABLE.load(Ordering::Acquire);
    let done = world::enter_secure(context, table + Vector::CpuOn.offset(), [0; 4]);
    if done.id != ret::ON_DONE || done.value != 0 {
        console::line(format_args!(
            "kernel refused CPU {cpu}: {:#x} {:#x}",
            done.id, done.value
        ));
        CPUS.set_off(cpu as usize);
        world::park()
    }
    context.secure_table = table;
    CPUS.set_on(cpu as usize);
    context.start_normal(start.entry, start.context_id, sysreg::has_el2());
    world::enter_normal(context)
}

/// Makes `context` that of a CPU after reset.
///
/// # Safety
/// `context` must be valid for writes and this CPU's own.
unsafe fn take<'a>(context: *mut CpuContext, cpu: u64) -> &'a mut CpuContext {
    sysreg::init_el3();
    let fresh = CpuContext::reset(
        cpu,
        sysreg::SCR_SECURE,
        sysreg::scr_normal(),
        sysreg::features(),
    );
    // SAFETY: by our contract.
    unsafe {
        context.write(fresh);
        &mut *context
    }
}

/// Copies the image to where the kernel is linked, and makes it visible to a CPU with caches off.
fn load(image: &Range<u64>) {
    let size = (image.end - image.start).next_multiple_of(LINE_BYTES);
    let end = virt::KERNEL_BASE + size;
    // SAFETY:
    // 1. `find_kernel` has checked that the image lies in flash and fits the kernel's RAM, both
    //    mapped; both ends are multiples of a line, so rounding the size up stays within them.
    // 2. Nobody uses the kernel's RAM yet.
    unsafe {
        asm!(
            "2: ldp {a}, {b}, [{from}], #16",
            "ldp {c}, {d}, [{from}], #16",
            "ldp {e}, {f}, [{from}], #16",
            "ldp {g}, {h}, [{from}], #16",
            "stp {a}, {b}, [{to}]",
            "stp {c}, {d}, [{to}, #16]",
            "stp {e}, {f}, [{to}, #32]",
            "stp {g}, {h}, [{to}, #48]",
            "dc cvac, {to}",
            "add {to}, {to}, #64",
            "cmp {to}, {end}",
            "b.lo 2b",
            "dsb sy",
            "ic iallu",
            "dsb sy",
            "isb",
            from = inout(reg) image.start => _,
            to = inout(reg) virt::KERNEL_BASE => _,
            end = in(reg) end,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
            options(nostack),
        );
    }
}
