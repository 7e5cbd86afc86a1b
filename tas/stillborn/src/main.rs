//! Test TA: its create entry panics.
//!
//! **Invariant:** no session ever opens.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod ta;
