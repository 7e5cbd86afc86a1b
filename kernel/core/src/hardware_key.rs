//! The board's hardware key, and keys that are derived from it as OP-TEE derives them (optee_os `core/kernel/huk_subkey.c`).
//!
//! **Invariant:** the key itself leaves by no other way than a digest.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a hardware key.
pub const HARDWARE_KEY: usize = 16;
/// Bytes of a derived key.
pub const DERIVED: usize = 32;
/// Bytes of a block of SHA-256.
const HASH_BLOCK: usize = 64;

/// What a key is for (`HUK_SUBKEY_*` of optee_os `core/include/kernel/huk_subkey.h`).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Purpose {
    /// A TA's own.
    UniqueTa = 3,
    /// Encrypted images.
    TaEncryption = 4,
}

/// HMAC-SHA256 (RFC 2104) under a hardware key, begun with what it is for.
pub struct Derivation<'k> {
    key: &'k [u8; HARDWARE_KEY],
    inner: Sha256,
}

impl<'k> Derivation<'k> {
    /// One for this purpose.
    #[must_use]
    pub fn new(key: &'k [u8; HARDWARE_KEY], purpose: Purpose) -> Self {
        let mut inner = padded(key, 0x36);
        inner.update((purpose as u32).to_le_bytes());
        Self { key, inner }
    }

    /// Takes data in.
    pub fn update(&mut self, data: &[u8]) {
        self.inner.update(data);
    }

    /// The key.
    #[must_use]
    pub fn finish(self) -> Zeroizing<[u8; DERIVED]> {
        let inner = Zeroizing::new(<[u8; DERIVED]>::from(self.inner.finalize()));
        let mut outer = padded(self.key, 0x5c);
        outer.update(*inner);
        Zeroizing::new(outer.finalize().into())
    }
}

#[inline(never)]
fn padded(key: &[u8; HARDWARE_KEY], pad: u8) -> Sha256 {
    let mut block = Zeroizing::new([pad; HASH_BLOCK]);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    Sha256::new_with_prefix(&block[..])
}

#[cfg(test)]
mod tests {
    use super::{Derivation, Purpose};

    /// As `openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...0f` has it, over the purpose and "tally".
    #[test]
    fn it_is_the_hmac_of_purpose_and_data() {
        let key = std::array::from_fn(|n| n as u8);
        let derived = |purpose, parts: &[&[u8]]| {
            let mut derivation = Derivation::new(&key, purpose);
            parts.iter().for_each(|part| derivation.update(part));
            *derivation.finish()
        };
        let one = derived(Purpose::UniqueTa, &[b"tally"]);
        let wanted = u128::from_be_bytes(*one.first_chunk().unwrap());
        assert_eq!(wanted, 0x4a4d81fb1af3a3cd15e473e158be044e, "{wanted:#x}");
        assert_eq!(one, derived(Purpose::UniqueTa, &[b"tal", b"", b"ly"]));
        assert_ne!(one, derived(Purpose::TaEncryption, &[b"tally"]));
        assert_ne!(one, derived(Purpose::UniqueTa, &[b"Tally"]));
    }
}
