//! Trusted storage: hash trees and a directory in OP-TEE's formats, over files that somebody untrusted keeps.
//!
//! **Invariant:** what is in memory is a copy of what was committed, and can be dropped at any time; a step that fails leaves
//! the committed state as it was.
//! **Knows nothing of:** TAs, handles, threads, messages.
#![cfg_attr(not(any(test, feature = "testing")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod directory;
pub mod figures;
pub mod file;
pub mod host;
mod index;
pub mod keys;
mod layout;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tree;
