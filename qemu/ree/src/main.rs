//! The bare-metal normal world: shell, supplicant services, client applications, paired tests.
//!
//! **Invariant:** the machine always powers off by itself, with a status that tells what happened.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(any(target_os = "none", test))]
extern crate alloc;

#[cfg(any(target_os = "none", test))]
mod archive;
#[cfg(target_os = "none")]
mod bench;
#[cfg(target_os = "none")]
mod files;
#[cfg(target_os = "none")]
mod jobs;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod names;
#[cfg(any(target_os = "none", test))]
mod output;
#[cfg(target_os = "none")]
mod results;
#[cfg(target_os = "none")]
mod selftest;
#[cfg(any(target_os = "none", test))]
mod shell;
#[cfg(target_os = "none")]
mod storage;
#[cfg(target_os = "none")]
mod supplicant;
#[cfg(target_os = "none")]
mod tee;
#[cfg(target_os = "none")]
mod tour;
#[cfg(any(target_os = "none", test))]
mod typed;

#[cfg(not(target_os = "none"))]
fn main() {}
