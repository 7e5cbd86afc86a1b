//! What a kernel that is built without statistics tells pseudo-TAs.
//!
//! **Invariant:** nothing.
//! **Knows nothing of:** anything.

/// Nothing to tell.
pub trait Statistics {}
