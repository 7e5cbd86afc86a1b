//! Test TA: trusted storage.
//!
//! **Invariant:** every command checks its parameters' types first ([`ta_uuids::storage`]).
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod ta;
