//! Memory of the secure world: addresses, owners, pages, translation tables, address spaces.
//!
//! **Invariant:** every secure page is free or has one use and one owner; what an address space
//! was charged it gives back.
//! **Knows nothing of:** sessions, TA images, statistics, locks. Whoever calls holds the page
//! allocator exclusively.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod access;
pub mod addr;
pub mod fallible;
pub mod injection;
pub mod machine;
pub mod mem;
pub mod owner;
pub mod pages;
pub mod quota;
pub mod refused;
pub mod region;
pub mod space;
pub mod stack_pattern;
mod steps;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod text;
