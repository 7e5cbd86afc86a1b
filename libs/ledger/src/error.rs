//! Errors of pool operations, and the result of a release.
//!
//! **Invariant:** an error leaves the pool as it was, but for the count of failures.

use crate::stats::OwnerId;

/// An allocation that could not be made, with what a report needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError {
    /// Bytes asked for.
    pub requested: usize,
    /// Alignment asked for.
    pub align: usize,
    /// Who asked.
    pub owner: OwnerId,
    /// Bytes allocated in the pool, 0 in one without statistics.
    pub allocated: usize,
    /// Size of the pool's body.
    pub size: usize,
}

/// A block that could not be freed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// No live block begins at this address (one may have, before the memory around it was
    /// joined or reused).
    NotABlock,
    /// The block was freed already.
    DoubleFree,
    /// The block's own header was overwritten (first fit only).
    Damaged,
}

/// A block that could not be resized. It is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReallocError {
    /// It is no block.
    Free(FreeError),
    /// No memory.
    Alloc(AllocError),
}

/// The pool cannot grow to this size: less than now, or more than reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrowError;

/// What was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    /// Whose account was debited.
    pub owner: OwnerId,
    /// Bytes that had been asked for.
    pub size: usize,
}
