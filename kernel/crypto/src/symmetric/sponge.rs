//! Keccak's sponge (FIPS 202): SHA-3 and SHAKE.

use super::instructions::instructions;
use keccak::Keccak;
use zeroize::Zeroize;

/// Bytes of its state.
const STATE: usize = 200;
/// Bytes of a lane.
const LANE: usize = 8;

/// A sponge that absorbs, then is squeezed.
#[derive(Clone)]
pub(super) struct Sponge {
    lanes: [u64; STATE / LANE],
    rate: u8,
    /// Next byte of the rate.
    at: u8,
    suffix: u8,
    is_squeezed: bool,
}

impl Sponge {
    /// Of SHA-3 with digests of so many bytes.
    pub(super) const fn sha3(bytes: u8) -> Self {
        Self::new(STATE as u8 - 2 * bytes, 0x06)
    }

    /// Of SHAKE with a strength of so many bytes.
    pub(super) const fn shake(bytes: u8) -> Self {
        Self::new(STATE as u8 - 2 * bytes, 0x1f)
    }

    const fn new(rate: u8, suffix: u8) -> Self {
        Self {
            lanes: [0; STATE / LANE],
            rate,
            at: 0,
            suffix,
            is_squeezed: false,
        }
    }

    /// Bytes absorbed at a time.
    pub(super) const fn rate(&self) -> usize {
        self.rate as usize
    }

    /// Whether it gives bytes and takes none.
    pub(super) const fn is_squeezed(&self) -> bool {
        self.is_squeezed
    }

    #[inline(never)]
    fn permute(&mut self) {
        if !instructions().is_some_and(|cpu| cpu.keccak(&mut self.lanes)) {
            Keccak::new().with_f1600(|f1600| f1600(&mut self.lanes));
        }
        self.at = 0;
    }

    fn absorb_byte(&mut self, byte: u8) {
        let at = usize::from(self.at);
        self.lanes[at / LANE] ^= u64::from(byte) << (8 * (at % LANE));
        self.at += 1;
        if self.at == self.rate {
            self.permute();
        }
    }

    pub(super) fn absorb(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            let at = usize::from(self.at);
            match bytes.split_first_chunk() {
                Some((lane, behind)) if at.is_multiple_of(LANE) => {
                    self.lanes[at / LANE] ^= u64::from_le_bytes(*lane);
                    self.at += LANE as u8;
                    if self.at == self.rate {
                        self.permute();
                    }
                    bytes = behind;
                }
                _ => {
                    self.absorb_byte(*byte);
                    bytes = rest;
                }
            }
        }
    }

    /// Gives the next bytes; there is no end of them.
    pub(super) fn squeeze(&mut self, out: &mut [u8]) {
        if !self.is_squeezed {
            let (first, last) = (usize::from(self.at), self.rate() - 1);
            self.lanes[first / LANE] ^= u64::from(self.suffix) << (8 * (first % LANE));
            self.lanes[last / LANE] ^= 0x80 << (8 * (last % LANE));
            self.permute();
            self.is_squeezed = true;
        }
        for byte in out {
            if self.at == self.rate {
                self.permute();
            }
            let at = usize::from(self.at);
            *byte = (self.lanes[at / LANE] >> (8 * (at % LANE))) as u8;
            self.at += 1;
        }
    }
}

impl Zeroize for Sponge {
    fn zeroize(&mut self) {
        self.lanes.zeroize();
    }
}
