//! Linked programs as files: what is loaded where, and how code is called.
//!
//! **Invariant:** addresses, offsets and names are the file's own; nothing here runs anything.
//! **Knows nothing of:** what a program is for, and who asks.
#![forbid(unsafe_code)]

pub mod dwarf;
pub mod elf;
pub mod short;
