//! Linked programs as files: what is loaded where, and how code is called.
//!
//! **Invariant:** addresses, offsets and names are the file's own; nothing here runs anything.
#![forbid(unsafe_code)]

pub mod dwarf;
pub mod elf;
pub mod short;
