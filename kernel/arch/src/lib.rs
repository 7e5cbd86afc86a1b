//! AArch64 at S-EL1: boot, translation tables, exceptions, kernel threads, devices.
//!
//! **Invariant:** kernel code runs with every interrupt masked, except inside
//! [`ThreadControl::interruptible`](tally_mem::machine::ThreadControl::interruptible); TTBR0 is
//! the identity map whenever no TA runs. No memory is both writable and executable.
//! **Knows nothing of:** messages, sessions, TAs. The roof registers [`Hooks`] for what to do.
#![cfg_attr(not(test), no_std)]

#[cfg(any(target_os = "none", test))]
mod cache;
pub mod config;
#[cfg(any(target_os = "none", test))]
mod random;

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
mod crypto;
#[cfg(target_os = "none")]
mod exception;
#[cfg(target_os = "none")]
mod gic;
#[cfg(target_os = "none")]
mod layout;
#[cfg(target_os = "none")]
mod lock;
#[cfg(target_os = "none")]
mod maps;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod mmu;
#[cfg(target_os = "none")]
mod percpu;
#[cfg(target_os = "none")]
mod roots;
#[cfg(target_os = "none")]
mod stacks;
#[cfg(target_os = "none")]
mod thread;
#[cfg(target_os = "none")]
mod user;
#[cfg(target_os = "none")]
mod vectors;

#[cfg(target_os = "none")]
use tally_memops as _;

#[cfg(target_os = "none")]
pub use crate::boot::{BootInfo, RoofMain};
#[cfg(target_os = "none")]
pub use crate::console::ConsoleWriter;
#[cfg(target_os = "none")]
pub use crate::crash::{backtrace, panic};
#[cfg(target_os = "none")]
pub use crate::crypto::use_crypto_instructions;
#[cfg(target_os = "none")]
pub use crate::layout::{
    Layout, Region, Use, build_id, direct_address, image_address, image_offset, layout, short_id,
    sites, take_heap,
};
#[cfg(target_os = "none")]
pub use crate::lock::{IrqGuard, IrqLock};
#[cfg(target_os = "none")]
pub use crate::thread::{Hooks, current_owner, current_thread, set_default_owner, stack_bounds};

/// The machine: implements every trait of [`tally_mem::machine`].
#[cfg(target_os = "none")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Arm;

/// Index of the CPU that runs this, 0..[`config::MAX_CPUS`]. May change wherever the caller can be
/// suspended.
#[cfg(target_os = "none")]
#[must_use]
pub fn cpu_index() -> usize {
    percpu::index()
}

/// Names the function that boots the roof: `fn(&BootInfo) -> &'static (dyn Hooks + Sync)`, called
/// once on the first CPU, on a stack of [`config::BOOT_STACK_BYTES`], before the normal world starts.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// Called by the boot code.
        #[unsafe(no_mangle)]
        fn tally_roof_main(
            boot: &$crate::BootInfo,
        ) -> &'static (dyn $crate::Hooks + ::core::marker::Sync) {
            let main: $crate::RoofMain = $main;
            main(boot)
        }
    };
}
