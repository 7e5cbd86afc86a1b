//! Test TA: a player of protected streams that maps a decoder's buffers, sometimes in the wrong order.
//!
//! **Invariant:** in the right order everything is undone before a command returns.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod ta;
