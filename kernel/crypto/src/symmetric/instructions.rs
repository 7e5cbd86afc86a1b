//! Instructions of a CPU for cryptography, in place of the portable code.
//!
//! **Invariant:** what is here gives the same bytes as the portable code.
//! **Knows nothing of:** registers, and how they are kept for others.

use super::Direction;
use spin::Once;
use zeroize::Zeroize;

/// A block of a cipher.
pub type Block = [u8; 16];

/// A machine's instructions. Each function takes any number of blocks, and lets interrupts through as its caller does.
pub trait Instructions: Sync {
    /// Takes blocks into SHA-1; false, and nothing is done, without instructions for it.
    #[must_use]
    fn sha1(&self, state: &mut [u32; 5], blocks: &[[u8; 64]]) -> bool;
    /// Takes blocks into SHA-256, and likewise.
    #[must_use]
    fn sha256(&self, state: &mut [u32; 8], blocks: &[[u8; 64]]) -> bool;
    /// Takes blocks into SHA-512, and likewise.
    #[must_use]
    fn sha512(&self, state: &mut [u64; 8], blocks: &[[u8; 128]]) -> bool;
    /// Permutes Keccak's lanes (FIPS 202, 3.3), and likewise.
    #[must_use]
    fn keccak(&self, lanes: &mut [u64; 25]) -> bool;
    /// Makes round keys of a key of AES, of 16, 24 or 32 bytes; false without instructions for AES.
    #[must_use]
    fn round_keys(&self, key: &[u8], keys: &mut RoundKeys) -> bool;
    /// Encrypts or decrypts blocks with round keys that were made here, as does the following.
    fn aes(&self, keys: &RoundKeys, mode: AesMode<'_>, blocks: &mut [Block]);
    /// Takes blocks into a CBC-MAC of AES.
    fn aes_mac(&self, keys: &RoundKeys, chain: &mut Block, blocks: &[Block]);
    /// Makes a key of GHASH; false without instructions for it.
    #[must_use]
    fn ghash_key(&self, of: &Block, key: &mut GhashKey) -> bool;
    /// Takes blocks into GHASH with a key that was made here.
    fn ghash(&self, key: &GhashKey, hash: &mut Block, blocks: &[Block]);
}

/// How blocks of AES hang together.
#[derive(Debug)]
pub enum AesMode<'c> {
    /// Not at all.
    Ecb(Direction),
    /// Each by the one before, of which the last is left.
    Cbc(Direction, &'c mut Block),
    /// A key stream from a counter on, a big-endian number whose lower 64 bits do not wrap.
    Ctr(u128),
    /// Each by its place; the next one's tweak is left.
    Xts(Direction, &'c mut Block),
}

/// Round keys of AES, as many as there are at the end of these.
#[derive(Clone)]
#[repr(C, align(16))]
pub struct RoundKeys {
    /// Keys, the last one last.
    pub keys: [Block; Self::MAX],
    /// Rounds: 10, 12 or 14. There is a key more.
    pub rounds: u8,
}

impl RoundKeys {
    /// Most of them.
    pub const MAX: usize = 15;

    const NONE: Self = Self {
        keys: [[0; 16]; Self::MAX],
        rounds: 0,
    };
}

impl Drop for RoundKeys {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

/// A key of GHASH with its powers up to the fourth, the bits of each byte in whatever order the machine likes.
#[derive(Clone, Default)]
#[repr(C, align(16))]
pub struct GhashKey {
    /// The key, its square, and so on.
    pub powers: [Block; 4],
}

impl Drop for GhashKey {
    fn drop(&mut self) {
        self.powers.zeroize();
    }
}

static INSTRUCTIONS: Once<&'static dyn Instructions> = Once::new();

/// Has the machine's instructions used from now on. The first ones stay.
pub fn register(instructions: &'static dyn Instructions) {
    INSTRUCTIONS.call_once(|| instructions);
}

/// The machine's, if there are any.
pub(super) fn instructions() -> Option<&'static dyn Instructions> {
    INSTRUCTIONS.get().copied()
}

/// AES with a key, by instructions.
#[derive(Clone)]
pub struct Aes {
    cpu: &'static dyn Instructions,
    keys: RoundKeys,
}

impl Aes {
    /// With a key of 16, 24 or 32 bytes, if there are instructions.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let cpu = instructions()?;
        let mut keys = RoundKeys::NONE;
        let has_keys = cpu.round_keys(key, &mut keys);
        has_keys.then_some(Self { cpu, keys })
    }

    /// Does whole blocks; bytes of an incomplete one stay.
    pub(super) fn crypt(&self, mode: AesMode<'_>, bytes: &mut [u8]) {
        let blocks = bytes.as_chunks_mut().0;
        self.cpu.aes(&self.keys, mode, blocks);
    }

    /// Takes blocks into a CBC-MAC.
    pub(super) fn mac(&self, chain: &mut Block, blocks: &[Block]) {
        self.cpu.aes_mac(&self.keys, chain, blocks);
    }
}

/// GHASH being computed, by instructions.
#[derive(Clone)]
pub(super) struct Ghash {
    cpu: &'static dyn Instructions,
    key: GhashKey,
    hash: Block,
}

impl Ghash {
    /// With a key, if there are instructions.
    pub(super) fn new(of: &Block) -> Option<Self> {
        let cpu = instructions()?;
        let (mut key, hash) = (GhashKey::default(), [0; 16]);
        let has_key = cpu.ghash_key(of, &mut key);
        has_key.then_some(Self { cpu, key, hash })
    }

    /// Takes in blocks.
    pub(super) fn update(&mut self, blocks: &[Block]) {
        self.cpu.ghash(&self.key, &mut self.hash, blocks);
    }

    /// The hash of what was taken in.
    pub(super) const fn hash(&self) -> Block {
        self.hash
    }
}

impl Drop for Ghash {
    fn drop(&mut self) {
        self.hash.zeroize();
    }
}
