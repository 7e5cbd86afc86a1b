//! Names of client machines.

use core::num::NonZeroU8;
use tally_mem::owner::OwnerId;

/// Most client machines at a time: without a hypervisor there is one.
pub const MAX_GUESTS: usize = 1;

/// Names a client machine: its place in the table, and one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestId(NonZeroU8);

impl GuestId {
    /// The only one, without a hypervisor.
    pub const FIRST: Self = Self(NonZeroU8::MIN);

    /// All that there can be, by their places in the table.
    pub const ALL: [Self; MAX_GUESTS] = [Self::FIRST];

    /// Whom its bookkeeping is charged to.
    #[must_use]
    pub const fn owner(self) -> OwnerId {
        const { assert!(MAX_GUESTS == 1) };
        OwnerId::GUEST
    }

    /// Its place in the table.
    #[must_use]
    pub const fn index(self) -> usize {
        // No id is beyond the table, which this makes plain to the compiler.
        let index = self.0.get() as usize - 1;
        if index < MAX_GUESTS { index } else { 0 }
    }
}
