//! Programs that allocators are measured with, `benches/heaps`.
//!
//! **Invariant:** the same steps every time, on every machine.

use tally_ledger::footprint::Step;

/// Pairs of an allocation and a release that are measured.
pub const PAIRS: usize = 1000;

/// Steps that make `live` blocks, and [`PAIRS`] pairs that each make one more and free one of those.
#[must_use]
pub fn pairs(live: usize) -> (Vec<Step>, Vec<Step>) {
    let mut random = 17_u64;
    // Numbers that a seed decides (Knuth's constants of MMIX).
    let mut below = |end: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % end
    };
    // 16 to 511 bytes, halving in number with each doubling.
    let size = |below: &mut dyn FnMut(usize) -> usize| {
        let smallest = 16 << below(32).trailing_zeros().min(4);
        smallest + below(smallest)
    };
    let before = (0..live)
        .map(|_| Step::Allocate(size(&mut below)))
        .collect();
    let mut there: Vec<usize> = (0..live).collect();
    let mut steps = Vec::new();
    for number in live..live + PAIRS {
        steps.push(Step::Allocate(size(&mut below)));
        let at = below(there.len());
        steps.push(Step::Free(std::mem::replace(&mut there[at], number)));
    }
    (before, steps)
}
