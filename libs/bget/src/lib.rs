//! Reading the heap of a C TA from outside: OP-TEE's `malloc`, which is `bget`, from memory alone.
//!
//! **Invariant:** nothing in the memory is trusted: every address, size and count is checked before use, and a step
//! looks at no more chunks than its caller says, so that a TA that scribbles over its heap only makes its own figures
//! [`Inconsistent`].
//! **Knows nothing of:** where the memory is; a [`Reader`] fetches it.
//!
//! A pool is a row of chunks, each with two words before it: bytes of the chunk before if that is free, else 0; and its own
//! bytes with these words, negated if it is allocated. The last has the smallest number there is, and no bytes. Source:
//! optee_os `lib/libutils/isoc/bget.c` and `bget_malloc.c`, 4.5 to 4.10.
#![cfg_attr(not(any(test, feature = "model")), no_std)]
#![forbid(unsafe_code)]

mod books;
mod chunks;
#[cfg(any(test, feature = "model"))]
pub mod model;
#[cfg(test)]
mod tests;

pub use books::{HeapWords, View, heap_words};
pub use chunks::Totals;
pub use tally_ledger::view::Inconsistent;

/// Bytes of the words before a chunk, and of the unit that chunks are made of.
pub const HEAD_BYTES: u64 = 16;
/// Most pools of a heap. The kit makes one; a TA may add more.
pub const MAX_POOLS: usize = 16;
/// Smallest chunk: it has room for the links of the free list.
const MIN_CHUNK: u64 = 2 * HEAD_BYTES;
/// Smallest pool: a chunk, and the words that end it.
const MIN_POOL: u64 = MIN_CHUNK + HEAD_BYTES;
/// What ends a pool (`ESent`).
const END: i64 = i64::MIN;
/// Most bytes of a pool. An address space of a TA is far smaller.
const MAX_POOL_BYTES: u64 = 1 << 32;

/// Access to the TA's memory.
pub trait Reader {
    /// Copies `buf.len()` bytes at an address of the TA; false if they are not its own, or may not be written by it.
    fn read(&self, va: u64, buf: &mut [u8]) -> bool;
}

impl<R: Reader> Reader for &R {
    fn read(&self, va: u64, buf: &mut [u8]) -> bool {
        (**self).read(va, buf)
    }
}

/// `N` words at an address, which is that of a word.
fn words<const N: usize>(reader: &impl Reader, va: u64) -> Result<[u64; N], Inconsistent> {
    let mut words = [[0; 8]; N];
    if !va.is_multiple_of(8) || !reader.read(va, words.as_flattened_mut()) {
        return Err(Inconsistent);
    }
    Ok(words.map(u64::from_le_bytes))
}
