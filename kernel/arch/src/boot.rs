//! From the firmware's jump to the roof's main function, and the start of other CPUs.
//!
//! **Invariant:** what runs with the MMU off is one page of assembler and
//! [`mmu::build_tables`]; both find their data relative to the program counter.
//!
//! Source: optee_os teesmc_opteed.h for the state at entry; Arm ARM DDI 0487 for the rest.

use core::arch::global_asm;
use core::ops::Range;

use log::{info, warn};
use spin::Once;
use tally_abi::opteed::ret;
use tally_mem::addr::PhysAddr;

use crate::config::*;
use crate::thread::Hooks;
use crate::{clock, console, gic, layout, mmu, percpu, thread, vectors};

/// What the firmware told us.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// Address of the device tree, 0 if there is none.
    pub device_tree: PhysAddr,
    /// Counter when the kernel was entered.
    pub entry_ticks: u64,
}

/// The roof's main function.
pub type RoofMain = fn(&BootInfo) -> &'static (dyn Hooks + Sync);

unsafe extern "Rust" {
    /// Defined by [`crate::entry!`].
    safe fn tally_roof_main(boot: &BootInfo) -> &'static (dyn Hooks + Sync);
}

unsafe extern "C" {
    static tally_opteed_vectors: u8;
}

/// Normal-world RAM that is mapped, empty ranges last.
static RAM: Once<[Range<u64>; MAX_RAM_RANGES]> = Once::new();

/// Normal-world RAM that is mapped.
pub(crate) fn normal_ram() -> &'static [Range<u64>] {
    RAM.get().map_or(&[], |ranges| ranges)
}

// The boot page, first in the image: at its entry with the MMU off, and for the dispatcher's
// entries under the identity map. x19.. hold what must survive calls.
global_asm!(
    r#"
    .pushsection .text.idmap, "ax"
    .global _start
_start:
    msr     daifset, #0xf
    mrs     x21, cntpct_el0
    mov     x20, x2
    // Memory that the file does not bring: drop cached lines, zero, drop again.
    adrp    x0, __zero_start
    adrp    x1, __image_end
    bl      tally_drop_lines
    adrp    x0, __zero_start
1:  stp     xzr, xzr, [x0]
    stp     xzr, xzr, [x0, #16]
    stp     xzr, xzr, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    add     x0, x0, #64
    cmp     x0, x1
    b.lo    1b
    // The first CPU's own stack, physically: the last of the thread stacks' successors.
    adrp    x0, {stacks}
    movz    x2, #({cpu_stack_end} & 0xffff)
    movk    x2, #({cpu_stack_end} >> 16), lsl #16
    add     sp, x0, x2
    mov     x29, xzr
    bl      {build_tables}
    adrp    x0, __zero_start
    adrp    x1, __image_end
    bl      tally_drop_lines
    adr     x19, 8f
    b       tally_enable_mmu
8:  .quad   tally_start_high

    // Invalidates x0..x1, line by line as CTR_EL0 says. Clobbers x3, x4.
tally_drop_lines:
    mrs     x3, ctr_el0
    ubfx    x3, x3, #16, #4
    mov     x4, #4
    lsl     x4, x4, x3
2:  dc      ivac, x0
    add     x0, x0, x4
    cmp     x0, x1
    b.lo    2b
    dsb     sy
    adrp    x0, __zero_start
    ret

    // Turns the MMU on and goes to the address stored at x19. Clobbers x8..x10.
tally_enable_mmu:
    movz    x9, #{mair}
    msr     mair_el1, x9
    ldr     x9, 7f
    mrs     x10, id_aa64mmfr0_el1
    and     x10, x10, #0xf
    cmp     x10, #5
    mov     x8, #5
    csel    x10, x10, x8, lo
    orr     x9, x9, x10, lsl #32
    msr     tcr_el1, x9
    adrp    x9, {idmap}
    msr     ttbr0_el1, x9
    adrp    x9, {kernel}
    msr     ttbr1_el1, x9
    msr     cpacr_el1, xzr
    msr     cntkctl_el1, xzr
    msr     mdscr_el1, xzr
    msr     tpidrro_el0, xzr
    dsb     sy
    isb
    tlbi    vmalle1
    dsb     nsh
    ic      iallu
    dsb     nsh
    isb
    ldr     x9, 7f + 8
    mrs     x10, id_aa64mmfr1_el1
    ubfx    x10, x10, #20, #4
    cbz     x10, 1f
    and     x9, x9, #~(1 << 23)
1:  ldr     x19, [x19]
    msr     sctlr_el1, x9
    isb
    cbz     x10, 2f
    .inst   0xd500419f          // msr pan, #1
2:  br      x19
    .balign 8
7:  .quad   {tcr}
    .quad   {sctlr}

    // A CPU started by the firmware, MMU off.
tally_cpu_on:
    msr     daifset, #0xf
    mrs     x21, mpidr_el1
    and     x21, x21, #0xff
    cmp     x21, #{max_cpus}
    b.hs    1f
    adr     x19, 8f
    b       tally_enable_mmu
8:  .quad   tally_cpu_on_high
1:  mov     x1, #1
    ldr     x0, 7f
    smc     #0
    b       .
    .balign 8
7:  .quad   {on_done}

    // The dispatcher's vector table, tally_abi::opteed::Vector.
    .balign 64
    .global tally_opteed_vectors
tally_opteed_vectors:
    b       20f
    b       21f
    b       tally_cpu_on
    b       22f
    b       23f
    b       24f
    b       25f
    b       26f
    b       27f
20: ldr     x16, 30f
    br      x16
21: ldr     x16, 31f
    br      x16
22: mov     w0, #{off_done}
    b       28f
23: mov     w0, #{resume_done}
    b       28f
24: mov     w0, #{suspend_done}
    b       28f
25: ldr     x16, 32f
    br      x16
26: mov     w0, #{system_off_done}
    b       28f
27: mov     w0, #{system_reset_done}
28: movk    w0, #0xbe00, lsl #16
    mov     x1, xzr
    smc     #0
    b       .
    .balign 8
30: .quad   tally_yield_entry
31: .quad   tally_fast_entry
32: .quad   tally_fiq_entry
    .popsection

    .pushsection .text.vectors, "ax"
tally_start_high:
    ldr     x9, =tally_el1_vectors
    msr     vbar_el1, x9
    ldr     x9, ={percpu}
    msr     tpidr_el1, x9
    isb
    ldr     x9, ={boot_stack}
    mov     sp, x9
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    mov     x1, x21
    bl      {start}
    // The thread stacks begin zeroed; boot ran on their memory.
    mov     x19, x0
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #{cpu_stack}]
    mov     sp, x9
    ldr     x0, ={boot_stack} - {boot_stack_bytes}
    ldr     x1, ={boot_stack_bytes}
    bl      tally_zero
    mov     x1, x19
    ldr     x0, ={entry_done}
    smc     #0
    b       .

tally_cpu_on_high:
    ldr     x9, =tally_el1_vectors
    msr     vbar_el1, x9
    ldr     x9, ={percpu}
    mov     x10, #{percpu_size}
    madd    x9, x21, x10, x9
    msr     tpidr_el1, x9
    isb
    ldr     x9, [x9, #{cpu_stack}]
    mov     sp, x9
    mov     x29, xzr
    mov     x30, xzr
    bl      {start_secondary}
    mov     x1, xzr
    ldr     x0, ={on_done}
    smc     #0
    b       .
    .ltorg
    .popsection
    "#,
    stacks = sym mmu::STACKS,
    cpu_stack_end = const RESIDENT_THREADS * THREAD_STACK_BYTES + CPU_STACK_BYTES,
    build_tables = sym mmu::build_tables,
    mair = const mmu::MAIR,
    tcr = const mmu::TCR,
    sctlr = const mmu::SCTLR,
    idmap = sym mmu::IDMAP_L1,
    kernel = sym mmu::KERNEL_L1,
    max_cpus = const MAX_CPUS,
    on_done = const ret::ON_DONE,
    off_done = const ret::OFF_DONE & 0xffff,
    resume_done = const ret::RESUME_DONE & 0xffff,
    suspend_done = const ret::SUSPEND_DONE & 0xffff,
    system_off_done = const ret::SYSTEM_OFF_DONE & 0xffff,
    system_reset_done = const ret::SYSTEM_RESET_DONE & 0xffff,
    percpu = sym percpu::ALL,
    percpu_size = const percpu::SIZE,
    cpu_stack = const percpu::CPU_STACK,
    boot_stack = const STACKS_END,
    boot_stack_bytes = const BOOT_STACK_BYTES,
    start = sym start,
    start_secondary = sym start_secondary,
    entry_done = const ret::ENTRY_DONE,
);

/// Boots the kernel; returns the physical address of the dispatcher's vector table.
extern "C" fn start(device_tree: u64, entry_ticks: u64) -> u64 {
    // SAFETY: the first code to run with the MMU on, on the only CPU.
    unsafe { percpu::init() };
    gic::init_cpu();
    console::init();
    info!("Tally {}", env!("CARGO_PKG_VERSION"));
    info!("Image kernel: {:016x}", layout::short_id());
    clock::seed();
    find_ram(device_tree);
    let boot = BootInfo {
        device_tree: PhysAddr(device_tree),
        entry_ticks,
    };
    thread::set_hooks(tally_roof_main(&boot));
    vectors::probe();
    mmu::image_pa(&raw const tally_opteed_vectors)
}

/// Prepares a CPU other than the first.
extern "C" fn start_secondary() {
    gic::init_cpu();
    info!("CPU {} is up", percpu::index());
}

/// Finds and maps the RAM of the normal world.
fn find_ram(device_tree: u64) {
    let mut ranges = read_device_tree(device_tree).unwrap_or_else(|| {
        warn!("no memory in the device tree at {device_tree:#x}; assuming 256 MiB");
        let mut ranges = [const { 0..0 }; MAX_RAM_RANGES];
        ranges[0] = tally_board::RAM_BASE..tally_board::RAM_BASE + DEFAULT_RAM_BYTES;
        ranges
    });
    for range in &mut ranges {
        // SAFETY: on the boot CPU, before any other runs.
        *range = unsafe { mmu::map_normal(range.clone(), false) };
        if !range.is_empty() {
            info!("normal-world RAM {:#x}..{:#x}", range.start, range.end);
        }
    }
    RAM.call_once(|| ranges);
}

fn read_device_tree(pa: u64) -> Option<[Range<u64>; MAX_RAM_RANGES]> {
    const HEADER_BYTES: u64 = 8;
    const MAX_BYTES: u64 = 4 << 20;
    if pa == 0 || !pa.is_multiple_of(8) {
        return None;
    }
    // SAFETY: on the boot CPU, before any other runs.
    let header = unsafe { mmu::map_normal(pa..pa.checked_add(HEADER_BYTES)?, true) };
    if !(header.start <= pa && pa + HEADER_BYTES <= header.end) {
        return None;
    }
    let pointer = mmu::direct(pa) as *const u8;
    // SAFETY: mapped just now; no one else runs who could write it.
    let header = unsafe { core::slice::from_raw_parts(pointer, HEADER_BYTES as usize) };
    let total = u64::from(u32::from_be_bytes(*header.last_chunk()?));
    if total > MAX_BYTES {
        return None;
    }
    // SAFETY: as above.
    let mapped = unsafe { mmu::map_normal(pa..pa + total, true) };
    if mapped.end < pa + total {
        return None;
    }
    // SAFETY: as above; only as long as the slice is used here.
    let tree = unsafe { core::slice::from_raw_parts(pointer, total as usize) };
    tally_fdt::memory(tree).filter(|ranges| !ranges[0].is_empty())
}
