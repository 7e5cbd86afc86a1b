//! The deepest stack of every entry to a program for AArch64, from its code.
//!
//! **Invariant:** what is not understood is an error: no figure is smaller than the truth because something was left out.
#![forbid(unsafe_code)]

pub mod bound;
pub mod calls;
mod code;
pub mod flow;
pub mod graph;
pub mod program;
