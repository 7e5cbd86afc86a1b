//! Snapshots: taken, kept, waited for.

mod image;
pub mod keep;
mod one_moment;
mod take;
mod writer;
