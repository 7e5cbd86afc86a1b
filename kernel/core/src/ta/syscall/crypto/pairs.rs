//! New pairs of keys.

use super::asymmetric::{domain, number};
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::Object;
use crate::ta::crypto::scheme::curve_of;
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_abi::crypto::{attribute as id, object_type as of};
use tally_crypto::asymmetric::generation::{self, NewKey, Search};
use tally_crypto::asymmetric::{Error, Random, curve, discrete, ec, ed25519, xdh};
use tally_mem::machine::Machine;

/// The public exponent if a TA gives none: 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Makes a pair of so many bits in an object, which has the attributes that are given for it. It has none if that fails.
    #[inline(never)]
    pub(super) fn generate_pair(
        &self,
        instance: InstanceRef,
        object: &mut Object,
        bits: u32,
    ) -> Result<(), TeeResult> {
        let bits = bits as usize;
        let made = match object.rules.object_type {
            of::RSA_KEYPAIR => self.generate_rsa(instance, object, bits),
            of::DSA_KEYPAIR => self.generate_dsa(instance, object, bits),
            of::DH_KEYPAIR => self.generate_dh(instance, object, bits),
            of::ECDSA_KEYPAIR
            | of::ECDH_KEYPAIR
            | of::SM2_DSA_KEYPAIR
            | of::SM2_KEP_KEYPAIR
            | of::SM2_PKE_KEYPAIR => self.generate_ec(instance, object, bits),
            of::X25519_KEYPAIR => self.generate_xdh(instance, object, xdh::X25519),
            of::X448_KEYPAIR => self.generate_xdh(instance, object, xdh::X448),
            of::ED25519_KEYPAIR => self.generate_ed25519(instance, object),
            _ => Err(TeeResult::BAD_FORMAT),
        };
        if made.is_err() {
            let usage = object.usage;
            object.reset();
            object.usage = usage;
        }
        made
    }

    #[inline(never)]
    fn generate_rsa(
        &self,
        instance: InstanceRef,
        object: &mut Object,
        bits: usize,
    ) -> Result<(), TeeResult> {
        if object.attribute(id::RSA_PUBLIC_EXPONENT).is_none() {
            object.set(id::RSA_PUBLIC_EXPONENT, &EXPONENT)?;
        }
        let exponent = number(object, id::RSA_PUBLIC_EXPONENT)?;
        // SP 800-56B: 65537 at least.
        if exponent.len() < EXPONENT.len() || exponent < &EXPONENT[..] && exponent.len() == 3 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let mut search = Search::new(bits, exponent).map_err(refusal)?;
        let [p_len, q_len] = search.prime_bytes();
        let len = bits.div_ceil(8);
        let all = 3 * p_len + 2 * q_len + 2 * len;
        self.with_room(
            instance,
            generation::scratch_words(bits),
            all,
            |words, bytes| {
                let (p, bytes) = bytes.split_at_mut(p_len);
                let (q, bytes) = bytes.split_at_mut(q_len);
                // A step is one candidate.
                loop {
                    if self.is_killed(instance) {
                        return Err(TeeResult::TARGET_DEAD);
                    }
                    let step = self.at_length(|random| search.step(words, random, [p, q]));
                    if step.map_err(refusal)? {
                        break;
                    }
                }
                let (dp, bytes) = bytes.split_at_mut(p_len);
                let (dq, bytes) = bytes.split_at_mut(q_len);
                let (coefficient, bytes) = bytes.split_at_mut(p_len);
                let (modulus, exponent) = bytes.split_at_mut(len);
                let key = NewKey {
                    modulus,
                    exponent,
                    exponents: [dp, dq],
                    coefficient,
                };
                self.at_length(|_| search.finish(words, [p, q], key))
                    .map_err(refusal)?;
                let numbers: [(u32, &[u8]); 7] = [
                    (id::RSA_MODULUS, modulus),
                    (id::RSA_PRIVATE_EXPONENT, exponent),
                    (id::RSA_PRIME1, p),
                    (id::RSA_PRIME2, q),
                    (id::RSA_EXPONENT1, dp),
                    (id::RSA_EXPONENT2, dq),
                    (id::RSA_COEFFICIENT, coefficient),
                ];
                numbers
                    .into_iter()
                    .try_for_each(|(id, number)| object.set(id, number))
            },
        )
    }

    #[inline(never)]
    fn generate_dsa(
        &self,
        instance: InstanceRef,
        object: &mut Object,
        bits: usize,
    ) -> Result<(), TeeResult> {
        let p = number(object, id::DSA_PRIME)?;
        let (p_len, words) = (p.len(), discrete::scratch_words(p));
        let q_len = number(object, id::DSA_SUBPRIME)?.len();
        if bits != 8 * p_len {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        self.with_room(instance, words, p_len + q_len, |words, bytes| {
            let (x, y) = bytes.split_at_mut(q_len);
            let domain = domain(object)?;
            self.at_length(|random| discrete::generate_dsa(&domain, words, random, x, y))
                .map_err(refusal)?;
            object.set(id::DSA_PRIVATE_VALUE, x)?;
            object.set(id::DSA_PUBLIC_VALUE, y)
        })
    }

    #[inline(never)]
    fn generate_dh(
        &self,
        instance: InstanceRef,
        object: &mut Object,
        bits: usize,
    ) -> Result<(), TeeResult> {
        let x_bits = object.value(id::DH_X_BITS).unwrap_or(0);
        object.set(id::DH_X_BITS, &x_bits.to_le_bytes())?;
        let p = number(object, id::DH_PRIME)?;
        let (len, words) = (p.len(), discrete::scratch_words(p));
        if bits != 8 * len {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        self.with_room(instance, words, 2 * len, |words, bytes| {
            let (x, y) = bytes.split_at_mut(len);
            let into = [&mut *x, &mut *y];
            let (p, g) = (number(object, id::DH_PRIME)?, number(object, id::DH_BASE)?);
            let q = object.attribute(id::DH_SUBPRIME);
            self.at_length(|random| {
                discrete::generate_dh(p, g, q, x_bits as usize, words, random, into)
            })
            .map_err(refusal)?;
            object.set(id::DH_PRIVATE_VALUE, x)?;
            object.set(id::DH_PUBLIC_VALUE, y)
        })
    }

    #[inline(never)]
    fn generate_ec(
        &self,
        instance: InstanceRef,
        object: &mut Object,
        bits: usize,
    ) -> Result<(), TeeResult> {
        let curve = curve_of(object).ok_or(TeeResult::NOT_SUPPORTED)?;
        if bits != curve.bits {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let len = curve.bytes();
        self.with_room(instance, curve::SCRATCH_WORDS, 3 * len, |words, bytes| {
            let (private, public) = bytes.split_at_mut(len);
            let (x, y) = public.split_at_mut(len);
            let into = [&mut *x, &mut *y];
            self.at_length(|random| ec::generate(curve, words, random, private, into))
                .map_err(refusal)?;
            object.set(id::ECC_PRIVATE_VALUE, private)?;
            object.set(id::ECC_PUBLIC_VALUE_X, x)?;
            object.set(id::ECC_PUBLIC_VALUE_Y, y)
        })
    }

    #[inline(never)]
    fn generate_xdh(
        &self,
        instance: InstanceRef,
        object: &mut Object,
        curve: &xdh::Curve,
    ) -> Result<(), TeeResult> {
        let [private_id, public_id] = [0, 1].map(|n| object.rules.attributes[n].id);
        let len = curve.bytes;
        self.with_room(instance, xdh::SCRATCH_WORDS, 2 * len, |words, bytes| {
            let (private, public) = bytes.split_at_mut(len);
            self.at_length(|random| {
                random.fill(private);
                xdh::public(curve, private, words, public)
            })
            .map_err(refusal)?;
            object.set(private_id, private)?;
            object.set(public_id, public)
        })
    }

    #[inline(never)]
    fn generate_ed25519(
        &self,
        instance: InstanceRef,
        object: &mut Object,
    ) -> Result<(), TeeResult> {
        self.with_room(
            instance,
            ed25519::SCRATCH_WORDS,
            ed25519::KEY_LEN,
            |words, bytes| {
                let private = bytes.as_mut_array().ok_or(TeeResult::GENERIC)?;
                let public = self.at_length(|random| {
                    random.fill(private);
                    ed25519::public(private, words)
                });
                object.set(id::ED25519_PRIVATE_VALUE, private)?;
                object.set(id::ED25519_PUBLIC_VALUE, &public.map_err(refusal)?)
            },
        )
    }
}

/// What a TA hears.
const fn refusal(err: Error) -> TeeResult {
    match err {
        Error::Key | Error::Length => TeeResult::BAD_PARAMETERS,
        Error::Signature | Error::Padding | Error::Random => TeeResult::GENERIC,
    }
}
