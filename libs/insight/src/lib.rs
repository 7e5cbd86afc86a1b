//! The meaning of the account, asked live or read from a snapshot: names, growth, merged rows,
//! advice, findings, JSON, OpenMetrics, and the schema of them. The report of a snapshot and the
//! tool on the device say the same.
//!
//! **Invariant:** figures come from records, to the byte; a file from anywhere is refused or read,
//! never a panic. The same records give the same output.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod account;
pub mod advice;
pub mod answers;
pub mod cycles;
pub mod findings;
pub mod gate;
pub mod growth;
pub mod json;
pub mod merged;
pub mod names;
pub mod numbers;
pub mod openmetrics;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
pub mod schema;
pub mod snapshot;
