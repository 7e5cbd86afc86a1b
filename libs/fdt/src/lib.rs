//! Flattened device trees: what RAM there is ([`memory()`]), and changes in place ([`Editor`]).
//!
//! **Invariant:** nothing outside of the given slice is read or written, whatever it holds; nothing
//! panics or allocates.
//!
//! Source: Devicetree Specification v0.4, chapter 5.
#![no_std]
#![forbid(unsafe_code)]

mod editor;
mod memory;
pub mod normal_world;
#[cfg(test)]
mod tests;

pub use editor::{EditError, Editor, Node};
pub use memory::{memory, total_bytes};

/// First word of a tree.
pub const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;
/// Bytes of a header of version 17.
const HEADER_BYTES: usize = 40;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

fn string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    rest.get(..rest.iter().position(|&byte| byte == 0)?)
}

const fn align(at: usize) -> usize {
    at.next_multiple_of(4)
}
