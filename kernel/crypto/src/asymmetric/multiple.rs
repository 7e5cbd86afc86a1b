//! Multiples of points by secret numbers, four bits at a time.

use super::field::{Element, LIMBS, choose};
use crypto_bigint::{Choice, Limb};

/// Points of a table.
const TABLE: usize = 16;

/// Words of a table of points of `coordinates`.
pub(super) const fn table_words(coordinates: usize) -> usize {
    TABLE * coordinates * LIMBS
}

/// Points of `K` coordinates that are added by one formula, whichever they are.
pub(super) trait Addition<const K: usize> {
    /// The point that changes nothing.
    fn neutral(&mut self) -> [Element; K];
    /// The sum.
    fn add(&mut self, p: &[Element; K], q: &[Element; K]) -> [Element; K];
}

/// `scalar` times `point`; `table` has [`table_words`].
pub(super) fn multiple<const K: usize>(
    group: &mut impl Addition<K>,
    table: &mut [Limb],
    scalar: &[Limb],
    point: &[Element; K],
) -> [Element; K] {
    let table = &mut table.as_chunks_mut::<LIMBS>().0[..TABLE * K];
    let mut sum = group.neutral();
    for entry in table.chunks_exact_mut(K) {
        entry.copy_from_slice(&sum);
        sum = group.add(&sum, point);
    }
    sum = group.neutral();
    for word in scalar.iter().rev() {
        for digit in (0..64 / 4).rev() {
            for _ in 0..4 {
                sum = group.add(&sum, &sum);
            }
            // All entries are looked at to find a secret one.
            let digit = (word.0 >> (4 * digit)) as u8 % TABLE as u8;
            let mut chosen = sum;
            for (n, entry) in (0_u8..).zip(table.chunks_exact(K)) {
                let is_it = Choice::from_u8_eq(n, digit);
                for (to, from) in chosen.iter_mut().zip(entry) {
                    choose(to, from, is_it);
                }
            }
            sum = group.add(&sum, &chosen);
        }
    }
    sum
}
