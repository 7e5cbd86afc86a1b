//! Size classes of the segregated strategy: slabs of up to four sizes a doubling, from 16 bytes to 768, and
//! runs of 2 to 8 units.
//!
//! **Invariant:** a slab of a class holds its head and its records at the front, and its
//! blocks at the end. A class's size is a multiple of every
//! alignment that [`class_of`] was asked for when it chose the class.

use core::alloc::Layout;

use crate::entry::MIN_BLOCK_UNITS;

/// Bytes of a unit, the granule of runs.
pub(crate) const UNIT: usize = 512;
/// Places for classes: as many as five bits can name, so that an index needs no check.
pub(crate) const CLASSES: usize = 32;
/// Largest size that a slab serves; above it blocks are runs of units.
const LARGEST: usize = 768;
/// How many classes are slabs; the classes above are runs of 2, 3, ... units.
pub(crate) const SLAB_CLASSES: usize = 18;
/// How many classes are runs.
pub(crate) const RUN_CLASSES: usize = 7;
/// A place of which no class is made.
pub(crate) const NO_CLASS: usize = CLASSES - 1;

/// The class of a run, if it is short enough.
#[inline(always)]
pub(crate) fn class_of_run(units: u32) -> Option<usize> {
    let class = SLAB_CLASSES + units.checked_sub(MIN_BLOCK_UNITS)? as usize;
    (class < SLAB_CLASSES + RUN_CLASSES).then_some(class)
}

/// Units of a class's run; 0 for a slab.
#[inline(always)]
pub(crate) fn run_of_class(class: usize) -> u32 {
    match class.checked_sub(SLAB_CLASSES) {
        Some(more) => MIN_BLOCK_UNITS + more as u32,
        None => 0,
    }
}

/// The class of which a slab is one unit with one block: what a single free unit can serve.
pub(crate) const SINGLE: usize = 14;

/// Offset of the records from a slab's start, in words of 8 bytes: behind its head.
pub(crate) const RECORDS: usize = 1;

/// One size class.
pub(crate) struct Class {
    /// Bytes of a block.
    pub(crate) size: u16,
    /// Units of a slab.
    pub(crate) units: u8,
    /// Blocks of a slab, less than 32.
    pub(crate) blocks: u8,
    /// The power of two in the size.
    pub(crate) shift: u8,
    /// Inverse of the odd part of the size, modulo 2^32.
    pub(crate) inverse: u32,
    /// Bytes of a slab times the inverse.
    pub(crate) end: u32,
    /// Free mask of an empty slab.
    pub(crate) all_free: u32,
}

/// How many blocks there are from `offset` in a slab to the slab's end, if that leaves no rest, else more
/// than any slab has blocks. `inverse`, `end` and `shift` are those of the class.
///
/// Source: Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 9. What is divided
/// is the distance to the end, of which the slab's size has been multiplied before.
#[inline(always)]
pub(crate) fn blocks_to_end(offset: u32, inverse: u32, end: u32, shift: u32) -> u32 {
    end.wrapping_sub(offset.wrapping_mul(inverse))
        .rotate_right(shift)
}

const fn class(size: u32, units: u32) -> Class {
    let room = units * UNIT as u32 - 8;
    let blocks = room / (size + 8);
    assert!(blocks >= 1 && blocks < 32 && units <= 8);
    let odd = size >> size.trailing_zeros();
    // Newton's iteration doubles the number of correct bits, of which an odd number has three.
    let mut inverse = odd;
    let mut i = 0;
    while i < 4 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        i += 1;
    }
    Class {
        size: size as u16,
        units: units as u8,
        blocks: blocks as u8,
        shift: size.trailing_zeros() as u8,
        inverse,
        end: (units * UNIT as u32).wrapping_mul(inverse),
        all_free: u32::MAX << (32 - blocks),
    }
}

/// Classes of slabs, by size.
pub(crate) static TABLE: [Class; SLAB_CLASSES] = [
    class(16, 1),
    class(32, 1),
    class(48, 1),
    class(64, 1),
    class(80, 1),
    class(96, 2),
    class(112, 1),
    class(128, 2),
    class(160, 1),
    class(192, 2),
    class(224, 1),
    class(256, 3),
    class(320, 2),
    class(384, 4),
    class(448, 1),
    class(512, 5),
    class(640, 4),
    class(768, 5),
];

const _: () = assert!(TABLE[SINGLE].units == 1 && TABLE[SINGLE].blocks == 1);

/// Sizes below this have a class.
const CLASSED: usize = 4096;
/// Entries of [`BY_SIZE`].
pub(crate) const SIZES: usize = CLASSED / 16 + 1;

/// Class by size in sixteenths, rounded up.
pub(crate) static BY_SIZE: [u8; SIZES] = {
    let mut table = [0; SIZES];
    let mut i = 0;
    while i < table.len() {
        let mut class = 0;
        while class < SLAB_CLASSES && (TABLE[class].size as usize) < i * 16 {
            class += 1;
        }
        if i > LARGEST / 16 {
            class = SLAB_CLASSES + (i * 16).div_ceil(UNIT) - MIN_BLOCK_UNITS as usize;
        }
        table[i] = class as u8;
        i += 1;
    }
    table
};

/// The class by `by_size` for a size and an alignment of up to 16; `None` for others.
#[inline(always)]
pub(crate) fn class_by_layout(by_size: &[u8; SIZES], layout: Layout) -> Option<usize> {
    let size = layout.size();
    // One comparison for both: 32 << 7 is 4096, and so much is no classed size either.
    if size | layout.align() << 7 >= CLASSED {
        return None;
    }
    let index = (size + 15) >> 4;
    // SAFETY: at most (4095 + 15) / 16, which is less than `SIZES`.
    unsafe { core::hint::assert_unchecked(index < SIZES) };
    by_size.get(index).map(|&class| class.into())
}

/// The class of slabs that serves `size` bytes at alignment `align`, or `None` for a run.
#[inline(always)]
pub(crate) fn class_of(size: usize, align: usize) -> Option<usize> {
    // A multiple of the alignment always falls into a class that is a multiple of it as well.
    let padded = if align <= 16 {
        size
    } else {
        size.max(1).checked_next_multiple_of(align)?
    };
    match BY_SIZE.get(padded.wrapping_add(15) >> 4) {
        Some(&class) if usize::from(class) < SLAB_CLASSES => Some(class.into()),
        _ => None,
    }
}

/// Whether blocks of a class of slabs can hold `size` bytes at an alignment.
pub(crate) fn serves(class: usize, size: usize, align: usize) -> bool {
    TABLE.get(class).is_some_and(|class| {
        usize::from(class.size) >= size && usize::from(class.size).is_multiple_of(align)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_suits_every_alignment_that_chose_it() {
        for align in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
            for size in (0..=LARGEST).step_by(if cfg!(miri) { 61 } else { 1 }) {
                if let Some(class) = class_of(size, align) {
                    let block = TABLE[class].size as usize;
                    assert!(
                        block >= size && block.is_multiple_of(align),
                        "{size} at {align}"
                    );
                }
            }
        }
    }

    #[test]
    fn only_multiples_of_the_size_divide_exactly() {
        let few = if cfg!(miri) { 2 } else { CLASSES };
        for class in TABLE.iter().take(few) {
            let size = u32::from(class.size);
            let end = u32::from(class.units) * UNIT as u32;
            for distance in 0..=end {
                let (inverse, shift) = (class.inverse, class.shift.into());
                let quotient = blocks_to_end(end - distance, inverse, class.end, shift);
                if distance.is_multiple_of(size) {
                    assert_eq!(quotient, distance / size);
                } else {
                    assert!(quotient > u32::from(class.blocks));
                }
            }
        }
    }
}
