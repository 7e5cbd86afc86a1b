//! Pseudo-TAs: `stats`, `device` and `rng` as OP-TEE has them, and Tally's own.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "stats")]
mod audit;
#[cfg(feature = "stats")]
mod control;
mod device;
#[cfg(feature = "stats")]
mod inspect;
#[cfg(feature = "stats")]
mod lists;
#[cfg(feature = "stats")]
mod memleak;
mod params;
mod rng;
#[cfg(feature = "stats")]
mod stats;
mod system;
#[cfg(all(test, feature = "stats"))]
mod tests;
mod vdec;
#[cfg(feature = "stats")]
mod watch;

use tally_core::pta::PseudoTa;

/// Who keeps the account in this build.
#[cfg(feature = "stats")]
pub type Book = tally_account::book::Book;
/// Who keeps the account in this build: nobody.
#[cfg(not(feature = "stats"))]
pub type Book = ();

/// All of this build.
pub static ALL: &[PseudoTa<Book>] = &[
    device::pta(),
    rng::pta(),
    vdec::pta(),
    system::pta(),
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
