//! Keys that are made of others.

use super::asymmetric::{number, public_point};
use super::room::{find_bytes, find_value};
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::Object;
use crate::ta::crypto::scheme::{Derivation, curve_of, digest_of};
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_abi::crypto::{UteeAttribute, attribute};
use tally_crypto::asymmetric::derive::{self, Pbkdf2Block};
use tally_crypto::asymmetric::ec::{self, PublicKey};
use tally_crypto::asymmetric::sm2::{self, Exchange, Party};
use tally_crypto::asymmetric::xdh;
use tally_crypto::asymmetric::{curve, discrete, rsa};
use tally_crypto::symmetric::hash::Algorithm as Hash;
use tally_crypto::symmetric::mac::Hmac;
use tally_mem::machine::Machine;

/// Rounds of PBKDF2 between two looks at whether the TA is to end.
const ROUNDS: u32 = 1024;

/// What a derivation is given.
#[derive(Clone, Copy)]
struct Task<'g> {
    instance: InstanceRef,
    given: &'g [UteeAttribute],
}

impl Task<'_> {
    /// An attribute that refers to bytes: address and length. Those that are there twice count once.
    fn bytes(&self, id: u32) -> Result<(u64, usize), TeeResult> {
        let (va, len) = find_bytes(self.given, id).unwrap_or_default();
        let len = usize::try_from(len).map_err(|_| TeeResult::OUT_OF_MEMORY)?;
        Ok((va, len))
    }

    /// Confirms that there are no other attributes than these.
    fn check_known(&self, known: &[u32]) -> Result<(), TeeResult> {
        let is_known = |one: &UteeAttribute| known.contains(&one.id);
        let all = self.given.iter().all(is_known);
        all.then_some(()).ok_or(TeeResult::BAD_PARAMETERS)
    }

    /// Confirms that there are exactly these attributes, in this order.
    fn check_exact(&self, wanted: &[u32]) -> Result<(), TeeResult> {
        let is_exact = self
            .given
            .iter()
            .map(|one| one.id)
            .eq(wanted.iter().copied());
        is_exact.then_some(()).ok_or(TeeResult::BAD_PARAMETERS)
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Makes a secret of a key.
    #[inline(never)]
    pub(super) fn sys_derive_key(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let (algorithm, keys) =
            self.with_state(instance, x[0], |state| Ok((state.algorithm, state.keys)))?;
        let given = self.take_attributes(instance, x[1], x[2])?;
        let task = Task {
            instance,
            given: given.all(),
        };
        self.with_object(instance, u64::from(keys[0]), |key| {
            // A TA may have reset it since the operation has it.
            if !key.is_initialized {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            self.with_object(instance, x[3], |to| {
                if !to.rules.is_secret() {
                    return Err(TeeResult::NOT_SUPPORTED);
                }
                let derivation = Derivation::of(algorithm).ok_or(TeeResult::NOT_SUPPORTED)?;
                match derivation {
                    Derivation::Dh => self.derive_dh(&task, key, to),
                    Derivation::Ecdh => self.derive_ecdh(&task, key, to),
                    Derivation::X25519 => self.derive_xdh(&task, xdh::X25519, key, to),
                    Derivation::X448 => self.derive_xdh(&task, xdh::X448, key, to),
                    Derivation::Sm2 => self.with_object(instance, u64::from(keys[1]), |second| {
                        self.derive_sm2(&task, [key, second], to)
                    }),
                    Derivation::Hkdf(hash) => self.derive_hkdf(&task, hash, key, to),
                    Derivation::Concat(hash) => self.derive_concat(&task, hash, key, to),
                    Derivation::Pbkdf2(hash) => self.derive_pbkdf2(&task, hash, key, to),
                }
            })
        })
    }

    #[inline(never)]
    fn derive_dh(&self, task: &Task<'_>, key: &Object, to: &mut Object) -> Result<(), TeeResult> {
        task.check_exact(&[attribute::DH_PUBLIC_VALUE])?;
        let (p, x) = (
            number(key, attribute::DH_PRIME)?,
            number(key, attribute::DH_PRIVATE_VALUE)?,
        );
        let (va, other_len) = task.bytes(attribute::DH_PUBLIC_VALUE)?;
        let all = other_len.checked_add(p.len()).ok_or(TeeResult::OVERFLOW)?;
        self.with_room(
            task.instance,
            discrete::scratch_words(p),
            all,
            |words, bytes| {
                let (other, secret) = bytes.split_at_mut(other_len);
                self.take_long(task.instance, va, other)?;
                self.at_length(|_| discrete::agree(p, x, other, words, secret))
                    .map_err(|_| TeeResult::BAD_PARAMETERS)?;
                to.set_secret(rsa::trim(secret))
            },
        )
    }

    #[inline(never)]
    fn derive_ecdh(&self, task: &Task<'_>, key: &Object, to: &mut Object) -> Result<(), TeeResult> {
        let wanted = [attribute::ECC_PUBLIC_VALUE_X, attribute::ECC_PUBLIC_VALUE_Y];
        task.check_exact(&wanted)?;
        let curve = curve_of(key).ok_or(TeeResult::NOT_IMPLEMENTED)?;
        let private = number(key, attribute::ECC_PRIVATE_VALUE)?;
        let [(x_va, x_len), (y_va, y_len)] = [task.bytes(wanted[0])?, task.bytes(wanted[1])?];
        let all = x_len
            .checked_add(y_len)
            .and_then(|len| len.checked_add(curve.bytes()));
        let all = all.ok_or(TeeResult::OVERFLOW)?;
        self.with_room(task.instance, curve::SCRATCH_WORDS, all, |words, bytes| {
            let (x, bytes) = bytes.split_at_mut(x_len);
            let (y, secret) = bytes.split_at_mut(y_len);
            self.take_long(task.instance, x_va, x)?;
            self.take_long(task.instance, y_va, y)?;
            let other = PublicKey { x, y };
            self.at_length(|_| ec::agree(curve, private, other, words, secret))
                .map_err(|_| TeeResult::BAD_PARAMETERS)?;
            to.set_secret(secret)
        })
    }

    #[inline(never)]
    fn derive_xdh(
        &self,
        task: &Task<'_>,
        curve: &xdh::Curve,
        key: &Object,
        to: &mut Object,
    ) -> Result<(), TeeResult> {
        let (public_id, private_id) = if curve.bytes == xdh::X25519.bytes {
            (
                attribute::X25519_PUBLIC_VALUE,
                attribute::X25519_PRIVATE_VALUE,
            )
        } else {
            (attribute::X448_PUBLIC_VALUE, attribute::X448_PRIVATE_VALUE)
        };
        task.check_exact(&[public_id])?;
        let private = number(key, private_id)?;
        let (va, len) = task.bytes(public_id)?;
        if len != curve.bytes {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        self.with_room(
            task.instance,
            xdh::SCRATCH_WORDS,
            2 * len,
            |words, bytes| {
                let (other, secret) = bytes.split_at_mut(len);
                self.take_long(task.instance, va, other)?;
                self.at_length(|_| xdh::agree(curve, private, other, words, secret))
                    .map_err(|_| TeeResult::SECURITY)?;
                to.set_secret(secret)
            },
        )
    }

    #[inline(never)]
    fn derive_sm2(
        &self,
        task: &Task<'_>,
        [key, second]: [&Object; 2],
        to: &mut Object,
    ) -> Result<(), TeeResult> {
        use attribute as id;
        const NAMES: [u32; 8] = [
            id::ECC_PUBLIC_VALUE_X,
            id::ECC_PUBLIC_VALUE_Y,
            id::ECC_EPHEMERAL_PUBLIC_VALUE_X,
            id::ECC_EPHEMERAL_PUBLIC_VALUE_Y,
            id::SM2_ID_INITIATOR,
            id::SM2_ID_RESPONDER,
            id::SM2_KEP_CONFIRMATION_IN,
            id::SM2_KEP_CONFIRMATION_OUT,
        ];
        let old = |id| match id {
            id::ECC_EPHEMERAL_PUBLIC_VALUE_X => id::SM2_EPHEMERAL_X_OLD,
            id::ECC_EPHEMERAL_PUBLIC_VALUE_Y => id::SM2_EPHEMERAL_Y_OLD,
            id => id,
        };
        let find = |id| find_bytes(task.given, id).or_else(|| find_bytes(task.given, old(id)));
        let is_known = |one: &UteeAttribute| {
            one.id == id::SM2_KEP_USER
                || NAMES
                    .iter()
                    .any(|name| one.id == *name || one.id == old(*name))
        };
        let are_there = NAMES[..6].iter().all(|id| find(*id).is_some());
        if !task.given.iter().all(is_known) || !are_there {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let user = find_value(task.given, id::SM2_KEP_USER).ok_or(TeeResult::BAD_PARAMETERS)?;
        let is_initiator = user == 0;
        let mut places = [(0, 0); 7];
        let mut all = 0_usize;
        for (place, name) in places.iter_mut().zip(NAMES) {
            let (va, len) = find(name).unwrap_or_default();
            *place = (
                va,
                usize::try_from(len).map_err(|_| TeeResult::OUT_OF_MEMORY)?,
            );
            all = all.checked_add(place.1).ok_or(TeeResult::OUT_OF_MEMORY)?;
        }
        let confirmed = find(id::SM2_KEP_CONFIRMATION_OUT);
        let private = [
            number(key, id::ECC_PRIVATE_VALUE)?,
            number(second, id::ECC_PRIVATE_VALUE)?,
        ];
        let ours = [public_point(key)?, public_point(second)?];
        let len = to.max_bits as usize;
        if len > to.secret_room() {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let all = all.checked_add(len).ok_or(TeeResult::OUT_OF_MEMORY)?;
        self.with_room(task.instance, curve::SCRATCH_WORDS, all, |words, bytes| {
            let mut rest = bytes;
            let mut texts: [&[u8]; 7] = [&[]; 7];
            for (text, (va, len)) in texts.iter_mut().zip(places) {
                let (taken, left) = rest.split_at_mut(len);
                self.take_long(task.instance, va, taken)?;
                (*text, rest) = (taken, left);
            }
            let [
                x,
                y,
                ephemeral_x,
                ephemeral_y,
                initiator,
                responder,
                confirmation,
            ] = texts;
            let theirs = [
                PublicKey { x, y },
                PublicKey {
                    x: ephemeral_x,
                    y: ephemeral_y,
                },
            ];
            let [first, second] = if is_initiator {
                [ours, theirs]
            } else {
                [theirs, ours]
            };
            let exchange = Exchange {
                parties: [
                    Party {
                        key: first[0],
                        ephemeral: first[1],
                        identity: initiator,
                    },
                    Party {
                        key: second[0],
                        ephemeral: second[1],
                        identity: responder,
                    },
                ],
                is_initiator,
                private,
                confirmation: find(id::SM2_KEP_CONFIRMATION_IN).map(|_| confirmation),
            };
            let mut said = [0; sm2::BYTES];
            self.at_length(|_| sm2::exchange(&exchange, words, rest, &mut said))
                .map_err(|_| TeeResult::BAD_STATE)?;
            if let Some((va, len)) = confirmed {
                if len < said.len() as u64 {
                    return Err(TeeResult::BAD_PARAMETERS);
                }
                // OP-TEE keeps it for itself: whoever gives constants is not refused.
                if self
                    .check_write(task.instance, va, said.len() as u64)
                    .is_ok()
                {
                    self.write(task.instance, va, &said)?;
                }
            }
            to.set_secret(rest)
        })
    }

    #[inline(never)]
    fn derive_hkdf(
        &self,
        task: &Task<'_>,
        hash: Option<Hash>,
        key: &Object,
        to: &mut Object,
    ) -> Result<(), TeeResult> {
        use attribute as id;
        let old = [id::HKDF_SALT_OLD, id::HKDF_INFO_OLD];
        task.check_known(&[
            id::HKDF_SALT,
            old[0],
            id::HKDF_INFO,
            old[1],
            id::KDF_KEY_SIZE,
            id::HKDF_OKM_LENGTH,
            id::HKDF_HASH_ALGORITHM,
        ])?;
        let either = |new, old| match find_bytes(task.given, new) {
            Some(_) => task.bytes(new),
            None => task.bytes(old),
        };
        let salt = either(id::HKDF_SALT, old[0])?;
        let info = either(id::HKDF_INFO, old[1])?;
        let len = find_value(task.given, id::KDF_KEY_SIZE)
            .or_else(|| find_value(task.given, id::HKDF_OKM_LENGTH));
        let hash = match (hash, find_value(task.given, id::HKDF_HASH_ALGORITHM)) {
            (Some(hash), _) => hash,
            (None, None) => Hash::Sha256,
            (None, Some(number)) => digest_of(number).ok_or(TeeResult::NOT_SUPPORTED)?,
        };
        self.derive_with(
            task,
            [salt, info],
            len,
            to,
            |secret, texts, out| {
                let [salt, info] = texts;
                self.at_length(|_| derive::hkdf(hash, secret, salt, info, out))
                    .map_err(|_| TeeResult::BAD_PARAMETERS)
            },
            key,
        )
    }

    #[inline(never)]
    fn derive_concat(
        &self,
        task: &Task<'_>,
        hash: Hash,
        key: &Object,
        to: &mut Object,
    ) -> Result<(), TeeResult> {
        use attribute as id;
        task.check_known(&[id::CONCAT_KDF_OTHER_INFO, id::CONCAT_KDF_DKM_LENGTH])?;
        let info = task.bytes(id::CONCAT_KDF_OTHER_INFO)?;
        let len = find_value(task.given, id::CONCAT_KDF_DKM_LENGTH);
        self.derive_with(
            task,
            [info, (0, 0)],
            len,
            to,
            |secret, [info, _], out| {
                self.at_length(|_| derive::concat(hash, secret, info, out))
                    .map_err(|_| TeeResult::BAD_PARAMETERS)
            },
            key,
        )
    }

    #[inline(never)]
    fn derive_pbkdf2(
        &self,
        task: &Task<'_>,
        hash: Hash,
        key: &Object,
        to: &mut Object,
    ) -> Result<(), TeeResult> {
        use attribute as id;
        let known = [
            id::PBKDF2_SALT,
            id::PBKDF2_DKM_LENGTH,
            id::PBKDF2_ITERATION_COUNT,
        ];
        task.check_known(&known)?;
        let salt = task.bytes(id::PBKDF2_SALT)?;
        let len = find_value(task.given, id::PBKDF2_DKM_LENGTH);
        let count = find_value(task.given, id::PBKDF2_ITERATION_COUNT);
        let count = count.ok_or(TeeResult::BAD_PARAMETERS)?;
        self.derive_with(
            task,
            [salt, (0, 0)],
            len,
            to,
            |secret, [salt, _], out| {
                let keyed = Hmac::new(hash, secret);
                for (n, chunk) in (1_u32..).zip(out.chunks_mut(hash.bytes())) {
                    let mut block = self.at_length(|_| Pbkdf2Block::first(hash, &keyed, salt, n));
                    let mut left = count.saturating_sub(1);
                    while left > 0 {
                        if self.is_killed(task.instance) {
                            return Err(TeeResult::TARGET_DEAD);
                        }
                        let rounds = left.min(ROUNDS);
                        self.at_length(|_| block.rounds(rounds));
                        left -= rounds;
                    }
                    chunk.copy_from_slice(&block.bytes()[..chunk.len()]);
                }
                Ok(())
            },
            key,
        )
    }

    /// Makes a secret of so many bytes of a secret and of two texts of the TA.
    fn derive_with(
        &self,
        task: &Task<'_>,
        places: [(u64, usize); 2],
        len: Option<u32>,
        to: &mut Object,
        derive: impl FnOnce(&[u8], [&[u8]; 2], &mut [u8]) -> Result<(), TeeResult>,
        key: &Object,
    ) -> Result<(), TeeResult> {
        let len = len.ok_or(TeeResult::BAD_PARAMETERS)? as usize;
        if len > to.secret_room() {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let all = places[0]
            .1
            .checked_add(places[1].1)
            .and_then(|all| all.checked_add(len));
        let all = all.ok_or(TeeResult::OUT_OF_MEMORY)?;
        self.with_room(task.instance, 0, all, |_, bytes| {
            let (first, bytes) = bytes.split_at_mut(places[0].1);
            let (second, out) = bytes.split_at_mut(places[1].1);
            self.take_long(task.instance, places[0].0, first)?;
            self.take_long(task.instance, places[1].0, second)?;
            derive(key.secret(), [first, second], out)?;
            to.set_secret(out)
        })
    }
}
