//! Snapshots and watchpoints for programs.
//!
//! **Invariant:** as in [`super`].
//! **Knows nothing of:** where the figures come from.

use core::fmt::{self, Write};

use super::Quoted;

pub(crate) fn saved(out: &mut dyn Write, path: &str, bytes: usize) -> fmt::Result {
    writeln!(out, "{{\"file\":{},\"bytes\":{bytes}}}", Quoted(path))
}
