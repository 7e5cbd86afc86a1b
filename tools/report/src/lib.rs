//! Snapshots on the host: read, named, and turned into what people and programs look at.
//!
//! **Invariant:** figures come from the snapshot, to the byte; a file from anywhere is refused or
//! read, never a panic. The same snapshots give the same output.
#![forbid(unsafe_code)]

pub mod account;
pub mod advice;
pub mod doubts;
pub mod flame;
pub mod growth;
pub mod html;
pub mod json;
pub mod listing;
pub mod merged;
pub mod names;
pub mod openmetrics;
pub mod pprof;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
pub mod shown;
pub mod snapshot;
