//! memcpy, memmove and memset for AArch64 images: compiler_builtins' move 8 bytes at a time on the
//! target without floating point.
//!
//! An image that wants them says `use tally_memops as _;`.
//!
//! **Invariant:** general registers only; normal memory only, as accesses may be unaligned and
//! DC ZVA is used where the CPU says that it may be (at EL0 as well).
#![no_std]

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
core::arch::global_asm!(include_str!("memory.s"));
