//! Terminal of a command that keeps running.
//!
//! **Invariant:** without a terminal no key is waited for and no control sequence is written.

/// Where the output goes, and who may end it.
pub trait Terminal {
    /// Whether the output is a terminal that understands ANSI sequences.
    fn is_terminal(&self) -> bool;

    /// Columns that a line may have; none where lines may be of any length.
    fn columns(&self) -> Option<usize> {
        None
    }

    /// Waits; true if the person asked to end (`q`, ctrl-C), or nobody can wait here.
    fn pause(&self, millis: u32) -> bool;
}

/// Output that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTerminal;

impl Terminal for NoTerminal {
    fn is_terminal(&self) -> bool {
        false
    }

    fn pause(&self, _: u32) -> bool {
        true
    }
}
