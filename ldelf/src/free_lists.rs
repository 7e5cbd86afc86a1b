//! Heads of free lists, by which the kernel finds the heap of a C TA.
//!
//! OP-TEE's allocator has its head in the data of the TA, stripped of its name: two words that both point at what lies two
//! words before them, to begin with (`lib/libutils/isoc/bget_malloc.c`, `DEFINE_CTX`).

use tally_abi::ldelf::MAX_FREE_LISTS;

/// From a head to the first of its two words.
const FIRST: u64 = 16;
/// From a head to the second.
const SECOND: u64 = 24;

/// The first heads of a TA that were found, in the order of its modules. Zeros after the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeLists(pub [u64; MAX_FREE_LISTS]);

impl FreeLists {
    /// Looks at a relocation: `value` is what was written at `target` of the module's `memory`, which lies at `base`.
    #[inline]
    pub(crate) fn look(&mut self, memory: &[u8], base: u64, target: u64, value: u64) {
        let back = base.wrapping_add(target).wrapping_sub(value);
        let other = match back {
            FIRST => target.checked_add(8),
            SECOND => target.checked_sub(8),
            _ => return,
        };
        self.add_whole(memory, other, value);
    }

    /// Adds a head whose second word that is relocated, at `other`, points at it, too.
    #[inline(never)]
    fn add_whole(&mut self, memory: &[u8], other: Option<u64>, head: u64) {
        let bytes = other.and_then(|at| memory.get(usize::try_from(at).ok()?..));
        let word = bytes.and_then(|bytes| bytes.first_chunk());
        if word.is_some_and(|word| u64::from_le_bytes(*word) == head)
            && let Some(free) = self.0.iter_mut().find(|list| **list == 0)
        {
            *free = head;
        }
    }
}
