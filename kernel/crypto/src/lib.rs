//! GlobalPlatform's algorithms over RustCrypto.
//!
//! **Invariant:** nothing here allocates; what holds a key is zeroed when it goes.
//! **Knows nothing of:** sessions, handles, TAs' memory, interrupts.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod asymmetric;
pub mod symmetric;
