//! Maxima of a TA's life: the header of its heap restarts with each command.

use tally_abi::pta::stats::AllocStats;
use tally_mem::addr::PhysAddr;

/// What is known of an instance's heap beyond what lies there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maxima {
    /// Where the two words of its pool's header are, once found.
    pub(super) peak_at: Option<PhysAddr>,
    /// Most live bytes before the call that is inside, since the last reset.
    pub(super) max: u64,
    /// Failed allocations that the header counts and a reset has put aside.
    pub(super) failed_before: Option<u32>,
    /// Bytes of an allocation that was refused, while its TA does not know yet.
    refused: Option<u64>,
    /// The row of its last command in the table of commands.
    pub(crate) row: usize,
}

impl Maxima {
    /// Nothing yet.
    pub const NEW: Self = Self {
        peak_at: None,
        max: 0,
        failed_before: None,
        refused: None,
        row: 0,
    };

    /// Puts right what a heap's header says of maximum and failures.
    pub fn correct(&self, alloc: &mut AllocStats) {
        let max = u32::try_from(self.max).unwrap_or(u32::MAX);
        alloc.max_allocated = alloc.max_allocated.max(max);
        if let Some(before) = self.failed_before {
            alloc.num_alloc_fail = alloc.num_alloc_fail.saturating_sub(before);
            if alloc.num_alloc_fail == 0 {
                alloc.biggest_alloc_fail = 0;
                alloc.biggest_alloc_fail_used = 0;
            }
        }
        if let Some(bytes) = self.refused {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            alloc.num_alloc_fail = alloc.num_alloc_fail.saturating_add(1);
            if bytes > alloc.biggest_alloc_fail {
                alloc.biggest_alloc_fail = bytes;
                alloc.biggest_alloc_fail_used = alloc.allocated;
            }
        }
    }

    /// An allocation of so many bytes is refused, which the TA will count when it knows: `None`, it is about to.
    pub const fn set_refused(&mut self, bytes: Option<u64>) {
        self.refused = bytes;
    }
}
