//! Generator of random bytes: SHA-256 over a seed that is never given out.
//!
//! **Invariant:** no byte is given out twice, and none that was given out is kept. A source that has nothing to
//! give is asked a bounded number of times.

use tally_crypto::symmetric::hash::{Algorithm, Hash};

/// Bytes that are made at a time.
const BLOCK: usize = 32;

/// State of a generator, which gives out nothing good before it was seeded.
pub(crate) struct Generator {
    state: [u8; 32],
    /// Output that nobody has had yet: the last `left` bytes. Most requests are small.
    reserve: [u8; BLOCK],
    left: usize,
}

/// The source had nothing to give as often as it was asked; the generator is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEntropy;

impl Generator {
    /// One without a seed.
    pub(crate) const fn new() -> Self {
        Self {
            state: [0; 32],
            reserve: [0; BLOCK],
            left: 0,
        }
    }

    /// Mixes `words` words of a source in, which is asked `tries` times for each.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub(crate) fn stir(
        &mut self,
        words: usize,
        tries: usize,
        mut source: impl FnMut() -> Option<u64>,
    ) -> Result<(), NoEntropy> {
        let mut hash = self.hash();
        for _ in 0..words {
            let word = (0..tries).find_map(|_| source()).ok_or(NoEntropy)?;
            hash.update(&word.to_le_bytes());
        }
        hash.finish(&mut self.state);
        Ok(())
    }

    /// Whether a request of this many bytes needs new output.
    pub(crate) fn is_short_of(&self, bytes: usize) -> bool {
        bytes > self.left
    }

    /// Fills `out`.
    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(BLOCK) {
            self.give(chunk);
        }
    }

    /// Fills `out`, of at most [`BLOCK`] bytes.
    fn give(&mut self, out: &mut [u8]) {
        if out.len() > self.left {
            self.reserve = self.next();
            self.left = BLOCK;
        }
        let begin = BLOCK - self.left;
        let given = &mut self.reserve[begin..begin + out.len()];
        out.copy_from_slice(given);
        given.fill(0);
        self.left -= out.len();
    }

    /// Next bytes; the state moves on, so that earlier output cannot be told from it.
    fn next(&mut self) -> [u8; BLOCK] {
        let mut output = [0; BLOCK];
        let [mut out, mut next] = [self.hash(), self.hash()];
        out.update(b"out");
        out.finish(&mut output);
        next.update(b"next");
        next.finish(&mut self.state);
        output
    }

    /// What begins with the state.
    fn hash(&self) -> Hash {
        let mut hash = Hash::new(Algorithm::Sha256);
        hash.update(&self.state);
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(generator: &mut Generator) -> [u8; 100] {
        let mut bytes = [0; 100];
        generator.fill(&mut bytes);
        bytes
    }

    /// RNDR was asked for ever, with the generator's lock held and interrupts masked.
    #[test]
    fn a_source_that_has_nothing_is_asked_a_bounded_number_of_times() {
        let mut generator = Generator::new();
        let mut asked = 0;
        let stirred = generator.stir(4, 10, || {
            asked += 1;
            None
        });
        assert_eq!((stirred, asked), (Err(NoEntropy), 10));
        // One that gives now and then is good enough.
        let mut asked = 0_u64;
        let stirred = generator.stir(4, 10, || {
            asked += 1;
            asked.is_multiple_of(10).then_some(asked)
        });
        assert_eq!((stirred, asked), (Ok(()), 40));
    }

    #[test]
    fn a_failed_seed_changes_nothing() {
        let mut words = [1, 2, 3].into_iter();
        let mut generator = Generator::new();
        assert_eq!(generator.stir(4, 10, || words.next()), Err(NoEntropy));
        assert_eq!(filled(&mut generator), filled(&mut Generator::new()));
    }

    #[test]
    fn each_seed_and_each_request_has_bytes_of_its_own() {
        let mut seen = Vec::new();
        for seed in 0..4 {
            let mut generator = Generator::new();
            generator.stir(1, 1, || Some(seed)).unwrap();
            for _ in 0..4 {
                seen.extend(filled(&mut generator)[..96].chunks(8).map(<[u8]>::to_vec));
            }
            // Three blocks and four bytes, of which nothing is kept.
            assert!(!generator.is_short_of(28) && generator.is_short_of(29));
            assert_eq!(generator.reserve[..4], [0; 4]);
        }
        let n = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), n);
    }
}
