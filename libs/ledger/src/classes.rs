//! Size classes of the segregated strategy: slabs of four sizes a doubling, from 16 bytes to 384, and
//! runs of 1 to 16 units.
//!
//! **Invariant:** a slab of a class holds its records at the front, behind eight unused bytes, and its
//! blocks at the end. A class's size is a multiple of every
//! alignment that [`class_of`] was asked for when it chose the class.
//! **Knows nothing of:** where slabs lie.

use core::alloc::Layout;

/// Bytes of a unit, the granule of runs.
pub(crate) const UNIT: usize = 256;
/// Places for classes: as many as five bits can name, so that an index needs no check.
pub(crate) const CLASSES: usize = 32;
/// Largest size that a slab serves; above it blocks are runs of units.
const LARGEST: usize = 384;
/// How many classes are slabs; the classes above are runs of 1, 2, ... units.
pub(crate) const SLAB_CLASSES: usize = 13;
/// Longest run that is a class.
pub(crate) const RUN_CLASSES: usize = 16;
/// A place of which no class is made.
pub(crate) const NO_CLASS: usize = CLASSES - 1;

/// The class of a run, if it is short enough.
#[inline(always)]
pub(crate) fn class_of_run(units: u32) -> Option<usize> {
    let class = SLAB_CLASSES + (units as usize).checked_sub(1)?;
    (class < SLAB_CLASSES + RUN_CLASSES).then_some(class)
}

/// Units of a class's run; 0 for a slab.
#[inline(always)]
pub(crate) fn run_of_class(class: usize) -> u32 {
    (class + 1).saturating_sub(SLAB_CLASSES) as u32
}

/// Offset of the records from a slab's start, in words of 8 bytes.
pub(crate) const RECORDS: usize = 1;

/// One size class.
pub(crate) struct Class {
    /// Bytes of a block.
    pub(crate) size: u16,
    /// Units of a slab, at least two.
    pub(crate) units: u8,
    /// Blocks of a slab, less than 32.
    pub(crate) blocks: u8,
    /// The power of two in the size.
    pub(crate) shift: u8,
    /// Inverse of the odd part of the size, modulo 2^32.
    pub(crate) inverse: u32,
    /// Free mask of an empty slab.
    pub(crate) all_free: u32,
}

/// `distance / size` if that leaves no rest, else more than any slab has blocks. `inverse` and `shift`
/// are those of the size's class.
///
/// Source: Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 9.
#[inline(always)]
pub(crate) fn exactly(distance: u32, inverse: u32, shift: u32) -> u32 {
    distance.wrapping_mul(inverse).rotate_right(shift)
}

const fn class(size: u32, units: u32) -> Class {
    let room = units * UNIT as u32 - 8;
    let blocks = room / (size + 8);
    assert!(blocks >= 2 && blocks < 32 && units >= 2 && units <= 8);
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
        all_free: u32::MAX << (32 - blocks),
    }
}

/// Classes of slabs, by size.
pub(crate) static TABLE: [Class; SLAB_CLASSES] = [
    class(16, 2),
    class(32, 2),
    class(48, 2),
    class(64, 2),
    class(80, 3),
    class(96, 3),
    class(112, 2),
    class(128, 4),
    class(160, 2),
    class(192, 4),
    class(224, 3),
    class(320, 4),
    class(384, 5),
];

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
        // One unit serves 225 to 256 bytes exactly.
        if i == 15 || i == 16 || i > LARGEST / 16 {
            class = SLAB_CLASSES + (i * 16).div_ceil(UNIT) - 1;
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
            for distance in 0..=u32::from(class.units) * UNIT as u32 {
                let quotient = exactly(distance, class.inverse, class.shift.into());
                if distance.is_multiple_of(size) {
                    assert_eq!(quotient, distance / size);
                } else {
                    assert!(quotient > u32::from(class.blocks));
                }
            }
        }
    }
}
