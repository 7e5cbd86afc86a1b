//! The roof of the secure kernel: boot order, statics, wiring. Exports nothing.
//!
//! **Invariant:** every `static` of the kernel is here or in the machine floor, and on the list
//! that `cargo xtask tidy` checks.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod embedded;
#[cfg(all(target_os = "none", feature = "test-hooks"))]
mod faults;
#[cfg(target_os = "none")]
mod heap;
#[cfg(all(target_os = "none", feature = "stats"))]
mod heap_books;
#[cfg(target_os = "none")]
mod oom;
#[cfg(target_os = "none")]
mod roof;

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    tally_arch::panic(info)
}
