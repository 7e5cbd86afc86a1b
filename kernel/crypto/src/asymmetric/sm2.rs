//! SM2's signatures, encryption and key exchange (GB/T 32918.2 to 32918.4).
//!
//! `words` is scratch of [`SCRATCH_WORDS`](super::curve::SCRATCH_WORDS).

use super::curve::{Group, Point, SM2};
use super::ec::PublicKey;
use super::field::{Element, ZERO, is_none, is_same};
use super::hash::Hashed;
use super::montgomery::read;
use super::multiple::Addition;
use super::{Error, MAX_DRAWS, Random, Result, Word};
use crate::symmetric::hash::Algorithm as Hash;
use crate::symmetric::same;
use zeroize::Zeroize;

/// Bytes of a coordinate.
pub const BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 2 * BYTES;
/// Bytes of a point that is written.
const POINT_LEN: usize = 1 + 2 * BYTES;
/// Bytes by which a text gets longer: a point before it, a hash behind it.
pub const OVERHEAD: usize = POINT_LEN + HASH_LEN;
/// Bytes of SM3.
const HASH_LEN: usize = 32;

/// Coordinates of a point.
type Coordinates = [[u8; BYTES]; 2];

fn write(group: &mut Group<'_>, point: &Point) -> Result<Coordinates> {
    let mut coordinates = [[0; BYTES]; 2];
    let [x, y] = &mut coordinates;
    group.write(point, x, Some(y))?;
    Ok(coordinates)
}

/// Signs a digest: r and s, one behind the other.
///
/// # Errors
/// [`Error::Key`], [`Error::Random`].
pub fn sign(
    private: &[u8],
    digest: &[u8],
    words: &mut [Word],
    random: &mut impl Random,
    signature: &mut [u8; SIGNATURE_LEN],
) -> Result<()> {
    let mut group = Group::new(SM2, words)?;
    let private = group.scalar(private)?;
    let digest = group.digest(digest);
    let generator = group.generator()?;
    let key = group.scalars.enter(&private);
    let one = group.scalars.one();
    let divisor = group.scalars.add(&one, &key);
    // A key of the order less 1 signs nothing (GB/T 32918.1, 6.1).
    if is_none(&divisor) {
        return Err(Error::Key);
    }
    let inverse = group.scalars.invert(&divisor);
    for _ in 0..MAX_DRAWS {
        let nonce = group.random_scalar(random)?;
        let point = group.multiply(&nonce, &generator);
        let x = group.x_modulo_order(&point)?;
        let scalars = &mut group.scalars;
        let r = scalars.add(&digest, &x);
        let sum = scalars.add(&r, &nonce);
        // s = (nonce - r private) / (1 + private) = (nonce + r) / (1 + private) - r
        let s = scalars.multiply(&inverse, &sum);
        let s = scalars.subtract(&s, &r);
        if !is_none(&r) && !is_none(&sum) && !is_none(&s) {
            let (r_bytes, s_bytes) = signature.split_at_mut(BYTES);
            scalars.write_plain(&r, r_bytes);
            scalars.write_plain(&s, s_bytes);
            return Ok(());
        }
    }
    Err(Error::Random)
}

/// Whether a signature of a digest holds.
///
/// # Errors
/// [`Error::Signature`]; [`Error::Key`].
pub fn verify(
    public: PublicKey<'_>,
    digest: &[u8],
    words: &mut [Word],
    signature: &[u8; SIGNATURE_LEN],
) -> Result<()> {
    let mut group = Group::new(SM2, words)?;
    let point = group.point(public.x, public.y)?;
    let digest = group.digest(digest);
    let (r, s) = signature.split_at(BYTES);
    let r = group.scalar(r).map_err(|_| Error::Signature)?;
    let s = group.scalar(s).map_err(|_| Error::Signature)?;
    let sum = group.scalars.add(&r, &s);
    if is_none(&sum) {
        return Err(Error::Signature);
    }
    let generator = group.generator()?;
    let first = group.multiply(&s, &generator);
    let second = group.multiply(&sum, &point);
    let point = group.add(&first, &second);
    let x = group.x_modulo_order(&point).map_err(|_| Error::Signature)?;
    if is_same(&group.scalars.add(&digest, &x), &r) {
        Ok(())
    } else {
        Err(Error::Signature)
    }
}

/// Adds bytes that are derived from a secret (GB/T 32918.4 §5.4.3); false if all of them are 0.
fn mask(secret: &[&[u8]; 4], to: &mut [u8]) -> bool {
    let [first, second, third, fourth] = secret;
    let mut all = 0;
    for (n, chunk) in (1_u32..).zip(to.chunks_mut(HASH_LEN)) {
        let block = Hash::Sm3.of(&[first, second, third, fourth, &n.to_be_bytes()]);
        for (byte, mask) in chunk.iter_mut().zip(block.iter()) {
            *byte ^= mask;
            all |= mask;
        }
    }
    all != 0
}

/// Masks drawn until one is not 0 (GB/T 32918.4, 6.1, A5): that of one byte is, once in 256 times.
const MASK_DRAWS: usize = 8;

/// Encrypts: `text` has [`OVERHEAD`] bytes more than the message.
///
/// # Errors
/// [`Error::Key`], [`Error::Random`]; [`Error::Length`] for another length.
pub fn encrypt(
    public: PublicKey<'_>,
    message: &[u8],
    words: &mut [Word],
    random: &mut impl Random,
    text: &mut [u8],
) -> Result<()> {
    if text.len().checked_sub(message.len()) != Some(OVERHEAD) {
        return Err(Error::Length);
    }
    let mut group = Group::new(SM2, words)?;
    let point = group.point(public.x, public.y)?;
    let generator = group.generator()?;
    // No mask is other than 0 for no bytes.
    let draws = if message.is_empty() { 0 } else { MASK_DRAWS };
    for _ in 0..draws {
        let nonce = group.random_scalar(random)?;
        let ours = group.multiply(&nonce, &generator);
        let shared = group.multiply(&nonce, &point);
        let [x1, y1] = write(&mut group, &ours)?;
        let [mut x2, mut y2] = write(&mut group, &shared)?;
        let (point, rest) = text.split_at_mut(POINT_LEN);
        let (body, hash) = rest.split_at_mut(message.len());
        point[0] = 4;
        point[1..=BYTES].copy_from_slice(&x1);
        point[1 + BYTES..].copy_from_slice(&y1);
        body.copy_from_slice(message);
        hash.copy_from_slice(&Hash::Sm3.of(&[&x2, message, &y2]));
        let is_masked = mask(&[&x2, &y2, &[], &[]], body);
        x2.zeroize();
        y2.zeroize();
        if is_masked {
            return Ok(());
        }
    }
    Err(Error::Random)
}

/// Decrypts: `message` has [`OVERHEAD`] bytes less than the text.
///
/// # Errors
/// [`Error::Key`], also if the text begins with no point; [`Error::Padding`] if it was not encrypted for this key;
/// [`Error::Length`] for another length.
pub fn decrypt(private: &[u8], text: &[u8], words: &mut [Word], message: &mut [u8]) -> Result<()> {
    if text.len().checked_sub(OVERHEAD) != Some(message.len()) {
        return Err(Error::Length);
    }
    let (point, rest) = text.split_at(POINT_LEN);
    let (body, hash) = rest.split_at(message.len());
    if point[0] != 4 {
        return Err(Error::Key);
    }
    let mut group = Group::new(SM2, words)?;
    let private = group.scalar(private)?;
    let point = group.point(&point[1..=BYTES], &point[1 + BYTES..])?;
    let shared = group.multiply(&private, &point);
    let [mut x2, mut y2] = write(&mut group, &shared)?;
    message.copy_from_slice(body);
    let is_masked = mask(&[&x2, &y2, &[], &[]], message);
    let is_ours = same(&Hash::Sm3.of(&[&x2, message, &y2]), hash);
    x2.zeroize();
    y2.zeroize();
    if is_masked && is_ours {
        Ok(())
    } else {
        message.zeroize();
        Err(Error::Padding)
    }
}

/// Somebody who exchanges a key.
#[derive(Clone, Copy, Debug)]
pub struct Party<'k> {
    /// Its key.
    pub key: PublicKey<'k>,
    /// Its key for this exchange alone.
    pub ephemeral: PublicKey<'k>,
    /// Its name, of less than 8,192 bytes.
    pub identity: &'k [u8],
}

/// An exchange, as one side sees it.
#[derive(Debug)]
pub struct Exchange<'k> {
    /// Who began it, and who answered.
    pub parties: [Party<'k>; 2],
    /// Whether this side began it.
    pub is_initiator: bool,
    /// Private keys of this side: of [`Party::key`] and of [`Party::ephemeral`].
    pub private: [&'k [u8]; 2],
    /// What the other side says to confirm that it has the key.
    pub confirmation: Option<&'k [u8]>,
}

/// The hash of a name and a key (GB/T 32918.2 §5.5).
fn identify(group: &mut Group<'_>, party: &Party<'_>) -> Result<Hashed> {
    let bits = u16::try_from(8 * party.identity.len()).map_err(|_| Error::Length)?;
    let (a, b, generator) = group.constants();
    let point = group.point(party.key.x, party.key.y)?;
    let [x, y] = write(group, &point)?;
    let [gx, gy] = generator;
    Ok(Hash::Sm3.of(&[&bits.to_be_bytes(), party.identity, &a, b, gx, gy, &x, &y]))
}

/// 2^127 + x modulo 2^127.
fn half(x: &[u8; BYTES]) -> Element {
    let mut half = ZERO;
    let mut bytes = [0; BYTES / 2];
    bytes.copy_from_slice(&x[BYTES / 2..]);
    bytes[0] |= 0x80;
    // Two words.
    let _ = read(&bytes, &mut half[..2]);
    half
}

/// Computes the key of an exchange, as long as there is room for, and what this side says to confirm that it has it.
///
/// # Errors
/// [`Error::Key`]; [`Error::Signature`] if the other side's confirmation is wrong; [`Error::Length`] for too long a name.
pub fn exchange(
    exchange: &Exchange<'_>,
    words: &mut [Word],
    key: &mut [u8],
    confirmation: &mut [u8; HASH_LEN],
) -> Result<()> {
    let mut group = Group::new(SM2, words)?;
    let identities = [
        identify(&mut group, &exchange.parties[0])?,
        identify(&mut group, &exchange.parties[1])?,
    ];
    let [ours, theirs] = if exchange.is_initiator {
        [0, 1]
    } else {
        [1, 0]
    };
    let mut points = [[[0; BYTES]; 2]; 2];
    let mut ephemeral = [[ZERO; 3]; 2];
    for ((party, point), coordinates) in
        exchange.parties.iter().zip(&mut ephemeral).zip(&mut points)
    {
        *point = group.point(party.ephemeral.x, party.ephemeral.y)?;
        *coordinates = write(&mut group, point)?;
    }
    // t = private + half(x) ephemeral
    let private = group.scalar(exchange.private[0])?;
    let secret = group.scalar(exchange.private[1])?;
    let scalars = &mut group.scalars;
    let factor = scalars.enter(&half(&points[ours][0]));
    let t = scalars.multiply(&factor, &secret);
    let t = scalars.add(&t, &private);
    // t (key + half(x) ephemeral) of the other side
    let their_key = exchange.parties[theirs].key;
    let their_key = group.point(their_key.x, their_key.y)?;
    let scaled = group.multiply(&half(&points[theirs][0]), &ephemeral[theirs]);
    let sum = group.add(&their_key, &scaled);
    let shared = group.multiply(&t, &sum);
    let [mut x, mut y] = write(&mut group, &shared)?;

    let [first, second] = &identities;
    key.fill(0);
    mask(&[&x, &y, first, second], key);
    let [[x1, y1], [x2, y2]] = &points;
    let inner = Hash::Sm3.of(&[&x, first, second, x1, y1, x2, y2]);
    let [by_responder, by_initiator] = [2, 3].map(|flag| Hash::Sm3.of(&[&[flag], &y, &inner]));
    x.zeroize();
    y.zeroize();
    let (said, expected) = if exchange.is_initiator {
        (by_initiator, by_responder)
    } else {
        (by_responder, by_initiator)
    };
    if exchange
        .confirmation
        .is_some_and(|confirmation| !same(confirmation, &expected))
    {
        key.zeroize();
        return Err(Error::Signature);
    }
    confirmation.copy_from_slice(&said);
    Ok(())
}
