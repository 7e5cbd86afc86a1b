//! The account as OpenMetrics: which families there are, what they are called, and how they are
//! written; and what sizes the figures advise. The report of a snapshot and the tool on the device
//! say the same.
//!
//! **Invariant:** a figure has one name, wherever it is written.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod advice;
pub mod figures;
pub mod naming;
pub mod text;
