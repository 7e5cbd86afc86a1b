//! Test TA: takes all the memory it can get.
//!
//! **Invariant:** all that it takes goes with its session.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod ta;
