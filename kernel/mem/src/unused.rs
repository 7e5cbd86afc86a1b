//! Pattern in stack memory that nobody has written yet.
//!
//! Memory that a program clears is in use like any other, so zeros tell nothing: a TA's stack pages hold the pattern
//! when they are first touched, and what differs from it was written since.

use crate::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use crate::machine::SecureMemory;

/// Bytes in memory order. As an address it is canonical in no direction, as a number it is no size.
const PATTERN: [u8; 8] = [0x5c, 0xa3, 0x69, 0x96, 0xd2, 0x2d, 0xb4, 0x4b];

/// Fills the first bytes of a page, which is the caller's own.
pub fn fill<M: SecureMemory>(machine: &M, page: PhysPage, bytes: usize) {
    const FILLED: [[u8; 8]; 64] = [PATTERN; 64];
    let filled = FILLED.as_flattened();
    for done in (0..bytes).step_by(filled.len()) {
        let piece = &filled[..filled.len().min(bytes - done)];
        machine.write_secure(PhysAddr(page.addr().0 + done as u64), piece);
    }
}

/// Offset of the first byte of a page that was written since it was filled.
#[must_use]
pub fn first_written(page: &[u8; PAGE_SIZE]) -> Option<usize> {
    let words = page.as_chunks::<8>().0;
    let word = words.iter().position(|word| *word != PATTERN)?;
    let mut bytes = words[word].iter().zip(PATTERN);
    let byte = bytes.position(|(byte, unused)| *byte != unused)?;
    Some(word * 8 + byte)
}

#[cfg(test)]
mod tests {
    use super::{PATTERN, first_written};
    use crate::addr::PAGE_SIZE;

    #[test]
    fn the_first_byte_that_was_written_is_found_even_if_it_is_zero() {
        let mut page = [0; PAGE_SIZE];
        page.as_chunks_mut::<8>().0.fill(PATTERN);
        assert_eq!(first_written(&page), None);
        for at in [PAGE_SIZE - 1, 4093, 8, 7, 0] {
            page[at] = 0;
            assert_eq!(first_written(&page), Some(at));
        }
    }
}
