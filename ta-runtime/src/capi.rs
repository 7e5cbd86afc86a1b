//! GlobalPlatform's memory functions for C code linked into a TA.
//!
//! **Invariant:** the same heap and the same accounts as Rust's allocations.
//! **Knows nothing of:** C's other libraries.
