//! Pseudo-TAs: `stats` and `device` as OP-TEE has them, `memleak` and `control` of Tally's own.
//!
//! **Invariant:** no unsafe, no state; everything comes from [`Services`].
//! **Knows nothing of:** the machine, the kernel's structures.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod control;
mod device;
mod list;
mod memleak;
mod stats;
#[cfg(test)]
mod tests;

use tally_core::pta_api::PseudoTa;

/// All of them.
pub static ALL: [&dyn PseudoTa; 4] = [
    &stats::Stats,
    &memleak::Memleak,
    &control::Control,
    &device::Device,
];
