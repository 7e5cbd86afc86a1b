//! Inputs of the fuzz targets, made by mutation.
//!
//! **Invariant:** deterministic; inputs stay below [`MAX_BYTES`].

/// Longest input.
pub(crate) const MAX_BYTES: usize = 16 << 10;

/// Numbers that break things.
const ODD: &[u64] = &[
    0,
    1,
    3,
    4,
    0x7f,
    0x80,
    0xff,
    0xfff,
    0x1000,
    0x1001,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// A sequence of inputs.
pub(crate) struct Inputs {
    state: u64,
    samples: Vec<Vec<u8>>,
    kept: Vec<Vec<u8>>,
}

impl Inputs {
    /// Starts the sequence of `seed`.
    pub(crate) fn new(seed: u64, samples: Vec<Vec<u8>>) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            samples,
            kept: Vec::new(),
        }
    }

    /// Makes the next input.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) {
        out.clear();
        let choice = self.below(10);
        if self.samples.is_empty() && self.kept.is_empty() || choice == 0 {
            let short = self.below(8) > 0;
            let len = self.below(if short { 512 } else { MAX_BYTES });
            out.extend((0..len).map(|_| 0));
            for byte in out.iter_mut() {
                *byte = self.bits() as u8;
            }
        } else if choice < 7 && !self.samples.is_empty() {
            let n = self.below(self.samples.len());
            out.extend_from_slice(&self.samples[n]);
        } else if !self.kept.is_empty() {
            let n = self.below(self.kept.len());
            out.extend_from_slice(&self.kept[n]);
        }
        let rounds = self.below(6);
        for _ in 0..rounds {
            self.mutate(out);
        }
        out.truncate(MAX_BYTES);
        if self.below(64) == 0 {
            if self.kept.len() < 64 {
                self.kept.push(out.clone());
            } else {
                let n = self.below(64);
                self.kept[n].clone_from(out);
            }
        }
    }

    fn mutate(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            out.push(self.bits() as u8);
            return;
        }
        let at = self.below(out.len());
        match self.below(7) {
            0 => out[at] ^= 1 << self.below(8),
            1 => out[at] = self.bits() as u8,
            2 | 3 => {
                // An odd number over a field, with the alignment that fields have.
                let width = [1, 2, 4, 8][self.below(4)];
                let at = at / width * width;
                let odd = ODD[self.below(ODD.len())].wrapping_add(self.bits() % 3);
                let end = (at + width).min(out.len());
                out[at..end].copy_from_slice(&odd.to_le_bytes()[..end - at]);
            }
            4 => out.truncate(at),
            5 => {
                let len = self.below(64).min(out.len() - at);
                let piece = out[at..at + len].to_vec();
                let to = self.below(out.len());
                out.splice(to..to, piece);
            }
            _ => {
                let len = self.below(64).min(out.len() - at);
                out.drain(at..at + len);
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// xorshift64*.
    fn bits(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_same_inputs() {
        let sample = || vec![b"sample of some length".to_vec()];
        let (mut a, mut b) = (Inputs::new(7, sample()), Inputs::new(7, sample()));
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for _ in 0..1000 {
            a.next(&mut x);
            b.next(&mut y);
            assert_eq!(x, y);
            assert!(x.len() <= MAX_BYTES);
        }
    }
}
