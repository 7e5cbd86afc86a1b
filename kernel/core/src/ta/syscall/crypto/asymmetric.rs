//! Operations with pairs of keys.

use super::objects::Given;
use super::room::{Chance, Delivered, Target};
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::Object;
use crate::ta::crypto::scheme::{Scheme, curve_of, is_digest_of_curve};
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_abi::crypto::{UteeAttribute, attribute, mode};
use tally_crypto::asymmetric::curve::{self, Curve};
use tally_crypto::asymmetric::discrete::{self, Domain};
use tally_crypto::asymmetric::ec::{self, PublicKey};
use tally_crypto::asymmetric::ed25519::{self, Variant};
use tally_crypto::asymmetric::{Error, Word, sm2};
use tally_mem::machine::Machine;

/// Most bytes of a context of Ed25519.
const MAX_CONTEXT: u64 = 255;

/// What an operation is given.
pub(super) struct Task {
    pub(super) instance: InstanceRef,
    /// Number of the algorithm.
    pub(super) algorithm: u32,
    /// See [`mode`].
    pub(super) mode: u32,
    /// Handle of the key.
    key: u32,
    given: Given,
    /// Where its data is, which the TA may read.
    pub(super) from: u64,
    pub(super) len: u64,
}

impl Task {
    /// Its attributes.
    pub(super) fn given(&self) -> &[UteeAttribute] {
        self.given.all()
    }

    /// Length of its data, if it is at most so many bytes.
    pub(super) fn len_below(&self, max: usize) -> Option<usize> {
        usize::try_from(self.len).ok().filter(|len| *len <= max)
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Encrypts, decrypts, signs.
    #[inline(never)]
    pub(super) fn sys_asymmetric_operate(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [to, to_len] = [x[5], x[6]];
        let (task, len) = self.task(instance, x, |_| {
            self.check_read(instance, x[3], x[4])?;
            let room = self.read_u64(instance, to_len)?;
            self.check_write(instance, to, room)?;
            Ok(room)
        })?;
        let target = Target { va: to, len };
        let delivered = self.with_object(instance, u64::from(task.key), |key| {
            if !key.is_initialized {
                return Err(TeeResult::GENERIC);
            }
            self.operate(&task, key, target)
        })?;
        match delivered {
            Delivered::Whole(len) => self.write_u64(instance, to_len, len as u64),
            Delivered::Short(len) => {
                self.write_u64(instance, to_len, len as u64)?;
                Err(TeeResult::SHORT_BUFFER)
            }
        }
    }

    /// What the operation of `x[0]` is given, once `check` has confirmed where that lies for its mode.
    fn task<R>(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
        check: impl FnOnce(u32) -> Result<R, TeeResult>,
    ) -> Result<(Task, R), TeeResult> {
        let (algorithm, mode, key) = self.with_state(instance, x[0], |state| {
            Ok((state.algorithm, state.mode, state.keys[0]))
        })?;
        let checked = check(mode)?;
        let task = Task {
            instance,
            algorithm,
            mode,
            key,
            given: self.take_attributes(instance, x[1], x[2])?,
            from: x[3],
            len: x[4],
        };
        Ok((task, checked))
    }

    fn operate(&self, task: &Task, key: &Object, target: Target) -> Result<Delivered, TeeResult> {
        match (Scheme::of(task.algorithm), task.mode) {
            (Some(Scheme::RsaRaw), mode::ENCRYPT | mode::DECRYPT) => {
                self.rsa_raw(task, key, target)
            }
            (Some(Scheme::RsaRaw | Scheme::Sm2), mode::SIGN | mode::VERIFY) => {
                Err(TeeResult::GENERIC)
            }
            (Some(scheme @ (Scheme::RsaPkcs1 | Scheme::RsaOaep(_))), mode::ENCRYPT) => {
                self.rsa_encrypt(task, scheme, key, target)
            }
            (Some(scheme @ (Scheme::RsaPkcs1 | Scheme::RsaOaep(_))), mode::DECRYPT) => {
                self.rsa_decrypt(task, scheme, key, target)
            }
            (Some(scheme @ (Scheme::RsaPkcs1Signature(_) | Scheme::RsaPss(_))), mode::SIGN) => {
                self.rsa_sign(task, scheme, key, target)
            }
            (Some(Scheme::Dsa(hash)), _) => self.dsa_sign(task, hash.bytes(), key, target),
            (Some(Scheme::Ecdsa), _) => {
                let curve = curve_of(key).ok_or(TeeResult::NOT_SUPPORTED)?;
                if !is_digest_of_curve(task.algorithm, curve) {
                    return Err(TeeResult::BAD_PARAMETERS);
                }
                self.ec_sign(task, curve, key, target)
            }
            (Some(Scheme::Sm2Signature), _) => self.ec_sign(task, curve::SM2, key, target),
            (Some(Scheme::Ed25519), _) => self.ed25519_sign(task, key, target),
            (Some(Scheme::Sm2), mode::ENCRYPT) => self.sm2_encrypt(task, key, target),
            (Some(Scheme::Sm2), mode::DECRYPT) => self.sm2_decrypt(task, key, target),
            _ => Err(TeeResult::BAD_PARAMETERS),
        }
    }

    #[inline(never)]
    fn dsa_sign(
        &self,
        task: &Task,
        hash_bytes: usize,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let (domain, x) = (domain(key)?, number(key, attribute::DSA_PRIVATE_VALUE)?);
        let order = discrete::order_len(domain.q);
        if task.len != hash_bytes.min(order) as u64 {
            return Err(TeeResult::SECURITY);
        }
        let words = discrete::scratch_words(domain.p);
        let lens = [task.len as usize, 2 * order];
        self.produce(task, words, lens, target, |text, words, random, to| {
            discrete::sign(&domain, x, text, words, random, to).map_err(|_| TeeResult::GENERIC)
        })
    }

    /// ECDSA, or SM2.
    #[inline(never)]
    fn ec_sign(
        &self,
        task: &Task,
        curve: &'static Curve,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let private = number(key, attribute::ECC_PRIVATE_VALUE)?;
        // No more of a digest counts.
        let digest_len = task.len.min(curve.bytes() as u64) as usize;
        let (words, lens) = (curve::SCRATCH_WORDS, [digest_len, 2 * curve.bytes()]);
        self.produce(task, words, lens, target, |digest, words, random, to| {
            let signed = match to.as_mut_array() {
                Some(to) if curve.is_sm2 => sm2::sign(private, digest, words, random, to),
                _ => ec::sign(curve, private, digest, words, random, to),
            };
            signed.map_err(|_| TeeResult::GENERIC)
        })
    }

    #[inline(never)]
    fn ed25519_sign(
        &self,
        task: &Task,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let options = EdOptions::of(task.given())?;
        if target.len < ed25519::SIGNATURE_LEN as u64 {
            return Ok(Delivered::Short(ed25519::SIGNATURE_LEN));
        }
        let private = key_bytes(key, attribute::ED25519_PRIVATE_VALUE)?;
        let public = key_bytes(key, attribute::ED25519_PUBLIC_VALUE)?;
        self.with_message(task, &options, |variant, message, words| {
            let signed = ed25519::sign(variant, private, public, message, words);
            signed.map_err(|_| TeeResult::BAD_PARAMETERS)
        })
        .and_then(|signature| self.deliver(task.instance, target, &signature))
    }

    /// Works on a message and a context of Ed25519.
    fn with_message<R>(
        &self,
        task: &Task,
        options: &EdOptions,
        work: impl FnOnce(Variant<'_>, &[u8], &mut [Word]) -> Result<R, TeeResult>,
    ) -> Result<R, TeeResult> {
        let context_len = options.context.map_or(0, |(_, len)| len as usize);
        let len = usize::try_from(task.len)
            .ok()
            .and_then(|len| len.checked_add(context_len));
        let len = len.ok_or(TeeResult::OUT_OF_MEMORY)?;
        self.with_room(
            task.instance,
            ed25519::SCRATCH_WORDS,
            len,
            |words, bytes| {
                let (context, message) = bytes.split_at_mut(context_len);
                if let Some((va, _)) = options.context {
                    self.take_long(task.instance, va, context)?;
                }
                self.take_long(task.instance, task.from, message)?;
                let variant = match options.context {
                    _ if options.is_hashed => Variant::Hashed(context),
                    Some(_) => Variant::Context(context),
                    None => Variant::Pure,
                };
                self.at_length(|_| work(variant, message, words))
            },
        )
    }

    #[inline(never)]
    fn sm2_encrypt(
        &self,
        task: &Task,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let public = public_point(key)?;
        let len = usize::try_from(task.len).map_err(|_| TeeResult::OUT_OF_MEMORY)?;
        let text_len = len
            .checked_add(sm2::OVERHEAD)
            .ok_or(TeeResult::OUT_OF_MEMORY)?;
        let (words, lens) = (curve::SCRATCH_WORDS, [len, text_len]);
        self.produce(task, words, lens, target, |message, words, random, to| {
            sm2::encrypt(public, message, words, random, to).map_err(|_| TeeResult::BAD_STATE)
        })
    }

    #[inline(never)]
    fn sm2_decrypt(
        &self,
        task: &Task,
        key: &Object,
        target: Target,
    ) -> Result<Delivered, TeeResult> {
        let private = number(key, attribute::ECC_PRIVATE_VALUE)?;
        let text_len = usize::try_from(task.len).map_err(|_| TeeResult::OUT_OF_MEMORY)?;
        let len = text_len.checked_sub(sm2::OVERHEAD).filter(|len| *len > 0);
        let len = len.ok_or(TeeResult::BAD_PARAMETERS)?;
        let (words, lens) = (curve::SCRATCH_WORDS, [text_len, len]);
        self.produce(task, words, lens, target, |text, words, _, to| {
            sm2::decrypt(private, text, words, to).map_err(|err| match err {
                Error::Padding => TeeResult::CIPHERTEXT_INVALID,
                Error::Key | Error::Length => TeeResult::BAD_PARAMETERS,
                Error::Signature | Error::Random => TeeResult::BAD_STATE,
            })
        })
    }

    /// Makes a result of known length of the first bytes of what a task is given, and delivers it.
    fn produce(
        &self,
        task: &Task,
        words: usize,
        [text_len, len]: [usize; 2],
        target: Target,
        work: impl FnOnce(&[u8], &mut [Word], &mut Chance<'_, M>, &mut [u8]) -> Result<(), TeeResult>,
    ) -> Result<Delivered, TeeResult> {
        if target.len < len as u64 {
            return Ok(Delivered::Short(len));
        }
        let all = text_len.checked_add(len).ok_or(TeeResult::OUT_OF_MEMORY)?;
        self.with_room(task.instance, words, all, |words, bytes| {
            let (text, result) = bytes.split_at_mut(text_len);
            self.take_long(task.instance, task.from, text)?;
            self.at_length(|random| work(text, words, random, result))?;
            self.deliver(task.instance, target, result)
        })
    }

    /// Confirms a signature, at `va`, of the first bytes of what a task is given.
    fn confirm(
        &self,
        task: &Task,
        words: usize,
        digest_len: usize,
        (va, len): (u64, usize),
        work: impl FnOnce(&[u8], &mut [Word], &[u8]) -> Result<(), Error>,
    ) -> Result<(), TeeResult> {
        self.with_room(task.instance, words, digest_len + len, |words, bytes| {
            let (digest, signature) = bytes.split_at_mut(digest_len);
            self.take_long(task.instance, task.from, digest)?;
            self.take_long(task.instance, va, signature)?;
            self.at_length(|_| work(digest, words, signature))
                .map_err(|_| TeeResult::SIGNATURE_INVALID)
        })
    }

    /// Says whether a signature holds.
    #[inline(never)]
    pub(super) fn sys_asymmetric_verify(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let signature = (x[5], x[6]);
        let (task, ()) = self.task(instance, x, |mode| {
            if mode != mode::VERIFY {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            self.check_read(instance, x[3], x[4])?;
            self.check_read(instance, signature.0, signature.1)
        })?;
        self.with_object(instance, u64::from(task.key), |key| {
            if !key.is_initialized {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            match Scheme::of(task.algorithm).ok_or(TeeResult::NOT_SUPPORTED)? {
                scheme @ (Scheme::RsaPkcs1Signature(_) | Scheme::RsaPss(_)) => {
                    self.rsa_verify(&task, scheme, key, signature)
                }
                Scheme::Dsa(hash) => self.dsa_verify(&task, hash.bytes(), key, signature),
                Scheme::Ecdsa => {
                    let curve = curve_of(key).ok_or(TeeResult::NOT_SUPPORTED)?;
                    if !is_digest_of_curve(task.algorithm, curve) {
                        return Err(TeeResult::BAD_PARAMETERS);
                    }
                    self.ec_verify(&task, curve, key, signature)
                }
                Scheme::Sm2Signature => self.ec_verify(&task, curve::SM2, key, signature),
                Scheme::Ed25519 => self.ed25519_verify(&task, key, signature),
                Scheme::RsaRaw | Scheme::RsaPkcs1 | Scheme::RsaOaep(_) | Scheme::Sm2 => {
                    Err(TeeResult::BAD_PARAMETERS)
                }
            }
        })
    }

    #[inline(never)]
    fn dsa_verify(
        &self,
        task: &Task,
        hash_bytes: usize,
        key: &Object,
        (va, signature_len): (u64, u64),
    ) -> Result<(), TeeResult> {
        let (domain, y) = (domain(key)?, number(key, attribute::DSA_PUBLIC_VALUE)?);
        let order = discrete::order_len(domain.q);
        if task.len != hash_bytes as u64 && task.len != order as u64 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        if signature_len != 2 * order as u64 {
            return Err(TeeResult::SIGNATURE_INVALID);
        }
        let words = discrete::scratch_words(domain.p);
        let signature = (va, 2 * order);
        self.confirm(
            task,
            words,
            task.len as usize,
            signature,
            |digest, words, given| discrete::verify(&domain, y, digest, words, given),
        )
    }

    /// ECDSA, or SM2.
    #[inline(never)]
    fn ec_verify(
        &self,
        task: &Task,
        curve: &'static Curve,
        key: &Object,
        (va, signature_len): (u64, u64),
    ) -> Result<(), TeeResult> {
        let public = public_point(key)?;
        let len = 2 * curve.bytes();
        if signature_len != len as u64 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let digest_len = task.len.min(curve.bytes() as u64) as usize;
        let (words, signature) = (curve::SCRATCH_WORDS, (va, len));
        self.confirm(
            task,
            words,
            digest_len,
            signature,
            |digest, words, given| match given.as_array() {
                Some(given) if curve.is_sm2 => sm2::verify(public, digest, words, given),
                _ => ec::verify(curve, public, digest, words, given),
            },
        )
    }

    #[inline(never)]
    fn ed25519_verify(
        &self,
        task: &Task,
        key: &Object,
        (va, signature_len): (u64, u64),
    ) -> Result<(), TeeResult> {
        let options = EdOptions::of(task.given())?;
        let public = key_bytes(key, attribute::ED25519_PUBLIC_VALUE)?;
        if signature_len != ed25519::SIGNATURE_LEN as u64 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let mut signature = [0; ed25519::SIGNATURE_LEN];
        self.take_long(task.instance, va, &mut signature)?;
        self.with_message(task, &options, |variant, message, words| {
            ed25519::verify(variant, public, message, &signature, words)
                .map_err(|_| TeeResult::SIGNATURE_INVALID)
        })
    }
}

/// What a signature of Ed25519 is of.
struct EdOptions {
    is_hashed: bool,
    /// Address and length.
    context: Option<(u64, u64)>,
}

impl EdOptions {
    fn of(given: &[UteeAttribute]) -> Result<Self, TeeResult> {
        let is_known =
            |one: &UteeAttribute| matches!(one.id, attribute::EDDSA_PREHASH | attribute::EDDSA_CTX);
        let contexts = given
            .iter()
            .filter(|one| one.id == attribute::EDDSA_CTX && one.b > 0);
        if !given.iter().all(is_known) || contexts.count() > 1 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let mut is_hashed = false;
        for one in given
            .iter()
            .filter(|one| one.id == attribute::EDDSA_PREHASH)
        {
            is_hashed = match (one.a as u32, one.b as u32) {
                (0, 0) => false,
                (1, 0) => true,
                _ => return Err(TeeResult::BAD_PARAMETERS),
            };
        }
        let context = given
            .iter()
            .find(|one| one.id == attribute::EDDSA_CTX && one.b > 0);
        if context.is_some_and(|one| one.b > MAX_CONTEXT || one.a == 0) {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        Ok(Self {
            is_hashed,
            context: context.map(|one| (one.a, one.b)),
        })
    }
}

/// A number of a key that has its attributes.
pub(super) fn number(key: &Object, id: u32) -> Result<&[u8], TeeResult> {
    key.attribute(id).ok_or(TeeResult::GENERIC)
}

/// Bytes of a key that has its attributes.
pub(super) fn key_bytes<const N: usize>(key: &Object, id: u32) -> Result<&[u8; N], TeeResult> {
    number(key, id)?.as_array().ok_or(TeeResult::GENERIC)
}

/// A point that is a key.
pub(super) fn public_point(key: &Object) -> Result<PublicKey<'_>, TeeResult> {
    Ok(PublicKey {
        x: number(key, attribute::ECC_PUBLIC_VALUE_X)?,
        y: number(key, attribute::ECC_PUBLIC_VALUE_Y)?,
    })
}

/// The numbers that a key of DSA shares with others.
pub(super) fn domain(key: &Object) -> Result<Domain<'_>, TeeResult> {
    Ok(Domain {
        p: number(key, attribute::DSA_PRIME)?,
        q: number(key, attribute::DSA_SUBPRIME)?,
        g: number(key, attribute::DSA_BASE)?,
    })
}
