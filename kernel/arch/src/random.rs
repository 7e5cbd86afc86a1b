//! Hash_DRBG with SHA-256 (NIST SP 800-90A rev. 1, 10.1.1), and health tests of the source that seeds it (SP 800-90B, 4.4).
//!
//! **Invariant:** no byte is given out twice, and none that was given out is kept or can be told from what is kept. A source
//! that has nothing to give, or gives the same again, is asked a bounded number of times.

use tally_crypto::symmetric::hash::{Algorithm, Hash};

/// Bytes of a hash.
const HASH: usize = 32;
/// Bytes of a seed, `seedlen`: 440 bits for SHA-256.
const SEED: usize = 55;
/// Bytes that are made at a time, each time from fresh words: most requests are small.
const BLOCK: usize = 128;
/// Words that one word of a source is compared with.
const WINDOW: u32 = 512;
/// Most of them that may be the same: 2^-20 or less for a source of one bit a word (SP 800-90B, 4.4.2).
const MOST_ALIKE: u32 = 410;
/// As often in a row a source may give the same word: 2^-20 for one bit a word (4.4.1).
const MOST_IN_A_ROW: u32 = 20;

/// The generator, which gives out nothing good before it was seeded.
pub(crate) struct Generator {
    /// The value that output is made of.
    v: [u8; SEED],
    /// What is added to it.
    c: [u8; SEED],
    /// Requests since the last seed, and one.
    counter: u64,
    health: Health,
    /// Output that nobody has had yet: the last `left` bytes.
    reserve: [u8; BLOCK],
    left: usize,
}

/// Why a seed did not come about; the generator is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEntropy {
    /// The source had nothing to give as often as it was asked.
    Nothing,
    /// The source gives too much of the same.
    Unhealthy,
}

impl Generator {
    /// One without a seed.
    pub(crate) const fn new() -> Self {
        Self {
            v: [0; SEED],
            c: [0; SEED],
            counter: 1,
            health: Health::new(),
            reserve: [0; BLOCK],
            left: 0,
        }
    }

    /// Reseeds it with `words` words of a source, which is asked `tries` times for each.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub(crate) fn reseed(
        &mut self,
        words: usize,
        tries: usize,
        mut source: impl FnMut() -> Option<u64>,
    ) -> Result<(), NoEntropy> {
        let mut derivation = self.derivation();
        for _ in 0..words {
            let word = (0..tries).find_map(|_| source());
            let word = word.ok_or(NoEntropy::Nothing)?;
            if !self.health.passes(word) {
                return Err(NoEntropy::Unhealthy);
            }
            derivation.update(&word.to_le_bytes());
        }
        self.seed(derivation);
        Ok(())
    }

    /// Reseeds it with what somebody else says is random, which does no harm if it is not.
    pub(crate) fn stir(&mut self, words: &[u64]) {
        let mut derivation = self.derivation();
        for word in words {
            derivation.update(&word.to_le_bytes());
        }
        self.seed(derivation);
    }

    /// What a new seed is made of, besides what is fresh.
    fn derivation(&self) -> Derivation {
        Derivation::new(&[&[1], &self.v])
    }

    fn seed(&mut self, derivation: Derivation) {
        self.v = derivation.finish();
        self.c = Derivation::new(&[&[0], &self.v]).finish();
        self.counter = 1;
    }

    /// Whether a request of this many bytes needs new output.
    pub(crate) const fn is_short_of(&self, bytes: usize) -> bool {
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
            let mut reserve = [0; BLOCK];
            self.generate(&mut reserve);
            self.reserve = reserve;
            self.left = BLOCK;
        }
        let begin = BLOCK - self.left;
        let given = &mut self.reserve[begin..begin + out.len()];
        out.copy_from_slice(given);
        given.fill(0);
        self.left -= out.len();
    }

    /// `Hash_DRBG_Generate`: the state moves on, so that earlier output cannot be told from it.
    fn generate(&mut self, out: &mut [u8]) {
        let mut data = self.v;
        for piece in out.chunks_mut(HASH) {
            digest(&[&data], piece);
            add(&mut data, &[1]);
        }
        let mut hash = [0; HASH];
        digest(&[&[3], &self.v], &mut hash);
        add(&mut self.v, &hash);
        add(&mut self.v, &self.c);
        add(&mut self.v, &self.counter.to_be_bytes());
        self.counter += 1;
    }
}

/// `Hash_df` (10.3.1) to [`SEED`] bytes.
struct Derivation([Hash; 2]);

impl Derivation {
    fn new(parts: &[&[u8]]) -> Self {
        const BITS: u32 = 8 * SEED as u32;
        let mut derivation = Self([1_u8, 2].map(|counter| {
            let mut hash = Hash::new(Algorithm::Sha256);
            hash.update(&[counter]);
            hash.update(&BITS.to_be_bytes());
            hash
        }));
        parts.iter().for_each(|part| derivation.update(part));
        derivation
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|hash| hash.update(bytes));
    }

    fn finish(self) -> [u8; SEED] {
        let mut out = [0; SEED];
        for (piece, mut hash) in out.chunks_mut(HASH).zip(self.0) {
            let mut whole = [0; HASH];
            hash.finish(&mut whole);
            piece.copy_from_slice(&whole[..piece.len()]);
        }
        out
    }
}

/// The hash of `parts`, one after the other, in all of `out`.
fn digest(parts: &[&[u8]], out: &mut [u8]) {
    let mut hash = Hash::new(Algorithm::Sha256);
    parts.iter().for_each(|part| hash.update(part));
    hash.finish(out);
}

/// Adds a number to another, both big-endian, modulo 2^440.
fn add(to: &mut [u8; SEED], number: &[u8]) {
    let digits = number.iter().rev().chain(core::iter::repeat(&0));
    let mut carry = 0;
    for (byte, digit) in to.iter_mut().rev().zip(digits) {
        let sum = u16::from(*byte) + u16::from(*digit) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}

/// Repetition count test and adaptive proportion test, on whole words.
struct Health {
    last: u64,
    in_a_row: u32,
    /// The word that those of this window are compared with.
    first: u64,
    alike: u32,
    seen: u32,
}

impl Health {
    const fn new() -> Self {
        Self {
            last: 0,
            in_a_row: 0,
            first: 0,
            alike: 0,
            seen: 0,
        }
    }

    /// Takes a word in; whether the source may be what it says.
    fn passes(&mut self, word: u64) -> bool {
        self.in_a_row = if word == self.last {
            self.in_a_row.saturating_add(1)
        } else {
            1
        };
        self.last = word;
        if self.seen == 0 {
            self.first = word;
            self.alike = 0;
        }
        self.alike += u32::from(word == self.first);
        self.seen = (self.seen + 1) % WINDOW;
        self.in_a_row <= MOST_IN_A_ROW && self.alike <= MOST_ALIKE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(generator: &mut Generator) -> [u8; 400] {
        let mut bytes = [0; 400];
        generator.fill(&mut bytes);
        bytes
    }

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
    }

    /// NIST's CAVP, Hash_DRBG, SHA-256, no prediction resistance, count 0: what comes second of two requests of 128 bytes.
    #[test]
    fn it_is_nists_hash_drbg() {
        let entropy: [u8; 32] =
            bytes("a65ad0f345db4e0effe875c3a2e71f42c7129d620ff5c119a9ef55f05185e0fb");
        let nonce: [u8; 16] = bytes("8581f9317517276e06e9607ddbcbcc2e");
        let mut generator = Generator::new();
        generator.seed(Derivation::new(&[&entropy, &nonce]));
        let mut out = [0; 128];
        generator.generate(&mut out);
        generator.generate(&mut out);
        let expected: [u8; 128] = bytes(
            "d3e160c35b99f340b2628264d1751060e0045da383ff57a57d73a673d2b8d80d\
             aaf6a6c35a91bb4579d73fd0c8fed111b0391306828adfed528f018121b3febd\
             c343e797b87dbb63db1333ded9d1ece177cfa6b71fe8ab1da46624ed6415e51c\
             cde2c7ca86e283990eeaeb91120415528b2295910281b02dd431f4c9f70427df",
        );
        assert_eq!(out, expected);
    }

    /// RNDR was asked for ever, with the generator's lock held and interrupts masked.
    #[test]
    fn a_source_that_has_nothing_is_asked_a_bounded_number_of_times() {
        let mut generator = Generator::new();
        let mut asked = 0;
        let seeded = generator.reseed(4, 10, || {
            asked += 1;
            None
        });
        assert_eq!((seeded, asked), (Err(NoEntropy::Nothing), 10));
        // One that gives now and then is good enough.
        let mut asked = 0_u64;
        let seeded = generator.reseed(4, 10, || {
            asked += 1;
            asked.is_multiple_of(10).then_some(asked)
        });
        assert_eq!((seeded, asked), (Ok(()), 40));
    }

    #[test]
    fn a_failed_seed_changes_nothing() {
        let mut words = [1, 2, 3].into_iter();
        let mut generator = Generator::new();
        let seeded = generator.reseed(4, 10, || words.next());
        assert_eq!(seeded, Err(NoEntropy::Nothing));
        assert_eq!(filled(&mut generator), filled(&mut Generator::new()));
    }

    #[test]
    fn a_source_that_is_stuck_is_no_source() {
        let mut generator = Generator::new();
        let most = MOST_IN_A_ROW as usize;
        assert_eq!(generator.reseed(most, 1, || Some(7)), Ok(()));
        assert_eq!(
            generator.reseed(1, 1, || Some(7)),
            Err(NoEntropy::Unhealthy)
        );
        assert_eq!(
            generator.reseed(1, 1, || Some(8)),
            Ok(()),
            "it has recovered"
        );
    }

    #[test]
    fn a_source_that_mostly_says_the_same_is_no_source() {
        let mut generator = Generator::new();
        // Five in six are the same, never long in a row.
        let mut asked = 0;
        let mut mostly = || {
            asked += 1;
            Some(if asked % 6 == 0 { asked } else { 0 })
        };
        let mut results = (0..WINDOW).map(|_| generator.reseed(1, 1, &mut mostly));
        assert!(results.any(|seeded| seeded == Err(NoEntropy::Unhealthy)));
        // Three in four are few enough.
        let mut generator = Generator::new();
        let mut asked = 0;
        let mut often = || {
            asked += 1;
            Some(if asked % 4 == 0 { asked } else { 0 })
        };
        let mut results = (0..4 * WINDOW).map(|_| generator.reseed(1, 1, &mut often));
        assert!(results.all(|seeded| seeded == Ok(())));
    }

    #[test]
    fn what_others_stir_in_counts_and_says_nothing_of_the_source() {
        let mut generator = Generator::new();
        let before = filled(&mut Generator::new());
        generator.stir(&[0; 1000]);
        assert_eq!(generator.reseed(1, 1, || Some(0)), Ok(()));
        assert_ne!(filled(&mut generator), before);
        let (mut one, mut other) = (Generator::new(), Generator::new());
        one.stir(&[1]);
        other.stir(&[2]);
        assert_ne!(filled(&mut one), filled(&mut other));
    }

    #[test]
    fn each_seed_and_each_request_has_bytes_of_its_own() {
        let mut seen = Vec::new();
        for seed in 0..4 {
            let mut generator = Generator::new();
            generator.reseed(1, 1, || Some(seed)).unwrap();
            for _ in 0..4 {
                seen.extend(filled(&mut generator).chunks(8).map(<[u8]>::to_vec));
            }
            // Each asked for three blocks and 16 bytes, of which nothing is kept.
            assert!(!generator.is_short_of(112) && generator.is_short_of(113));
            assert_eq!(generator.reserve[..16], [0; 16]);
        }
        let n = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), n);
    }
}
