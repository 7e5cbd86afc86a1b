//! Names of client machines.

/// Most client machines at a time: without a hypervisor there is one.
pub const MAX_GUESTS: usize = 1;

/// Names a client machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestId(u16);

impl GuestId {
    /// The only one, without a hypervisor.
    pub const FIRST: Self = Self(0);

    /// Its place in the table.
    #[must_use]
    pub const fn index(self) -> usize {
        // No id is beyond the table, which this makes plain to the compiler.
        let index = self.0 as usize;
        if index < MAX_GUESTS { index } else { 0 }
    }
}
