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
pub static ALL: &[PseudoTa] = &[
    device::PTA,
    vdec::PTA,
    #[cfg(feature = "stats")]
    audit::PTA,
    #[cfg(feature = "stats")]
    stats::PTA,
    #[cfg(feature = "stats")]
    memleak::PTA,
    #[cfg(feature = "stats")]
    control::PTA,
    #[cfg(feature = "stats")]
    inspect::PTA,
    #[cfg(feature = "stats")]
    watch::PTA,
];
