//! Operations of RSA.

use super::asymmetric::{Task, number};
use super::room::{Delivered, Target, find_bytes, find_value};
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::Object;
use crate::ta::crypto::scheme::{Scheme, digest_of};
use tally_abi::TeeResult;
use tally_abi::crypto::{attribute, mode};
use tally_crypto::asymmetric::padding::{self, Hashes};
use tally_crypto::asymmetric::rsa::{self, Primes, PrivateKey, PublicKey};
use tally_crypto::asymmetric::{Error, Word};
use tally_crypto::symmetric::hash::Algorithm as Hash;
use tally_mem::machine::Machine;

/// Bytes of an algorithm's number.
const NUMBER_LEN: usize = size_of::<u32>();

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Works with room for a key's scratch, for what the task is given, for so many bytes more, and for two numbers.
    fn with_numbers<R>(
        &self,
        task: &Task,
        key: &PublicKey<'_>,
        more: usize,
        work: impl FnOnce(Numbers<'_>) -> Result<R, TeeResult>,
    ) -> Result<R, TeeResult> {
        let number = rsa::modulus_len(key.modulus);
        // No text or digest is longer.
        let len = task.len_below(number).ok_or(TeeResult::BAD_PARAMETERS)?;
        let all = (len + 2 * number)
            .checked_add(more)
            .ok_or(TeeResult::OUT_OF_MEMORY)?;
        let words = rsa::scratch_words(key.modulus);
        self.with_room(task.instance, words, all, |words, bytes| {
            let (given, bytes) = bytes.split_at_mut(len);
            let (encoded, bytes) = bytes.split_at_mut(number);
            let (result, more) = bytes.split_at_mut(number);
            self.take_long(task.instance, task.from, given)?;
            work(Numbers {
                words,
                given,
                encoded,
                result,
                more,
            })
        })
    }

    #[inline(never)]
    pub(super) fn rsa_raw(
        &self,
        task: &Task,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let public = public_key(key)?;
        self.with_numbers(task, &public, 0, |numbers| {
            let Numbers {
                words,
                given,
                result,
                ..
            } = numbers;
            let done = if task.mode == mode::ENCRYPT {
                self.at_length(|_| rsa::public(&public, given, words, result))
            } else {
                let private = private_key(key, public)?;
                self.at_length(|random| rsa::private(&private, given, words, random, result))
            };
            done.map_err(refusal)?;
            let zeros = result.iter().take_while(|byte| **byte == 0).count();
            // Of 0 a byte is left.
            let zeros = zeros.min(result.len().saturating_sub(1));
            self.deliver(task.instance, target, &result[zeros..])
        })
    }

    #[inline(never)]
    pub(super) fn rsa_encrypt(
        &self,
        task: &Task,
        scheme: Scheme,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let public = public_key(key)?;
        let len = rsa::modulus_len(public.modulus);
        if target.len < len as u64 {
            return Ok(Delivered::Short(len));
        }
        let (hashes, label) = self.oaep_options(task, scheme)?;
        self.with_numbers(task, &public, label.1, |numbers| {
            let Numbers {
                words,
                given,
                encoded,
                result,
                more,
            } = numbers;
            self.take_long(task.instance, label.0, more)?;
            let done = self.at_length(|random| {
                match hashes {
                    Some(hashes) => padding::pad_oaep(hashes, more, given, random, encoded)?,
                    None => padding::pad_pkcs1(given, random, encoded)?,
                }
                rsa::public(&public, encoded, words, result)
            });
            done.map_err(refusal)?;
            self.deliver(task.instance, target, result)
        })
    }

    #[inline(never)]
    pub(super) fn rsa_decrypt(
        &self,
        task: &Task,
        scheme: Scheme,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let public = public_key(key)?;
        let private = private_key(key, public)?;
        if task.len != rsa::modulus_len(public.modulus) as u64 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let (hashes, label) = self.oaep_options(task, scheme)?;
        self.with_numbers(task, &public, label.1, |numbers| {
            let Numbers {
                words,
                given,
                result,
                more,
                ..
            } = numbers;
            self.take_long(task.instance, label.0, more)?;
            let done = self.at_length(|random| {
                rsa::private(&private, given, words, random, result)?;
                match hashes {
                    Some(hashes) => padding::unpad_oaep(hashes, more, result),
                    None => padding::unpad_pkcs1(result),
                }
            });
            self.deliver(task.instance, target, done.map_err(refusal)?)
        })
    }

    #[inline(never)]
    pub(super) fn rsa_sign(
        &self,
        task: &Task,
        scheme: Scheme,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let public = public_key(key)?;
        let private = private_key(key, public)?;
        check_digest(task, scheme)?;
        let len = rsa::modulus_len(public.modulus);
        if target.len < len as u64 {
            return Ok(Delivered::Short(len));
        }
        let salt_len = salt_len(task);
        self.with_numbers(task, &public, 0, |numbers| {
            let Numbers {
                words,
                given,
                encoded,
                result,
                ..
            } = numbers;
            let done = self.at_length(|random| {
                match scheme {
                    Scheme::RsaPss(hash) => {
                        let (hashes, bits) = (both(hash), rsa::modulus_bits(public.modulus));
                        padding::encode_pss(hashes, given, salt_len, bits, random, encoded)?;
                    }
                    scheme => padding::encode_pkcs1(signed_hash(scheme), given, encoded)?,
                }
                rsa::private(&private, encoded, words, random, result)
            });
            done.map_err(|_| TeeResult::BAD_PARAMETERS)?;
            self.deliver(task.instance, target, result)
        })
    }

    #[inline(never)]
    pub(super) fn rsa_verify(
        &self,
        task: &Task,
        scheme: Scheme,
        key: &Object,
        (va, signature_len): (u64, u64),
    ) -> Result<(), TeeResult> {
        let public = public_key(key)?;
        check_digest(task, scheme)?;
        let len = rsa::modulus_len(public.modulus);
        if signature_len != len as u64 {
            return Err(TeeResult::SIGNATURE_INVALID);
        }
        let salt_len = Some(salt_len(task));
        self.with_numbers(task, &public, len, |numbers| {
            let Numbers {
                words,
                given,
                encoded,
                more: signature,
                ..
            } = numbers;
            self.take_long(task.instance, va, signature)?;
            let verified = self.at_length(|_| {
                rsa::public(&public, signature, words, encoded)?;
                match scheme {
                    Scheme::RsaPss(hash) => {
                        let (hashes, bits) = (both(hash), rsa::modulus_bits(public.modulus));
                        padding::verify_pss(hashes, given, salt_len, bits, encoded)
                    }
                    scheme => padding::verify_pkcs1(signed_hash(scheme), given, encoded),
                }
            });
            verified.map_err(|_| TeeResult::SIGNATURE_INVALID)
        })
    }

    /// Hashes of OAEP, and its label: address and length.
    fn oaep_options(
        &self,
        task: &Task,
        scheme: Scheme,
    ) -> Result<(Option<Hashes>, (u64, usize)), TeeResult> {
        let Scheme::RsaOaep(hash) = scheme else {
            return Ok((None, (0, 0)));
        };
        let (label, len) = find_bytes(task.given(), attribute::RSA_OAEP_LABEL).unwrap_or_default();
        let len = usize::try_from(len).map_err(|_| TeeResult::OUT_OF_MEMORY)?;
        let mask = match find_bytes(task.given(), attribute::RSA_OAEP_MGF_HASH) {
            None => hash,
            Some((va, len)) if len == NUMBER_LEN as u64 => {
                let mut number = [0; NUMBER_LEN];
                self.take_long(task.instance, va, &mut number)?;
                digest_of(u32::from_le_bytes(number)).ok_or(TeeResult::NOT_SUPPORTED)?
            }
            Some(_) => return Err(TeeResult::BAD_PARAMETERS),
        };
        Ok((Some(Hashes { hash, mask }), (label, len)))
    }
}

/// Room of an operation.
struct Numbers<'r> {
    words: &'r mut [Word],
    /// What the TA gave.
    given: &'r mut [u8],
    encoded: &'r mut [u8],
    result: &'r mut [u8],
    more: &'r mut [u8],
}

/// One hash for the text and the mask.
const fn both(hash: Hash) -> Hashes {
    Hashes { hash, mask: hash }
}

/// The hash that a signature of PKCS #1 v1.5 names.
const fn signed_hash(scheme: Scheme) -> Option<Hash> {
    match scheme {
        Scheme::RsaPkcs1Signature(hash) => hash,
        _ => None,
    }
}

/// Confirms that what is signed is as long as the hash's digests.
fn check_digest(task: &Task, scheme: Scheme) -> Result<(), TeeResult> {
    let (Scheme::RsaPkcs1Signature(Some(hash)) | Scheme::RsaPss(hash)) = scheme else {
        return Ok(());
    };
    let is_digest = task.len == hash.bytes() as u64;
    is_digest.then_some(()).ok_or(TeeResult::BAD_PARAMETERS)
}

/// Bytes of salt: as many as the digest has, unless the TA says so.
fn salt_len(task: &Task) -> usize {
    let given = find_value(task.given(), attribute::RSA_PSS_SALT_LENGTH);
    let given = given.filter(|len| *len < i32::MAX as u32);
    given.map_or(task.len as usize, |len| len as usize)
}

/// What a TA hears: of a text that does not fit it is told, a key that is none makes it panic.
const fn refusal(err: Error) -> TeeResult {
    match err {
        Error::Length | Error::Padding => TeeResult::BAD_PARAMETERS,
        Error::Key | Error::Signature | Error::Random => TeeResult::GENERIC,
    }
}

fn public_key(key: &Object) -> Result<PublicKey<'_>, TeeResult> {
    Ok(PublicKey {
        modulus: number(key, attribute::RSA_MODULUS)?,
        exponent: number(key, attribute::RSA_PUBLIC_EXPONENT)?,
    })
}

/// Whether all of them are given, and none is 0: TAs have keys whose primes only are known.
fn are_known(primes: &Primes<'_>) -> bool {
    let [p, q] = primes.primes;
    let [dp, dq] = primes.exponents;
    [p, q, dp, dq, primes.coefficient]
        .iter()
        .all(|number| !number.is_empty())
}

fn private_key<'k>(key: &'k Object, public: PublicKey<'k>) -> Result<PrivateKey<'k>, TeeResult> {
    let of = |id| key.attribute(id).unwrap_or_default();
    let primes = Primes {
        primes: [of(attribute::RSA_PRIME1), of(attribute::RSA_PRIME2)],
        exponents: [of(attribute::RSA_EXPONENT1), of(attribute::RSA_EXPONENT2)],
        coefficient: of(attribute::RSA_COEFFICIENT),
    };
    Ok(PrivateKey {
        public,
        exponent: number(key, attribute::RSA_PRIVATE_EXPONENT)?,
        primes: Some(primes).filter(are_known),
    })
}
