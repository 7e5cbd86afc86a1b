//! What a TA's stack and heap should be set to, by what was used.
//!
//! **Invariant:** advice never falls below what was used; without a figure there is no advice.
//! **Knows nothing of:** how it is shown.

use crate::shown::thousands;
use tally_abi::pta::inspect::{HistoryRow, TaDetail};

/// What to think of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough, and not much more.
    Fits,
    /// Used almost to its end, or beyond: raise it.
    Raise,
    /// Much more than was ever used: lower it.
    Lower,
    /// Nothing was measured.
    Unknown,
}

/// A size, what was used of it, what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What to think of it.
    pub verdict: Verdict,
    /// What it should be; the size itself if it fits.
    pub bytes: u64,
    /// One sentence.
    pub text: String,
}

const PAGE: u64 = 4096;

/// A quarter more than was used, in whole pages.
fn with_room(used: u64) -> u64 {
    used.saturating_add(used / 4)
        .checked_next_multiple_of(PAGE)
        .unwrap_or(used)
}

fn advise(setting: &str, size: u64, used: u64, refused: u64) -> Advice {
    let wanted = with_room(used);
    let (verdict, bytes, text) = if used == 0 || size == 0 {
        let text = format!("{setting}: nothing was measured");
        (Verdict::Unknown, size, text)
    } else if refused > 0 || used > size / 5 * 4 {
        let bytes = wanted.max(size.saturating_add(PAGE));
        let why = if refused > 0 {
            format!("{refused} allocations were refused")
        } else {
            "less than a fifth was ever free".to_owned()
        };
        let text = format!("raise {setting} to {} or more: {why}", thousands(bytes));
        (Verdict::Raise, bytes, text)
    } else if wanted.saturating_mul(2) <= size {
        let text = format!(
            "{setting} could be {}: a quarter more than was ever used",
            thousands(wanted)
        );
        (Verdict::Lower, wanted, text)
    } else {
        (Verdict::Fits, size, format!("{setting} fits"))
    };
    Advice {
        verdict,
        bytes,
        text,
    }
}

/// The stack of a TA.
#[must_use]
pub fn stack(ta: &TaDetail) -> Advice {
    advise("stack_size", ta.stack, ta.stack_deepest, 0)
}

/// The heap of a TA.
#[must_use]
pub fn heap(ta: &TaDetail) -> Advice {
    let used = u64::from(ta.heap.alloc.max_allocated).saturating_add(ta.heap.metadata);
    let refused = u64::from(ta.heap.alloc.num_alloc_fail);
    let largest = u64::from(ta.heap.alloc.biggest_alloc_fail);
    let used = if refused > 0 {
        let then = u64::from(ta.heap.alloc.biggest_alloc_fail_used);
        used.max(then.saturating_add(largest))
    } else {
        used
    };
    advise("heap_size", ta.heap_reserved, used, refused)
}

/// Stack and heap of a TA that has ended.
#[must_use]
pub fn ended(row: &HistoryRow) -> [Advice; 2] {
    [
        advise("stack_size", row.stack_size, row.stack_max, 0),
        advise("heap_size", row.heap_size, row.heap_max, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_what_was_used() {
        let verdict = |size, used, refused| advise("x", size, used, refused).verdict;
        assert_eq!(verdict(16384, 0, 0), Verdict::Unknown);
        assert_eq!(verdict(16384, 1200, 0), Verdict::Lower);
        assert_eq!(verdict(16384, 9000, 0), Verdict::Fits);
        assert_eq!(verdict(16384, 16000, 0), Verdict::Raise);
        assert_eq!(verdict(16384, 1200, 1), Verdict::Raise);
        assert!(advise("x", 16384, 16384, 0).bytes >= 20480);
        assert!(advise("x", u64::MAX, u64::MAX, 9).bytes == u64::MAX);
    }

    #[test]
    fn a_refused_allocation_counts_into_the_heap() {
        let mut ta = TaDetail {
            heap_reserved: 32 << 10,
            ..TaDetail::default()
        };
        ta.heap.alloc.max_allocated = 9000;
        ta.heap.alloc.num_alloc_fail = 1;
        ta.heap.alloc.biggest_alloc_fail = 100_000;
        ta.heap.alloc.biggest_alloc_fail_used = 8000;
        assert!(heap(&ta).bytes >= 108_000);
    }
}
