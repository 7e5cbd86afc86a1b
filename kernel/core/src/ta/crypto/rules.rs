//! Attributes of each type of object, and their sizes (GPD_SPE_010 tables 5-9 and 6-9).
//!
//! Source: optee_os `core/tee/tee_svc_cryp.c`, `tee_cryp_obj_props`.

use tally_abi::TeeResult;
use tally_abi::crypto::{attribute as id, object_type as of};

/// Most attributes of an object.
pub const MAX_ATTRIBUTES: usize = 8;

/// Rules of a type of objects.
#[derive(Debug)]
pub struct Rules {
    /// Which type ([`of`]).
    pub object_type: u32,
    /// Sizes are multiples of this.
    quantum: u32,
    min_bits: u32,
    max_bits: u32,
    /// Most bytes of a secret.
    pub secret_bytes: usize,
    /// Its attributes.
    pub attributes: &'static [Attribute],
}

/// Rules of an attribute.
#[derive(Debug)]
pub struct Attribute {
    /// Which one ([`id`]).
    pub id: u32,
    /// What it is.
    pub form: Form,
    /// Must be given.
    pub is_required: bool,
    /// Is given with all others of this kind, or none of them.
    pub is_in_group: bool,
    /// What it is to the generation of a key.
    pub generation: Generation,
    /// Tells the size of the object.
    pub is_size: bool,
    /// Has no more bits than the object may have.
    pub is_limited: bool,
}

/// What an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bytes.
    Secret,
    /// A number, big-endian.
    Number,
    /// 32 bits.
    Value,
    /// So many bytes, no more and no less.
    Key(usize),
}

/// What an attribute is to the generation of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Made by it.
    Made,
    /// May be given.
    Optional,
    /// Must be given.
    Required,
}

impl Attribute {
    const fn new(id: u32, form: Form) -> Self {
        Self {
            id,
            form,
            is_required: true,
            is_in_group: false,
            generation: Generation::Made,
            is_size: false,
            is_limited: false,
        }
    }

    const fn number(id: u32) -> Self {
        Self::new(id, Form::Number)
    }

    const fn size(mut self) -> Self {
        self.is_size = true;
        self
    }

    const fn limited(mut self) -> Self {
        self.is_limited = true;
        self
    }

    const fn in_group(mut self) -> Self {
        self.is_required = false;
        self.is_in_group = true;
        self
    }

    const fn given(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// Room for one in an object of a size.
    #[must_use]
    pub const fn room(&self, rules: &Rules, max_bits: u32) -> usize {
        let bytes = rules.bytes(max_bits);
        match self.form {
            // A derived one may be longer than the object's size says, as in OP-TEE.
            Form::Secret => rules.secret_bytes,
            Form::Number => bytes,
            Form::Value => size_of::<u32>(),
            Form::Key(bytes) => bytes,
        }
    }
}

impl Rules {
    /// Those of a type.
    #[must_use]
    pub fn of(object_type: u32) -> Option<&'static Self> {
        let mut all = RULES.iter();
        all.find(|rules| rules.object_type == object_type)
    }

    /// Whether it is a secret, and nothing else.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.find(id::SECRET_VALUE).is_some()
    }

    /// An attribute, by its place.
    #[must_use]
    pub fn find(&self, id: u32) -> Option<usize> {
        let mut all = self.attributes.iter();
        all.position(|attribute| attribute.id == id)
    }

    /// Whether an object has a size without bits of parity, which GlobalPlatform's first version did not count.
    #[must_use]
    pub const fn is_without_parity(&self, bits: u32) -> bool {
        matches!(
            (self.object_type, bits),
            (of::DES, 56) | (of::DES3, 112 | 168)
        )
    }

    /// Bytes of a key of a size.
    #[must_use]
    pub const fn bytes(&self, bits: u32) -> usize {
        let parity = if self.is_without_parity(bits) {
            bits / 7
        } else {
            0
        };
        (bits + parity).div_ceil(8) as usize
    }

    /// Confirms a size.
    ///
    /// # Errors
    /// `NOT_SUPPORTED`.
    pub fn check_size(&self, bits: u64) -> Result<u32, TeeResult> {
        let bits = u32::try_from(bits).map_err(|_| TeeResult::NOT_SUPPORTED)?;
        let is_good = (self.min_bits..=self.max_bits).contains(&bits)
            && bits.is_multiple_of(self.quantum)
            || self.is_without_parity(bits);
        is_good.then_some(bits).ok_or(TeeResult::NOT_SUPPORTED)
    }
}

const SECRET: &[Attribute] = &[Attribute::new(id::SECRET_VALUE, Form::Secret).size()];
const HKDF: &[Attribute] = &[Attribute::new(id::HKDF_IKM, Form::Secret).size()];
const CONCAT_KDF: &[Attribute] = &[Attribute::new(id::CONCAT_KDF_Z, Form::Secret).size()];
const PBKDF2: &[Attribute] = &[Attribute::new(id::PBKDF2_PASSWORD, Form::Secret).size()];

const RSA_PUBLIC: &[Attribute] = &[
    Attribute::number(id::RSA_MODULUS).size(),
    Attribute::number(id::RSA_PUBLIC_EXPONENT),
];
const RSA_PAIR: &[Attribute] = &[
    Attribute::number(id::RSA_MODULUS).size(),
    Attribute::number(id::RSA_PUBLIC_EXPONENT).given(Generation::Optional),
    Attribute::number(id::RSA_PRIVATE_EXPONENT),
    Attribute::number(id::RSA_PRIME1).in_group(),
    Attribute::number(id::RSA_PRIME2).in_group(),
    Attribute::number(id::RSA_EXPONENT1).in_group(),
    Attribute::number(id::RSA_EXPONENT2).in_group(),
    Attribute::number(id::RSA_COEFFICIENT).in_group(),
];
const DSA_PUBLIC: &[Attribute] = &[
    Attribute::number(id::DSA_PRIME).size().limited(),
    Attribute::number(id::DSA_SUBPRIME),
    Attribute::number(id::DSA_BASE).limited(),
    Attribute::number(id::DSA_PUBLIC_VALUE).limited(),
];
const DSA_PAIR: &[Attribute] = &[
    Attribute::number(id::DSA_PRIME)
        .size()
        .limited()
        .given(Generation::Required),
    Attribute::number(id::DSA_SUBPRIME).given(Generation::Required),
    Attribute::number(id::DSA_BASE)
        .limited()
        .given(Generation::Required),
    Attribute::number(id::DSA_PRIVATE_VALUE).limited(),
    Attribute::number(id::DSA_PUBLIC_VALUE).limited(),
];
const DH_PAIR: &[Attribute] = &[
    Attribute::number(id::DH_PRIME)
        .size()
        .given(Generation::Required),
    Attribute::number(id::DH_BASE).given(Generation::Required),
    Attribute::number(id::DH_PUBLIC_VALUE),
    Attribute::number(id::DH_PRIVATE_VALUE),
    Attribute::number(id::DH_SUBPRIME)
        .in_group()
        .given(Generation::Optional),
    Attribute {
        is_required: false,
        ..Attribute::new(id::DH_X_BITS, Form::Value).given(Generation::Optional)
    },
];
const EC_PUBLIC: &[Attribute] = &[
    Attribute::number(id::ECC_PUBLIC_VALUE_X),
    Attribute::number(id::ECC_PUBLIC_VALUE_Y),
    Attribute::new(id::ECC_CURVE, Form::Value).size(),
];
const EC_PAIR: &[Attribute] = &[
    Attribute::number(id::ECC_PRIVATE_VALUE),
    Attribute::number(id::ECC_PUBLIC_VALUE_X),
    Attribute::number(id::ECC_PUBLIC_VALUE_Y),
    Attribute::new(id::ECC_CURVE, Form::Value)
        .size()
        .given(Generation::Required),
];
const SM2_PUBLIC: &[Attribute] = &[
    Attribute::number(id::ECC_PUBLIC_VALUE_X),
    Attribute::number(id::ECC_PUBLIC_VALUE_Y),
];
const SM2_PAIR: &[Attribute] = &[
    Attribute::number(id::ECC_PRIVATE_VALUE),
    Attribute::number(id::ECC_PUBLIC_VALUE_X),
    Attribute::number(id::ECC_PUBLIC_VALUE_Y),
];
const X25519_PAIR: &[Attribute] = &[
    Attribute::new(id::X25519_PRIVATE_VALUE, Form::Key(32)),
    Attribute::new(id::X25519_PUBLIC_VALUE, Form::Key(32)),
];
const X448_PAIR: &[Attribute] = &[
    Attribute::new(id::X448_PRIVATE_VALUE, Form::Key(56)),
    Attribute::new(id::X448_PUBLIC_VALUE, Form::Key(56)),
];
const ED25519_PUBLIC: &[Attribute] = &[Attribute::new(id::ED25519_PUBLIC_VALUE, Form::Key(32))];
const ED25519_PAIR: &[Attribute] = &[
    Attribute::new(id::ED25519_PRIVATE_VALUE, Form::Key(32)),
    Attribute::new(id::ED25519_PUBLIC_VALUE, Form::Key(32)),
];

const fn rules(
    object_type: u32,
    quantum: u32,
    min_bits: u32,
    max_bits: u32,
    attributes: &'static [Attribute],
) -> Rules {
    Rules {
        object_type,
        quantum,
        min_bits,
        max_bits,
        secret_bytes: max_bits as usize / 8,
        attributes,
    }
}

const RULES: &[Rules] = &[
    rules(of::AES, 64, 128, 256, SECRET),
    rules(of::DES, 64, 64, 64, SECRET),
    rules(of::DES3, 64, 128, 192, SECRET),
    rules(of::SM4, 128, 128, 128, SECRET),
    rules(of::HMAC_MD5, 8, 64, 512, SECRET),
    rules(of::HMAC_SHA1, 8, 80, 512, SECRET),
    rules(of::HMAC_SHA224, 8, 112, 512, SECRET),
    rules(of::HMAC_SHA256, 8, 192, 1024, SECRET),
    rules(of::HMAC_SHA384, 8, 256, 1024, SECRET),
    rules(of::HMAC_SHA512, 8, 256, 1024, SECRET),
    rules(of::HMAC_SHA3_224, 8, 192, 1024, SECRET),
    rules(of::HMAC_SHA3_256, 8, 256, 1024, SECRET),
    rules(of::HMAC_SHA3_384, 8, 256, 1024, SECRET),
    rules(of::HMAC_SHA3_512, 8, 256, 1024, SECRET),
    Rules {
        secret_bytes: 64,
        ..rules(of::HMAC_SM3, 8, 80, 1024, SECRET)
    },
    rules(of::GENERIC_SECRET, 8, 0, 4096, SECRET),
    rules(of::HKDF_IKM, 8, 0, 4096, HKDF),
    rules(of::CONCAT_KDF_Z, 8, 0, 4096, CONCAT_KDF),
    rules(of::PBKDF2_PASSWORD, 8, 0, 4096, PBKDF2),
    rules(of::RSA_PUBLIC_KEY, 1, 256, 4096, RSA_PUBLIC),
    rules(of::RSA_KEYPAIR, 1, 256, 4096, RSA_PAIR),
    rules(of::DSA_PUBLIC_KEY, 64, 512, 3072, DSA_PUBLIC),
    rules(of::DSA_KEYPAIR, 64, 512, 3072, DSA_PAIR),
    rules(of::DH_KEYPAIR, 1, 256, 2048, DH_PAIR),
    rules(of::ECDSA_PUBLIC_KEY, 1, 192, 521, EC_PUBLIC),
    rules(of::ECDSA_KEYPAIR, 1, 192, 521, EC_PAIR),
    rules(of::ECDH_PUBLIC_KEY, 1, 192, 521, EC_PUBLIC),
    rules(of::ECDH_KEYPAIR, 1, 192, 521, EC_PAIR),
    rules(of::SM2_DSA_PUBLIC_KEY, 1, 256, 256, SM2_PUBLIC),
    rules(of::SM2_DSA_KEYPAIR, 1, 256, 256, SM2_PAIR),
    rules(of::SM2_PKE_PUBLIC_KEY, 1, 256, 256, SM2_PUBLIC),
    rules(of::SM2_PKE_KEYPAIR, 1, 256, 256, SM2_PAIR),
    rules(of::SM2_KEP_PUBLIC_KEY, 1, 256, 256, SM2_PUBLIC),
    rules(of::SM2_KEP_KEYPAIR, 1, 256, 256, SM2_PAIR),
    rules(of::X25519_KEYPAIR, 1, 256, 256, X25519_PAIR),
    rules(of::X448_KEYPAIR, 1, 448, 448, X448_PAIR),
    rules(of::ED25519_PUBLIC_KEY, 1, 256, 256, ED25519_PUBLIC),
    rules(of::ED25519_KEYPAIR, 1, 256, 256, ED25519_PAIR),
    // Data without a key.
    rules(of::DATA, 1, 0, 0, &[]),
];
