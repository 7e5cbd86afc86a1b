//! Snapshots: taken, kept, waited for.

mod image;
pub mod keep;
mod one_moment;
mod take;
mod writer;

/// Bytes of kernel stack that must be left to take a snapshot. `cargo xtask stacks` compares it with the image.
pub const STACK_BYTES: usize = 18 * 1024;
