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

/// Offset of the first byte of a page that was written since it was filled. What is looked at is a copy: a TA that
/// runs on another CPU writes to its stack meanwhile.
#[must_use]
pub fn first_written<M: SecureMemory>(machine: &M, page: PhysPage) -> Option<usize> {
    let mut words = [[0_u8; 8]; 64];
    for at in (0..PAGE_SIZE).step_by(size_of_val(&words)) {
        machine.read_secure(
            PhysAddr(page.addr().0 + at as u64),
            words.as_flattened_mut(),
        );
        if let Some(word) = words.iter().position(|word| *word != PATTERN) {
            let mut bytes = words[word].iter().zip(PATTERN);
            let byte = bytes.position(|(byte, unused)| *byte != unused)?;
            return Some(at + word * 8 + byte);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{fill, first_written};
    use crate::addr::{PAGE_SIZE, PhysAddr};
    use crate::machine::SecureMemory;
    use crate::owner::OwnerId;
    use crate::pages::PageUse;
    use crate::testing::TestMachine;

    #[test]
    fn the_first_byte_that_was_written_is_found_even_if_it_is_zero() {
        let machine = TestMachine::new(4, 1);
        let mut pages = machine.page_allocator();
        let page = pages.alloc(PageUse::TaStack, OwnerId::KERNEL).unwrap();
        fill(&machine, page, PAGE_SIZE);
        assert_eq!(first_written(&machine, page), None);
        for at in [PAGE_SIZE - 1, 4093, 8, 7, 0] {
            machine.write_secure(PhysAddr(page.addr().0 + at as u64), &[0]);
            assert_eq!(first_written(&machine, page), Some(at));
        }
    }
}
