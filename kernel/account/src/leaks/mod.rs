//! Leaks: marks, what was allocated between two of them, what nothing points to.

pub mod bits;
mod diff;
pub mod findings;
pub mod marks;
pub mod reach;
mod scan;
