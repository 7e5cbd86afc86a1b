//! Test TA: heap.
//!
//! **Invariant:** every command checks its parameters' types first ([`ta_uuids::heap`]).
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod bench;
#[cfg(target_os = "none")]
mod keep;
#[cfg(target_os = "none")]
mod pool;
#[cfg(target_os = "none")]
mod ta;
