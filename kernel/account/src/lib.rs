//! The account of memory: what the kernel tells is kept in a [`book::Book`], and asked for row by row.
//!
//! **Invariant:** a TA is never entered to find something out about it; what lies in its memory is
//! read as hostile bytes, in steps of bounded work.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod answers;
pub mod api;
pub mod book;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod heaps;
pub mod inspector;
mod kinds;
pub mod leaks;
pub mod moment;
mod observe;
pub mod past;
mod selected;
pub mod snapshot;
pub mod tas;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
