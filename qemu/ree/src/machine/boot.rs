//! From reset-like state at EL1 to Rust: stacks, identity map, vectors.
//!
//! **Invariant:** below 1 GiB is device memory, the next GiB is cached RAM; virtual is physical.

use core::arch::global_asm;

use super::{console, exceptions, init_heap, interrupts};

/// From one CPU's stack to the next, as linker/ree.ld lays them out.
const STACK_STRIDE: u64 = 0x41000;

// Translation: 39-bit addresses, 4 KiB granule, one level-1 table of 1 GiB blocks
// (Arm ARM DDI 0487, D8). MAIR attribute 0 is device nGnRE, 1 is write-back cached.
global_asm!(
    r#"
    .section .text.boot, "ax"
    .global _start
    _start:
        ldr     x1, ={bss_start}
        ldr     x2, ={bss_end}
    0:  cmp     x1, x2
        b.hs    1f
        stp     xzr, xzr, [x1], #16
        b       0b
    1:  ldr     x1, ={stacks} + {stride}
        mov     x19, x0
        bl      enable_mmu
        mov     x0, x19
        b       {start_first}

    .global start_secondary
    start_secondary:
        // x0: context id of CPU_ON
        mov     x1, x0
        bl      enable_mmu
        b       {start_other}

    // x1: stack
    enable_mmu:
        mov     sp, x1
        ldr     x0, ={vectors}
        msr     vbar_el1, x0
        msr     tpidr_el1, xzr
        mov     x0, #(3 << 20)
        msr     cpacr_el1, x0
        ldr     x0, =0xff04
        msr     mair_el1, x0
        // T0SZ = 25, inner and outer write-back, inner shareable, no TTBR1, 36-bit physical.
        ldr     x0, =0x100803519
        msr     tcr_el1, x0
        adr     x0, identity_map
        msr     ttbr0_el1, x0
        tlbi    vmalle1
        ic      iallu
        dsb     nsh
        isb
        ldr     x0, =0x30d0180d
        msr     sctlr_el1, x0
        isb
        mov     x29, xzr
        ret

    .balign 4096
    identity_map:
        .quad 0x0060000000000401
        .quad {ram} + 0x705
        .fill 510, 8, 0
    "#,
    bss_start = sym __bss_start,
    bss_end = sym __bss_end,
    stacks = sym __stacks,
    stride = const STACK_STRIDE,
    ram = const tally_board_virt::RAM_BASE,
    vectors = sym exceptions::vectors,
    start_first = sym start_first,
    start_other = sym start_other,
);

unsafe extern "C" {
    static __bss_start: u8;
    static __bss_end: u8;
    static __stacks: u8;
    fn start_secondary();
}

/// Where PSCI starts other CPUs.
pub(super) fn secondary_entry() -> u64 {
    start_secondary as *const () as u64
}

/// Where the stack of CPU `cpu` ends: what PSCI gives it when it starts.
pub(super) fn stack_end(cpu: usize) -> u64 {
    (&raw const __stacks).addr() as u64 + (cpu as u64 + 1) * STACK_STRIDE
}

extern "C" fn start_first(_device_tree: u64) -> ! {
    init_heap();
    console::init();
    interrupts::init_first();
    crate::shell::main()
}

extern "C" fn start_other() -> ! {
    interrupts::init_other();
    crate::jobs::other_cpu()
}
