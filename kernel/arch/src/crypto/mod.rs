//! Cryptography by the CPU's instructions (Armv8 Cryptographic Extension), in a kernel that is built without V registers.
//!
//! The registers are the normal world's, or a TA's, when a section begins and when it ends. What SVE and SME have beyond them is
//! the firmware's to keep, as when they are lent to a TA (see `vectors`).
//!
//! **Invariant:** a section works on at most [`SECTION_BYTES`] with interrupts masked; round keys and texts are in no V register
//! and not on the stack when it ends. CPACR_EL1.FPEN lets EL1 through in sections alone.
//!
//! Source: Arm ARM DDI 0487, D24.2.62 (ID_AA64ISAR0_EL1), D24.2.69 (ID_AA64PFR0_EL1).

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU8, Ordering};
use tally_crypto::symmetric::Direction;
use tally_crypto::symmetric::instructions::{AesMode, Block, GhashKey, Instructions, RoundKeys};

use crate::Arm;

/// Most bytes of a section.
const SECTION_BYTES: usize = 4096;
/// Most blocks of AES of a section.
const SECTION_BLOCKS: usize = SECTION_BYTES / size_of::<Block>();

/// What the CPUs have, bit by bit.
mod has {
    pub(super) const SHA1: u8 = 1;
    pub(super) const SHA256: u8 = 1 << 1;
    pub(super) const SHA512: u8 = 1 << 2;
    pub(super) const AES: u8 = 1 << 3;
    pub(super) const PMULL: u8 = 1 << 4;
    pub(super) const SHA3: u8 = 1 << 5;
}

/// What this machine's CPUs have and the kernel uses.
static USED: AtomicU8 = AtomicU8::new(0);

fn uses(instructions: u8) -> bool {
    USED.load(Ordering::Relaxed) & instructions != 0
}

/// Uses the CPU's instructions for cryptography, or none: then the portable code does it all.
pub fn use_crypto_instructions(on: bool) {
    USED.store(if on { detect() } else { 0 }, Ordering::Relaxed);
}

/// What this CPU has, as the others have.
fn detect() -> u8 {
    let [sets, features]: [u64; 2];
    // SAFETY: reads registers.
    unsafe {
        asm!("mrs {}, id_aa64isar0_el1", out(reg) sets, options(nomem, nostack, preserves_flags));
        asm!("mrs {}, id_aa64pfr0_el1", out(reg) features, options(nomem, nostack, preserves_flags));
    }
    const NO_SIMD: u64 = 0xf;
    if !tally_board::FLOATING_POINT || features >> 20 & 0xf == NO_SIMD {
        return 0;
    }
    let at_least = |shift: u64, level, bit| if sets >> shift & 0xf >= level { bit } else { 0 };
    at_least(4, 1, has::AES)
        | at_least(4, 2, has::PMULL)
        | at_least(8, 1, has::SHA1)
        | at_least(12, 1, has::SHA256)
        | at_least(12, 2, has::SHA512)
        | at_least(32, 1, has::SHA3)
}

global_asm!(
    include_str!("section.s"),
    include_str!("sha.s"),
    include_str!("keccak.s"),
    include_str!("aes.s"),
    include_str!("ghash.s"),
    options(raw)
);

unsafe extern "C" {
    fn tally_sha1(state: *mut [u32; 5], blocks: *const [u8; 64], count: usize);
    fn tally_sha256(state: *mut [u32; 8], blocks: *const [u8; 64], count: usize);
    fn tally_sha512(state: *mut [u64; 8], blocks: *const [u8; 128], count: usize);
    fn tally_keccak(lanes: *mut [u64; 25]);
    fn tally_aes_schedule(keys: *mut Block, _: usize, words: usize);
    fn tally_aes_encrypt(keys: *const Keys, rounds: u64, blocks: *mut Block, count: usize);
    fn tally_aes_decrypt(keys: *const Keys, rounds: u64, blocks: *mut Block, count: usize);
    fn tally_aes_cbc_encrypt(
        keys: *const Keys,
        rounds: u64,
        blocks: *mut Block,
        count: usize,
        chain: *mut Block,
    );
    fn tally_aes_cbc_decrypt(
        keys: *const Keys,
        rounds: u64,
        blocks: *mut Block,
        count: usize,
        chain: *mut Block,
    );
    fn tally_aes_cbc_mac(
        keys: *const Keys,
        rounds: u64,
        blocks: *const Block,
        count: usize,
        chain: *mut Block,
    );
    fn tally_aes_ctr(
        keys: *const Keys,
        rounds: u64,
        blocks: *mut Block,
        count: usize,
        high: u64,
        low: u64,
    );
    fn tally_aes_xts_encrypt(
        keys: *const Keys,
        rounds: u64,
        blocks: *mut Block,
        count: usize,
        tweak: *mut Block,
    );
    fn tally_aes_xts_decrypt(
        keys: *const Keys,
        rounds: u64,
        blocks: *mut Block,
        count: usize,
        tweak: *mut Block,
    );
    fn tally_ghash_powers(powers: *mut [Block; 4]);
    fn tally_ghash(powers: *const [Block; 4], hash: *mut Block, blocks: *const Block, count: usize);
}

type Keys = [Block; RoundKeys::MAX];

impl Instructions for Arm {
    fn sha1(&self, state: &mut [u32; 5], blocks: &[[u8; 64]]) -> bool {
        let has = uses(has::SHA1);
        if has {
            for blocks in blocks.chunks(SECTION_BYTES / 64) {
                // SAFETY:
                // 1. The CPU has the instructions.
                // 2. Reads so many blocks, at least one; changes nothing but the state.
                unsafe { tally_sha1(state, blocks.as_ptr(), blocks.len()) };
            }
        }
        has
    }

    fn sha256(&self, state: &mut [u32; 8], blocks: &[[u8; 64]]) -> bool {
        let has = uses(has::SHA256);
        if has {
            for blocks in blocks.chunks(SECTION_BYTES / 64) {
                // SAFETY: as `sha1`.
                unsafe { tally_sha256(state, blocks.as_ptr(), blocks.len()) };
            }
        }
        has
    }

    fn sha512(&self, state: &mut [u64; 8], blocks: &[[u8; 128]]) -> bool {
        let has = uses(has::SHA512);
        if has {
            for blocks in blocks.chunks(SECTION_BYTES / 128) {
                // SAFETY: as `sha1`.
                unsafe { tally_sha512(state, blocks.as_ptr(), blocks.len()) };
            }
        }
        has
    }

    fn keccak(&self, lanes: &mut [u64; 25]) -> bool {
        let has = uses(has::SHA3);
        if has {
            // SAFETY:
            // 1. The CPU has the instructions.
            // 2. Changes nothing but the lanes.
            unsafe { tally_keccak(lanes) };
        }
        has
    }

    fn round_keys(&self, key: &[u8], keys: &mut RoundKeys) -> bool {
        let words = key.len() / 4;
        if !uses(has::AES) || !matches!(key.len(), 16 | 24 | 32) {
            return false;
        }
        keys.rounds = words as u8 + 6;
        let last = &mut keys.keys[8 - words..];
        last.as_flattened_mut()[..key.len()].copy_from_slice(key);
        // SAFETY:
        // 1. The CPU has the instructions.
        // 2. Reads the words of the key and writes round keys to the end, `words` + 7 of them: all that there are.
        unsafe { tally_aes_schedule(last.as_mut_ptr(), 0, words) };
        true
    }

    fn aes(&self, keys: &RoundKeys, mut mode: AesMode<'_>, blocks: &mut [Block]) {
        let rounds = u64::from(keys.rounds);
        for blocks in blocks.chunks_mut(SECTION_BLOCKS) {
            let (at, count) = (blocks.as_mut_ptr(), blocks.len());
            // SAFETY:
            // 1. Round keys are made where the CPU has the instructions.
            // 2. Reads all round keys, reads and writes so many blocks, at least one, and a chain or tweak.
            unsafe {
                match &mut mode {
                    AesMode::Ecb(Direction::Encrypt) => {
                        tally_aes_encrypt(&raw const keys.keys, rounds, at, count);
                    }
                    AesMode::Ecb(Direction::Decrypt) => {
                        tally_aes_decrypt(&raw const keys.keys, rounds, at, count);
                    }
                    AesMode::Cbc(Direction::Encrypt, chain) => {
                        tally_aes_cbc_encrypt(&raw const keys.keys, rounds, at, count, *chain);
                    }
                    AesMode::Cbc(Direction::Decrypt, chain) => {
                        tally_aes_cbc_decrypt(&raw const keys.keys, rounds, at, count, *chain);
                    }
                    AesMode::Ctr(counter) => {
                        let halves = [(*counter >> 64) as u64, *counter as u64];
                        let [high, low] = halves;
                        tally_aes_ctr(&raw const keys.keys, rounds, at, count, high, low);
                        *counter = counter.wrapping_add(count as u128);
                    }
                    AesMode::Xts(Direction::Encrypt, tweak) => {
                        tally_aes_xts_encrypt(&raw const keys.keys, rounds, at, count, *tweak);
                    }
                    AesMode::Xts(Direction::Decrypt, tweak) => {
                        tally_aes_xts_decrypt(&raw const keys.keys, rounds, at, count, *tweak);
                    }
                }
            }
        }
    }

    fn aes_mac(&self, keys: &RoundKeys, chain: &mut Block, blocks: &[Block]) {
        let rounds = u64::from(keys.rounds);
        for blocks in blocks.chunks(SECTION_BLOCKS) {
            let (at, count) = (blocks.as_ptr(), blocks.len());
            // SAFETY: as `aes`; the blocks are only read.
            unsafe { tally_aes_cbc_mac(&raw const keys.keys, rounds, at, count, chain) };
        }
    }

    fn ghash_key(&self, of: &Block, key: &mut GhashKey) -> bool {
        if !uses(has::PMULL) {
            return false;
        }
        key.powers[0] = *of;
        // SAFETY:
        // 1. The CPU has the instructions.
        // 2. Reads the first power and writes all four.
        unsafe { tally_ghash_powers(&raw mut key.powers) };
        true
    }

    fn ghash(&self, key: &GhashKey, hash: &mut Block, blocks: &[Block]) {
        for blocks in blocks.chunks(SECTION_BLOCKS) {
            // SAFETY:
            // 1. Keys are made where the CPU has the instructions.
            // 2. Reads four powers and so many blocks, at least one; changes nothing but the hash.
            unsafe {
                tally_ghash(&raw const key.powers, hash, blocks.as_ptr(), blocks.len());
            }
        }
    }
}
