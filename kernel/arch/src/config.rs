//! Sizes and places that the machine floor fixes at build time.
//!
//! **Invariant:** the virtual ranges below do not overlap; linker/kernel.ld uses the same numbers.

use core::arch::global_asm;

use tally_core::call::thread::MAX_THREADS;
use tally_core::ta::enter::STACK_RESERVE;
use tally_mem::machine::STACK_PAGES;

/// CPUs that can run the kernel; index = affinity level 0.
pub const MAX_CPUS: usize = 4;
/// Kernel threads: yielding calls in flight.
pub const NUM_THREADS: usize = 64;
/// Of these, threads that always have a stack; the others are lent one for a call.
pub const RESIDENT_THREADS: usize = 8;
/// Bytes of a kernel thread's stack.
pub const THREAD_STACK_BYTES: usize = STACK_PAGES * 4096;
/// Bytes of the stack on which a CPU runs fast calls and switches threads.
pub const CPU_STACK_BYTES: usize = 8 * 1024;
/// Bytes of the stack on which a CPU reports a crash.
pub const EMERGENCY_STACK_BYTES: usize = 8 * 1024;

/// Virtual minus physical address of the kernel's image.
pub const IMAGE_OFFSET: u64 = 0xffff_ffff_c000_0000;
/// Virtual address of the first stack slot.
pub const STACKS_BASE: u64 = 0xffff_ffff_d000_0000;
/// Distance of stack slots: a stack lies at its slot's end, the rest of the slot is its guard.
pub const STACK_SLOT_BYTES: u64 = 64 * 1024;
/// Slots: threads, then CPU stacks, then emergency stacks.
pub const STACK_SLOTS: usize = NUM_THREADS + 2 * MAX_CPUS;
/// Virtual minus physical address of everything else (secure RAM, normal RAM, devices).
pub const DIRECT_BASE: u64 = 0xffff_ff80_0000_0000;
/// Physical addresses from here on cannot be mapped: the last GiB is the image's.
pub const DIRECT_LIMIT: u64 = 511 << 30;
/// Normal-world RAM assumed when no device tree is given.
pub const DEFAULT_RAM_BYTES: u64 = 256 << 20;
/// Ranges of normal-world RAM known at most.
pub const MAX_RAM_RANGES: usize = 4;

/// Bytes of the stack on which the kernel boots: the memory of all resident threads' stacks, mapped
/// a second time in one piece, and zeroed when boot is over.
pub const BOOT_STACK_BYTES: usize = RESIDENT_THREADS * THREAD_STACK_BYTES;
/// Level 3 tables of the stacks' address range.
pub const STACK_TABLES: usize = 3;
/// End of the stacks' address range, where the boot stack begins to grow down.
pub const STACKS_END: u64 = STACKS_BASE + STACK_TABLES as u64 * (2 << 20);

/// Bytes of arguments (64) and answer (32) at the top of a stack.
pub(crate) const SWITCH_FRAME_BYTES: u64 = 96;
const _: () = assert!(SWITCH_FRAME_BYTES.is_multiple_of(16));

// What `cargo xtask stacks` and tests of crash reports compare the image's code with, as symbols without a place.
global_asm!(
    "
    .global tally_thread_stack_bytes, tally_cpu_stack_bytes, tally_emergency_stack_bytes
    .global tally_boot_stack_bytes, tally_stack_reserve_bytes, tally_switch_frame_bytes
    .global tally_stacks_base, tally_stack_slot_bytes, tally_threads
    .set tally_thread_stack_bytes, {thread}
    .set tally_cpu_stack_bytes, {cpu}
    .set tally_emergency_stack_bytes, {emergency}
    .set tally_boot_stack_bytes, {boot}
    .set tally_stack_reserve_bytes, {reserve}
    .set tally_switch_frame_bytes, {switch}
    .set tally_stacks_base, {base}
    .set tally_stack_slot_bytes, {slot}
    .set tally_threads, {threads}
    ",
    thread = const THREAD_STACK_BYTES,
    cpu = const CPU_STACK_BYTES,
    emergency = const EMERGENCY_STACK_BYTES,
    boot = const BOOT_STACK_BYTES,
    reserve = const STACK_RESERVE,
    switch = const SWITCH_FRAME_BYTES,
    base = const STACKS_BASE,
    slot = const STACK_SLOT_BYTES,
    threads = const NUM_THREADS,
);

/// Blocks of 2 MiB that the image may lie in; the linker script has them too.
pub(crate) const IMAGE_BLOCKS: usize = 2;

// What the tables of `mmu` ask of a board: secure RAM in whole blocks of 2 MiB, the image in two of them
// and below the stacks' addresses, GIC and UART in a block of their own each, the GPIO that switches the machine
// off in the UART's; all in the first GiB, which has nothing of the normal world's.
const _: () = {
    use tally_board::*;
    const BLOCK: u64 = 2 << 20;
    const GIB: u64 = 1 << 30;
    const IMAGE_END: u64 = KERNEL_BASE - KERNEL_BASE % BLOCK + IMAGE_BLOCKS as u64 * BLOCK;
    assert!(SECURE_RAM_BASE.is_multiple_of(BLOCK) && SECURE_RAM_END.is_multiple_of(BLOCK));
    assert!(SECURE_RAM_BASE <= KERNEL_BASE && KERNEL_BASE.is_multiple_of(4096));
    assert!(IMAGE_END <= SECURE_RAM_END && IMAGE_END <= STACKS_BASE - IMAGE_OFFSET);
    assert!(SECURE_RAM_END <= GIB && SECURE_UART < GIB && GICD < GIB && RAM_BASE >= GIB);
    assert!(SECURE_UART / BLOCK != GICD / BLOCK && SECURE_UART / BLOCK == SECURE_GPIO / BLOCK);
    assert!(SECURE_UART < SECURE_RAM_BASE || SECURE_UART >= SECURE_RAM_END);
    assert!(GICD < SECURE_RAM_BASE || GICD >= SECURE_RAM_END);
};
const _: () = assert!(
    STACKS_BASE + (STACK_SLOTS as u64 + 1) * STACK_SLOT_BYTES + BOOT_STACK_BYTES as u64
        <= STACKS_END
);
const _: () = assert!(RESIDENT_THREADS <= NUM_THREADS && NUM_THREADS <= MAX_THREADS);
const _: () = assert!(THREAD_STACK_BYTES < STACK_SLOT_BYTES as usize);
