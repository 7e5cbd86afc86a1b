//! The board's hardware key, and keys that are derived from it as OP-TEE derives them (optee_os `core/kernel/huk_subkey.c`).
//!
//! **Invariant:** the key itself leaves by no other way than a digest.

use tally_crypto::symmetric::hash::Algorithm;
use tally_crypto::symmetric::mac::Hmac;
use zeroize::Zeroizing;

/// Bytes of a hardware key.
pub const HARDWARE_KEY: usize = 16;
/// Bytes of a derived key.
pub const DERIVED: usize = 32;

/// What a key is for (`HUK_SUBKEY_*` of optee_os `core/include/kernel/huk_subkey.h`).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Purpose {
    /// A TA's own.
    UniqueTa = 3,
    /// Encrypted images.
    TaEncryption = 4,
}

/// What the storage key is of, as it was before keys had purposes: a chip's number, where there is none, and a text with its
/// zero byte.
const STORAGE: [&[u8]; 2] = [
    b"BEEFBEEFBEEFBEEFBEEFBEEFBEEFBEEF",
    b"ONLY_FOR_tee_fs_ssk\0",
];

/// The key that all keys of trusted storage derive from (`HUK_SUBKEY_SSK`, with `CFG_CORE_HUK_SUBKEY_COMPAT`).
#[must_use]
pub fn storage_key(key: &[u8; HARDWARE_KEY]) -> Zeroizing<[u8; DERIVED]> {
    let mut derivation = Derivation(Hmac::new(Algorithm::Sha256, key));
    STORAGE.iter().for_each(|part| derivation.update(part));
    derivation.finish()
}

/// HMAC-SHA256 under a hardware key, begun with what it is for.
pub struct Derivation(Hmac);

impl Derivation {
    /// One for this purpose.
    #[must_use]
    pub fn new(key: &[u8; HARDWARE_KEY], purpose: Purpose) -> Self {
        let mut hmac = Hmac::new(Algorithm::Sha256, key);
        hmac.update(&(purpose as u32).to_le_bytes());
        Self(hmac)
    }

    /// Takes data in.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The key.
    #[must_use]
    pub fn finish(mut self) -> Zeroizing<[u8; DERIVED]> {
        let mut derived = Zeroizing::new([0; DERIVED]);
        self.0.finish(&mut *derived);
        derived
    }
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
