//! Hashes that take blocks into a state and end with the length of all (FIPS 180-4, RFC 1321): MD5, SHA-1, SHA-224 to SHA-512.

use super::hash::Algorithm;
use super::instructions::instructions;
use core::slice::from_ref;
use sha2::digest::generic_array::GenericArray;
use zeroize::Zeroize;

/// Bytes of the longest block.
const MAX_BLOCK: usize = 128;

/// A digest being computed.
#[derive(Clone)]
pub(super) struct Chained {
    state: State,
    /// The block that was begun.
    begun: [u8; MAX_BLOCK],
    /// Bytes of it.
    at: u8,
    algorithm: Algorithm,
    /// Bytes so far.
    len: u64,
}

#[derive(Clone)]
enum State {
    Md5([u32; 4]),
    Sha1([u32; 5]),
    Sha256([u32; 8]),
    Sha512([u64; 8]),
}

impl Chained {
    /// Of nothing yet, for MD5, SHA-1 and SHA-2.
    pub(super) const fn new(algorithm: Algorithm) -> Option<Self> {
        let state = match algorithm {
            Algorithm::Md5 => State::Md5(MD5),
            Algorithm::Sha1 => State::Sha1(SHA1),
            Algorithm::Sha224 => State::Sha256(SHA224),
            Algorithm::Sha256 => State::Sha256(SHA256),
            Algorithm::Sha384 => State::Sha512(SHA384),
            Algorithm::Sha512 => State::Sha512(SHA512),
            _ => return None,
        };
        Some(Self {
            state,
            begun: [0; MAX_BLOCK],
            at: 0,
            algorithm,
            len: 0,
        })
    }

    /// Bytes of a block.
    pub(super) const fn block(&self) -> usize {
        match self.state {
            State::Sha512(_) => 128,
            _ => 64,
        }
    }

    /// Takes in the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.len = self.len.wrapping_add(bytes.len() as u64);
        let block = self.block();
        let at = usize::from(self.at);
        let mut rest = bytes;
        if at != 0 {
            let (more, behind) = bytes.split_at(bytes.len().min(block - at));
            self.begun[at..][..more.len()].copy_from_slice(more);
            if at + more.len() < block {
                self.at += more.len() as u8;
                return;
            }
            self.state.take(&self.begun[..block]);
            rest = behind;
        }
        let (whole, begun) = rest.split_at(rest.len() - rest.len() % block);
        if !whole.is_empty() {
            self.state.take(whole);
        }
        self.begun[..begun.len()].copy_from_slice(begun);
        self.at = begun.len() as u8;
    }

    /// Gives the digest, or as much of it as there is room for. It is as new then.
    pub(super) fn finish(&mut self, out: &mut [u8]) {
        let (block, at) = (self.block(), usize::from(self.at));
        let begun = &mut self.begun[..block];
        begun[at] = 0x80;
        begun[at + 1..].fill(0);
        let length_at = block - 8;
        // Of SHA-512's 16 bytes the first are 0.
        if at + 1 > length_at - (block / 64 - 1) * 8 {
            self.state.take(begun);
            begun.fill(0);
        }
        let bits = self.len.wrapping_mul(8);
        let bits = match self.state {
            State::Md5(_) => bits.to_le_bytes(),
            _ => bits.to_be_bytes(),
        };
        begun[length_at..].copy_from_slice(&bits);
        self.state.take(begun);
        let out_bytes = out.len().min(self.algorithm.digest_bytes().unwrap_or(0));
        self.state.give(&mut out[..out_bytes]);
        if let Some(new) = Self::new(self.algorithm) {
            *self = new;
        }
    }
}

impl State {
    /// Takes in whole blocks.
    #[inline(never)]
    fn take(&mut self, bytes: &[u8]) {
        let cpu = instructions();
        match self {
            Self::Md5(state) => md5::block_api::compress(state, bytes.as_chunks().0),
            Self::Sha1(state) => {
                let blocks = bytes.as_chunks().0;
                if !cpu.is_some_and(|cpu| cpu.sha1(state, blocks)) {
                    sha1::block_api::compress(state, blocks);
                }
            }
            Self::Sha256(state) => {
                let blocks = bytes.as_chunks().0;
                if !cpu.is_some_and(|cpu| cpu.sha256(state, blocks)) {
                    for block in blocks {
                        sha2::compress256(state, from_ref(<&GenericArray<_, _>>::from(block)));
                    }
                }
            }
            Self::Sha512(state) => {
                let blocks = bytes.as_chunks().0;
                if !cpu.is_some_and(|cpu| cpu.sha512(state, blocks)) {
                    for block in blocks {
                        sha2::compress512(state, from_ref(<&GenericArray<_, _>>::from(block)));
                    }
                }
            }
        }
    }

    /// Gives as many bytes of it as there is room for.
    fn give(&self, out: &mut [u8]) {
        match self {
            Self::Md5(words) => give(out, words.iter().map(|word| word.to_le_bytes())),
            Self::Sha1(words) => give(out, words.iter().map(|word| word.to_be_bytes())),
            Self::Sha256(words) => give(out, words.iter().map(|word| word.to_be_bytes())),
            Self::Sha512(words) => give(out, words.iter().map(|word| word.to_be_bytes())),
        }
    }
}

fn give<const N: usize>(out: &mut [u8], words: impl Iterator<Item = [u8; N]>) {
    for (out, word) in out.chunks_mut(N).zip(words) {
        out.copy_from_slice(&word[..out.len()]);
    }
}

impl Zeroize for Chained {
    fn zeroize(&mut self) {
        match &mut self.state {
            State::Md5(words) => words.zeroize(),
            State::Sha1(words) => words.zeroize(),
            State::Sha256(words) => words.zeroize(),
            State::Sha512(words) => words.zeroize(),
        }
        self.begun.zeroize();
    }
}

// First states.

const MD5: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const SHA1: [u32; 5] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];
const SHA224: [u32; 8] = [
    0xc105_9ed8,
    0x367c_d507,
    0x3070_dd17,
    0xf70e_5939,
    0xffc0_0b31,
    0x6858_1511,
    0x64f9_8fa7,
    0xbefa_4fa4,
];
const SHA256: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const SHA384: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];
const SHA512: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];
