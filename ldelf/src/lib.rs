//! TA loader: turns the bytes of an ELF file into a validated load plan, and applies it.
//!
//! **Invariant:** nothing in a file is believed before it is checked, and no bytes whatsoever make
//! this crate panic. A plan never has a page both writable and executable.
#![no_std]
#![forbid(unsafe_code)]

mod dynamic;
#[cfg(feature = "fuzzing")]
mod fuzz;
mod plan;
mod raw;
mod symbols;

#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz;
pub use plan::{
    LoadPlan, MAX_SEGMENTS, MAX_SPAN, MAX_STACK, PAGE, Prot, Protection, Segment, plan,
};
pub use tally_abi::image::ImageFault;
