//! From reset-like state at EL1 to Rust: stacks, identity map, vectors.
//!
//! **Invariant:** below 1 GiB is device memory, the next GiB is cached RAM; virtual is physical.

use core::arch::global_asm;

use super::{console, exceptions, init_heap, interrupts};

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
    1:  ldr     x1, ={stack0_end}
        mov     x19, x0
        bl      enable_mmu
        mov     x0, x19
        b       {start_first}

    .global start_secondary
    start_secondary:
        ldr     x1, ={stack1_end}
        bl      enable_mmu
        b       {start_second}

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
    stack0_end = sym __stack0_end,
    stack1_end = sym __stack1_end,
    ram = const tally_board_virt::RAM_BASE,
    vectors = sym exceptions::vectors,
    start_first = sym start_first,
    start_second = sym start_second,
);

unsafe extern "C" {
    static __bss_start: u8;
    static __bss_end: u8;
    static __stack0_end: u8;
    static __stack1_end: u8;
    fn start_secondary();
}

/// Where PSCI starts the second CPU.
pub(super) fn secondary_entry() -> u64 {
    start_secondary as *const () as u64
}

extern "C" fn start_first(_device_tree: u64) -> ! {
    init_heap();
    console::init();
    interrupts::init_first();
    crate::shell::main()
}

extern "C" fn start_second() -> ! {
    interrupts::init_second();
    crate::jobs::second_cpu()
}
