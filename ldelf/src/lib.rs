//! TA loader: turns the bytes of an ELF file into a validated load plan, and applies it.
//!
//! **Invariant:** nothing in a file is believed before it is checked, and no bytes whatsoever make
//! this crate panic. A plan never has a page both writable and executable.
#![no_std]
#![forbid(unsafe_code)]

mod dynamic;
mod free_lists;
#[cfg(feature = "fuzzing")]
mod fuzz;
mod link;
mod link_map;
mod module;
mod plan;
mod raw;
mod symbols;

#[cfg(test)]
mod tests;

pub use free_lists::FreeLists;
#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz;
pub use link::{MAX_MODULES, Program, System, load, open, symbol};
pub use module::{Linked, Module};
pub use plan::{
    LoadPlan, MAX_SEGMENTS, MAX_SPAN, MAX_STACK, PAGE, Prot, Protection, Segment, library, plan,
};
pub use symbols::{Extent, SymbolTables, Symbols};
pub use tally_abi::image::ImageFault;

use tally_abi::TeeUuid;
use tally_abi::ta::TaHead;
use zerocopy::FromBytes as _;

/// The UUID that the head at the first segment's start names, for tools that were told of none.
#[must_use]
pub fn uuid(image: &[u8]) -> Option<TeeUuid> {
    let bytes_at = |at: u64| image.get(usize::try_from(at).ok()?..);
    let word = |at: u64| Some(u64::from_le_bytes(*bytes_at(at)?.first_chunk()?));
    let head = word(word(32)?.checked_add(8)?)?;
    Some(TaHead::read_from_prefix(bytes_at(head)?).ok()?.0.uuid)
}
