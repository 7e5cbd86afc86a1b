//! Portable kernel logic: messages, sessions, TA instances, syscalls, threads.
//!
//! **Invariant:** no assembler, no statics, no device; the code tested on the host is the code
//! that ships.
//! **Knows nothing of:** AArch64 beyond the shape of its page tables; who implements the
//! [`tally_mem::machine`] traits.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod args;
pub mod audit;
pub mod buffers;
pub mod call;
pub mod commands;
pub mod entry;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod guest;
pub mod heap;
pub mod image;
pub mod image_sizes;
pub mod inspect;
pub mod instance;
pub mod invoke;
pub mod kernel;
pub mod large;
pub mod loader;
pub mod marks;
pub mod message;
pub mod obituary;
pub mod oom;
pub mod owners;
pub mod pta_api;
pub mod pta_params;
pub mod remembered;
pub mod rpc;
pub mod rsa;
pub mod run;
pub mod scan;
pub mod services;
pub mod session;
pub mod shm;
pub mod snapshot;
mod stacks;
pub mod syscall;
pub mod ta_heap;
#[cfg(any(test, feature = "testing", feature = "fuzzing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod thread;
pub mod undo;
