//! Best fit, where it is built in (feature `best-fit`).
//!
//! **Invariant:** a pool has a tree only if it was made with [`crate::Strategy::BestFit`].

#[cfg_attr(any(test, feature = "best-fit"), path = "best_fit/tree.rs")]
#[cfg_attr(not(any(test, feature = "best-fit")), path = "best_fit/absent.rs")]
mod tree;

pub(crate) use tree::Tree;

/// Something is not as it should be in a free chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadChunk;
