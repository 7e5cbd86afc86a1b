//! Signed images for tests.
//!
//! **Invariant:** the keys sign tests only; their private halves are no secrets.

use crate::ta::load::image::Trust;
use crate::ta::load::rsa::{MAX_MODULUS_LEN, PublicKey};
use alloc::vec::Vec;
use alloc::{format, vec};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048, U3072, Uint};
use sha2::{Digest, Sha256};
use tally_abi::TeeUuid;
use tally_abi::shdr::{BootstrapHeader, MAGIC, SignedHeader, algo, img_type};
use zerocopy::IntoBytes;

/// Bytes of the test key's modulus.
pub const MODULUS_LEN: usize = 256;
/// Modulus of the test key.
pub const MODULUS: U2048 = U2048::from_be_hex(TEST_KEY.modulus);
/// The public half of the test key, which the kernel of a [`World`](super::world::World) trusts.
pub const KEY: &PublicKey =
    &match PublicKey::from_modulus(&bytes_of::<MODULUS_LEN>(TEST_KEY.modulus)) {
        Some(key) => key,
        None => panic!("not a modulus of 2048 bits"),
    };

/// The hardware key of a [`World`](super::world::World).
pub const HARDWARE_KEY: [u8; 16] = *b"a key for tests!";
/// That it trusts.
pub const TRUST: Trust<'static> = Trust {
    keys: &[KEY],
    hardware_key: &HARDWARE_KEY,
};

/// A key pair, in hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct KeyPair {
    modulus: &'static str,
    exponent: &'static str,
}

/// The test key, of 2048 bits.
pub const TEST_KEY: KeyPair = KeyPair {
    modulus: "9819a7d77a7efe4022f94fe9993935acf863a85432362eb29f4db9d17883a01d931a74d300d7e891\
6c526309a89d4baca0ba51eeb2157b9f8d96fad408eacc5417e6e1303a17d1c434c55057b3e5b68e\
a5fd3b4de18b8fbe16af9edac79662def1aa6befa58f575562cdd0ffa90dba6328751032d0663134\
bef7e8e4c0d1e3709c6d1cfdbdc5136990d166f4cd7b2c76c9f0d50e2f989927d9f4c8833c880c52\
3919072477c22d8c823702995b0c0c634fa5f8ae0e2b5d4858cb20380aa09d2ab77650886e5812f4\
e023036d67369b050fd92f8f28b133bf8a029b4dcd0c62ed603feb89770fa2c885a147dd3054df32\
b9d8ef3a2f3b09a85e97fe9805c98d59",
    exponent: "093f52118b3c8a57bae89e7facd5aa1a4495c687abefd861fac67e7c2a50125d89f28b54c2d1ddad\
6dc10a8d6d4776f0dd6ac68d751d52414e99f5d10b63bf1d83c081436ddcc1dfa477b49d486e386d\
aed0d918b0944c1e7a019e6e5dc11a6cc493a0715707027fc9fc8a6ee8c7d163b2f37f131fd17ebf\
5eb6f2dd698db93ea8faf6265f592883ea4083fde5aff2866846ff22d5c874b7caf62987b01e1dfd\
fae56e1272bff2b042e4c98125efc3c4b7c144d2bf3d422822bc6cc0385d945ec9d12ff5430ca10d\
eafe717d5320642f217b2f37fb27e6a592d8ca2ecd922b4a1cb97575d785a961d05ef17f7347bcd6\
307d91437391abcb101e323e4224d509",
};

/// Another one, of 3072 bits, that the kernel does not know.
pub const OTHER_KEY: KeyPair = KeyPair {
    modulus: "ab0b68b871e91851981a7e6c8676d1484bc0805c6fa61b4966641c2111ed5b1199f1a0a4482dfbd8\
e95807c8f8defd0a4eea4da0dc88f048f62f3f192109dfd60911c90708ad1547c2cd0d7855851996\
8bd835a1f621700532a644d98967667a7fcd93ed20d96458294a53f6d4c2ce4c007adec16006e88a\
61f42ece5c185f74d1d46f39bbe7a081d9e2e4e7b378c0f0ce1c6f64d5a5ca473f6fffcffc47ba0f\
3118802f6c793182723dbb925899d40b57edf655160afaa9c200782d44a15a68e4081f770c3ea948\
f50b594ed1931b367a3fd2e4e81a4e96ee8efd8e4b1d4ee11c45d6e99d7619744a5601ce487a4177\
18fcdb1f35f1603847b221a7a73018f6d91bd9f8ea3bad8b1a333e3afd62671972dedcd271f18e8e\
7840f33f685aeaa09a6b1815394b8d1ea4f58f5522ec85727bd96466c6d2712b8d61d3a8a9d20e9e\
3b65eeb7609ff8660714621823133d3262af3ab8e6777182742e66825d78b83075648ce69b14f311\
9651e07c2ef932a97a15c5fe2419fa2739da325dcd21ba9b",
    exponent: "048852dd6b0caae64e9f8a70c472159852d9910d375adc27951d060477a87b31fb8b044a162ce71a\
ed0eb620c492342662724c5da78fc168f837c6f6458286249d2ce97a2992b1ee558d2ad4362a9c18\
f9da6036cb2ceba9024497027a0fa6b98c4ac85164fe1dc345a4d5eb6e8be8523f43acef76e4a2a3\
8d764909e83585220ab0146fca8e42c498ca2dc2ae10d471627a2d16d64a8467b598a430c0c0add4\
da8f89a60d667b6cb780f1f2d8d78ab4ef943b63847d59fdc6f44d904adc9e66aa11e6dee1ca83ee\
e618280095e917c07d9ba883bc4dda19e4822ec7f76965eed781028023bb8e3eb1f9dcd211dae7c3\
a70f65eb017bdb3c5dac003203736175187bf57e85e1da9045e71206113e7c8b83de09ab21cd9c36\
15b6315d577c0540101cfd046fbd8bbbf829893871f8e0b792edaa9760ed0da123ae44c86ec3cca6\
cf6119c10a3f987a0de99d879604eb944a4d6742bbd2e7f96989bf72779546ee3ae5be214b29a9d3\
a76409d04030fcc870aea62e1b85f456a31a5d67059004f1",
};

/// The bytes that hexadecimal digits stand for.
#[must_use]
pub const fn bytes_of<const LEN: usize>(hex: &str) -> [u8; LEN] {
    const fn digit(c: u8) -> u8 {
        if c < b'a' { c - b'0' } else { c - b'a' + 10 }
    }
    let hex = hex.as_bytes();
    let mut bytes = [0; LEN];
    let mut n = 0;
    while n < LEN {
        bytes[n] = digit(hex[2 * n]) << 4 | digit(hex[2 * n + 1]);
        n += 1;
    }
    bytes
}

impl KeyPair {
    /// Bytes of the modulus.
    const fn len(&self) -> usize {
        self.modulus.len() / 2
    }

    /// The modulus, big-endian.
    #[must_use]
    pub fn modulus(&self) -> Vec<u8> {
        bytes_of::<MAX_MODULUS_LEN>(&format!("{:0<1024}", self.modulus))[..self.len()].to_vec()
    }

    /// RSASSA-PKCS1-v1_5 over a digest.
    #[must_use]
    pub fn sign(&self, digest: &[u8]) -> Vec<u8> {
        let info = [
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x01, 0x05, 0x00, 0x04, 0x20,
        ];
        let mut encoded = vec![0xff; self.len() - info.len() - digest.len()];
        encoded[..2].copy_from_slice(&[0, 1]);
        if let Some(last) = encoded.last_mut() {
            *last = 0;
        }
        encoded.extend_from_slice(&info);
        encoded.extend_from_slice(digest);
        self.sign_encoded(&encoded)
    }

    /// What the key signs an encoded message as long as its modulus with.
    #[must_use]
    pub fn sign_encoded(&self, encoded: &[u8]) -> Vec<u8> {
        if self.len() == MODULUS_LEN {
            self.power::<{ U2048::LIMBS }>(encoded)
        } else {
            self.power::<{ U3072::LIMBS }>(encoded)
        }
    }

    fn power<const LIMBS: usize>(&self, encoded: &[u8]) -> Vec<u8> {
        let modulus = Uint::<LIMBS>::from_be_hex(self.modulus);
        let Some(odd) = Odd::new(modulus).into_option() else {
            panic!("an even modulus");
        };
        let params = FixedMontyParams::new_vartime(odd);
        let base = FixedMontyForm::new(&Uint::from_be_slice(encoded), &params);
        let power = base.pow(&Uint::<LIMBS>::from_be_hex(self.exponent));
        let words = power.retrieve();
        let words = words.as_words().iter().rev();
        words.flat_map(|word| word.to_be_bytes()).collect()
    }

    /// A header of a kind, its digest and signature by this key, and what it is of: `fields` that the header does not count,
    /// and a payload.
    #[must_use]
    pub fn signed(&self, img_type: u32, fields: &[u8], payload: &[u8]) -> Vec<u8> {
        let header = SignedHeader {
            magic: MAGIC,
            img_type,
            img_size: payload.len() as u32,
            algo: algo::RSASSA_PKCS1_V1_5_SHA256,
            hash_size: 32,
            sig_size: self.len() as u16,
        };
        let hasher = Sha256::new().chain_update(header.as_bytes());
        let digest = hasher.chain_update(fields).chain_update(payload).finalize();
        let signature = self.sign(&digest);
        [header.as_bytes(), &digest, &signature, fields, payload].concat()
    }

    /// An image of version `ta_version` of `uuid` with this payload.
    #[must_use]
    pub fn signed_image(&self, uuid: TeeUuid, ta_version: u32, payload: &[u8]) -> Vec<u8> {
        let bootstrap = BootstrapHeader {
            uuid: uuid.to_bytes(),
            ta_version,
        };
        self.signed(img_type::BOOTSTRAP_TA, bootstrap.as_bytes(), payload)
    }
}

/// An image of `uuid` with this payload, signed with the test key.
#[must_use]
pub fn signed_image(uuid: TeeUuid, payload: &[u8]) -> Vec<u8> {
    TEST_KEY.signed_image(uuid, 1, payload)
}

/// What the test key signs an encoded message of [`MODULUS_LEN`] bytes with.
#[must_use]
pub fn sign_encoded(encoded: &[u8]) -> Vec<u8> {
    TEST_KEY.sign_encoded(encoded)
}
