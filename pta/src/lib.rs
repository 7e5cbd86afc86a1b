//! Pseudo-TAs: `stats` and `device` as OP-TEE has them, `memleak`, `control` and `inspect` of Tally's own.
//!
//! **Invariant:** no unsafe, no state; everything comes from [`Services`].
//! **Knows nothing of:** the machine, the kernel's structures.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod control;
mod device;
mod inspect;
mod list;
mod memleak;
mod stats;
#[cfg(test)]
mod tests;

use tally_core::pta_api::PseudoTa;

/// All of them.
pub static ALL: [&dyn PseudoTa; 5] = [
    &stats::Stats,
    &memleak::Memleak,
    &control::Control,
    &inspect::Inspector,
    &device::Device,
];
