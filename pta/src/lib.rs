//! Pseudo-TAs: `stats` and `device` as OP-TEE has them, and Tally's own.
//!
//! **Invariant:** no unsafe, no state; everything comes from [`Services`].
//! **Knows nothing of:** the machine, the kernel's structures.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "stats")]
mod audit;
#[cfg(feature = "stats")]
mod control;
mod device;
#[cfg(feature = "stats")]
mod inspect;
mod list;
#[cfg(feature = "stats")]
mod memleak;
#[cfg(feature = "stats")]
mod records;
#[cfg(feature = "stats")]
mod stats;
#[cfg(all(test, feature = "stats"))]
mod tests;
mod vdec;
#[cfg(feature = "stats")]
mod watch;

use tally_core::pta_api::PseudoTa;

/// All of this build.
pub static ALL: &[&dyn PseudoTa] = &[
    &device::Device,
    &vdec::Vdec,
    #[cfg(feature = "stats")]
    &audit::Audit,
    #[cfg(feature = "stats")]
    &stats::Stats,
    #[cfg(feature = "stats")]
    &memleak::Memleak,
    #[cfg(feature = "stats")]
    &control::Control,
    #[cfg(feature = "stats")]
    &inspect::Inspector,
    #[cfg(feature = "stats")]
    &watch::Watch,
];
