//! A digest of what every algorithm with instructions makes of texts of many lengths, in pieces: the same by whichever way. For
//! tests, on the host and on a machine.
//!
//! **Knows nothing of:** what the algorithms should give; other tests have vectors of that.

use super::aead::{self, Aead, Lengths};
use super::block::Algorithm as Block;
use super::cipher::{Cipher, Mode};
use super::hash::{Algorithm, Hash};
use super::mac::{self, Mac, Padding};
use super::{Direction, block};
use tally_abi::TeeResult;

/// Bytes of the longest text, more than two sections' of the machine.
pub const TEXT: usize = 8197;
/// Bytes of texts, around the ends of blocks, fours of them, and sections.
const LENGTHS: [usize; 16] = [
    0, 1, 16, 47, 55, 56, 64, 112, 119, 128, 143, 512, 1040, 4096, 4112, TEXT,
];
/// What [`sample`] gives.
pub const EXPECTED: [u8; 32] = [
    0x4b, 0x1d, 0x11, 0x7a, 0x3a, 0xfa, 0x89, 0x7b, 0xcd, 0xc8, 0xac, 0xaa, 0x76, 0x55, 0x4d, 0x77,
    0x4b, 0xc0, 0x86, 0x10, 0x86, 0x45, 0x06, 0x0a, 0x1d, 0x7e, 0xcc, 0xe7, 0x77, 0xd1, 0x1e, 0x3c,
];

/// Bytes of keys and vectors. As a counter they wrap in the second block, and all of it in the third.
const KEYS: [u8; 64] = {
    let mut keys = [0xff; 64];
    keys[15] = 0xfe;
    let mut n = 16;
    while n < keys.len() {
        keys[n] = (7 * n) as u8;
        n += 1;
    }
    keys
};

/// Does all of it in `text`, of [`TEXT`] bytes.
///
/// # Errors
/// Those of the algorithms: none.
pub fn sample(text: &mut [u8]) -> Result<[u8; 32], TeeResult> {
    let mut all = Hash::new(Algorithm::Sha3_256);
    for len in LENGTHS {
        let text = &mut text[..len];
        for (n, byte) in text.iter_mut().enumerate() {
            *byte = (n ^ (n >> 8)) as u8;
        }
        hashes(text, &mut all)?;
        for key in [16, 24, 32] {
            let key = &KEYS[16..16 + key];
            for direction in [Direction::Encrypt, Direction::Decrypt] {
                ciphers(key, direction, text, &mut all)?;
            }
            for padding in [Padding::None, Padding::Cmac] {
                code(
                    mac::Algorithm::Blocks(Block::Aes, padding),
                    key,
                    text,
                    &mut all,
                )?;
            }
        }
    }
    let mut digest = [0; 32];
    all.finish(&mut digest);
    Ok(digest)
}

fn hashes(text: &[u8], all: &mut Hash) -> Result<(), TeeResult> {
    for algorithm in [
        Algorithm::Sha1,
        Algorithm::Sha224,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
    ] {
        code(mac::Algorithm::Hmac(algorithm), &KEYS[..40], text, all)?;
    }
    Ok(())
}

fn code(
    algorithm: mac::Algorithm,
    key: &[u8],
    text: &[u8],
    all: &mut Hash,
) -> Result<(), TeeResult> {
    if matches!(algorithm, mac::Algorithm::Blocks(_, Padding::None))
        && (text.is_empty() || !text.len().is_multiple_of(block::MAX_BLOCK))
    {
        return Ok(());
    }
    let mut mac = Mac::new(algorithm, key)?;
    let (first, rest) = text.split_at(text.len() / 3);
    mac.update(first);
    mac.update(rest);
    let mut code = [0; 64];
    mac.finish(&mut code)?;
    all.update(&code);
    Ok(())
}

fn ciphers(
    key: &[u8],
    direction: Direction,
    text: &mut [u8],
    all: &mut Hash,
) -> Result<(), TeeResult> {
    for mode in [Mode::Ecb, Mode::Cbc, Mode::Ctr, Mode::Cts, Mode::Xts] {
        let iv: &[u8] = if mode == Mode::Ecb { &[] } else { &KEYS[..16] };
        let second = if mode == Mode::Xts { key } else { &[] };
        let mut cipher = Cipher::new((Block::Aes, mode), direction, [key, second], iv)?;
        let Ok(tail) = cipher.tail(text.len() as u64) else {
            continue;
        };
        let (whole, tail) = text.split_at_mut(text.len() - tail);
        let unit = if cipher.is_stream() { 1 } else { 16 };
        let (first, rest) = whole.split_at_mut(whole.len() / unit / 3 * unit);
        cipher.update(first);
        cipher.update(rest);
        cipher.finish(tail);
        all.update(text);
    }
    for algorithm in [aead::Algorithm::Gcm, aead::Algorithm::Ccm] {
        let lengths = Lengths {
            tag: 16,
            aad: text.len() as u64,
            text: text.len() as u64,
        };
        let mut aead = Aead::new(algorithm, direction, key, &KEYS[..13], lengths)?;
        aead.aad(text)?;
        let (first, rest) = text.split_at_mut(text.len() / 3);
        aead.text(first)?;
        aead.text(rest)?;
        all.update(text);
        all.update(&aead.tag()?);
    }
    Ok(())
}
