//! Portable kernel logic: calls of the normal world, sessions, TAs, pseudo-TAs, guests.
//!
//! **Invariant:** no assembler, no statics, no device; the code tested on the host is the code
//! that ships.
//! **Knows nothing of:** AArch64; the account of memory beyond the [`observer`] that it tells.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod book;
pub mod call;
pub mod guest;
pub mod guest_id;
pub mod hardware_key;
pub mod kernel;
pub mod locked;
pub mod observer;
pub mod owners;
pub mod pta;
pub mod refused;
pub mod share;
pub mod ta;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
