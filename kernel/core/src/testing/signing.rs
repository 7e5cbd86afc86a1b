//! Signed images for tests.
//!
//! **Invariant:** the key signs tests only; its private half is no secret.

use crate::ta::load::rsa::PublicKey;
use alloc::vec;
use alloc::vec::Vec;
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048};
use sha2::{Digest, Sha256};
use tally_abi::TeeUuid;
use tally_abi::shdr::{BootstrapHeader, MAGIC, SignedHeader, algo, img_type};
use zerocopy::IntoBytes;

/// Bytes of the test key's modulus.
pub const MODULUS_LEN: usize = 256;
/// Modulus of the test key, whose private exponent is [`EXPONENT`]: no secret, signs tests only.
pub const MODULUS: U2048 = U2048::from_be_hex(N);
const N: &str = "9819a7d77a7efe4022f94fe9993935acf863a85432362eb29f4db9d17883a01d931a74d300d7e891\
6c526309a89d4baca0ba51eeb2157b9f8d96fad408eacc5417e6e1303a17d1c434c55057b3e5b68e\
a5fd3b4de18b8fbe16af9edac79662def1aa6befa58f575562cdd0ffa90dba6328751032d0663134\
bef7e8e4c0d1e3709c6d1cfdbdc5136990d166f4cd7b2c76c9f0d50e2f989927d9f4c8833c880c52\
3919072477c22d8c823702995b0c0c634fa5f8ae0e2b5d4858cb20380aa09d2ab77650886e5812f4\
e023036d67369b050fd92f8f28b133bf8a029b4dcd0c62ed603feb89770fa2c885a147dd3054df32\
b9d8ef3a2f3b09a85e97fe9805c98d59";
/// Its private exponent.
const EXPONENT: U2048 = U2048::from_be_hex(
    "093f52118b3c8a57bae89e7facd5aa1a4495c687abefd861fac67e7c2a50125d89f28b54c2d1ddad\
6dc10a8d6d4776f0dd6ac68d751d52414e99f5d10b63bf1d83c081436ddcc1dfa477b49d486e386d\
aed0d918b0944c1e7a019e6e5dc11a6cc493a0715707027fc9fc8a6ee8c7d163b2f37f131fd17ebf\
5eb6f2dd698db93ea8faf6265f592883ea4083fde5aff2866846ff22d5c874b7caf62987b01e1dfd\
fae56e1272bff2b042e4c98125efc3c4b7c144d2bf3d422822bc6cc0385d945ec9d12ff5430ca10d\
eafe717d5320642f217b2f37fb27e6a592d8ca2ecd922b4a1cb97575d785a961d05ef17f7347bcd6\
307d91437391abcb101e323e4224d509",
);
/// The public half.
pub const KEY: &PublicKey<{ U2048::LIMBS }> = &match PublicKey::from_modulus(&bytes_of(N)) {
    Some(key) => key,
    None => panic!("not a modulus of 2048 bits"),
};

const fn bytes_of(hex: &str) -> [u8; MODULUS_LEN] {
    const fn digit(c: u8) -> u8 {
        if c < b'a' { c - b'0' } else { c - b'a' + 10 }
    }
    let hex = hex.as_bytes();
    let mut bytes = [0; MODULUS_LEN];
    let mut n = 0;
    while n < MODULUS_LEN {
        bytes[n] = digit(hex[2 * n]) << 4 | digit(hex[2 * n + 1]);
        n += 1;
    }
    bytes
}

/// An image of `uuid` with this payload, signed with the test key.
#[must_use]
pub fn signed_image(uuid: TeeUuid, payload: &[u8]) -> Vec<u8> {
    let shdr = SignedHeader {
        magic: MAGIC,
        img_type: img_type::BOOTSTRAP_TA,
        img_size: payload.len() as u32,
        algo: algo::RSASSA_PKCS1_V1_5_SHA256,
        hash_size: 32,
        sig_size: MODULUS_LEN as u16,
    };
    let bootstrap = BootstrapHeader {
        uuid: uuid.to_bytes(),
        ta_version: 1,
    };
    let digest = Sha256::new()
        .chain_update(shdr.as_bytes())
        .chain_update(bootstrap.as_bytes())
        .chain_update(payload)
        .finalize();
    let mut image = shdr.as_bytes().to_vec();
    image.extend_from_slice(&digest);
    image.extend_from_slice(&sign(&digest));
    image.extend_from_slice(bootstrap.as_bytes());
    image.extend_from_slice(payload);
    image
}

/// RSASSA-PKCS1-v1_5 with the test key.
fn sign(digest: &[u8]) -> Vec<u8> {
    let info = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    let mut encoded = vec![0xff; MODULUS_LEN - info.len() - digest.len()];
    encoded[..2].copy_from_slice(&[0, 1]);
    if let Some(last) = encoded.last_mut() {
        *last = 0;
    }
    encoded.extend_from_slice(&info);
    encoded.extend_from_slice(digest);
    sign_encoded(&encoded)
}

/// What the test key signs an encoded message of [`MODULUS_LEN`] bytes with.
///
/// # Panics
/// Never: the modulus is odd.
#[must_use]
pub fn sign_encoded(encoded: &[u8]) -> Vec<u8> {
    let Some(odd) = Odd::new(MODULUS).into_option() else {
        panic!("an even modulus");
    };
    let params = FixedMontyParams::new_vartime(odd);
    let power = FixedMontyForm::new(&U2048::from_be_slice(encoded), &params).pow(&EXPONENT);
    let bytes = power.retrieve().to_be_bytes();
    let bytes: &[u8] = bytes.as_ref();
    bytes.to_vec()
}
