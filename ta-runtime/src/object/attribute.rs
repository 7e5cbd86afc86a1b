//! Attributes of keys.

use core::marker::PhantomData;
use tally_abi::crypto::{UteeAttribute, attribute};

/// An attribute: two numbers, or bytes that somebody else has.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Attribute<'a> {
    raw: UteeAttribute,
    bytes: PhantomData<&'a [u8]>,
}

/// An attribute of bytes.
#[derive(Clone, Copy, Debug)]
pub struct AttributeMemref<'a>(Attribute<'a>);

impl<'a> AttributeMemref<'a> {
    /// These bytes.
    #[must_use]
    pub fn from_ref(id: AttributeId, buffer: &'a [u8]) -> Self {
        let raw = UteeAttribute {
            a: buffer.as_ptr() as u64,
            b: buffer.len() as u64,
            id: id as u32,
            padding: 0,
        };
        Self(Attribute {
            raw,
            bytes: PhantomData,
        })
    }
}

impl<'a> From<AttributeMemref<'a>> for Attribute<'a> {
    fn from(attribute: AttributeMemref<'a>) -> Self {
        attribute.0
    }
}

/// An attribute of two numbers.
#[derive(Clone, Copy, Debug)]
pub struct AttributeValue(Attribute<'static>);

impl AttributeValue {
    /// These numbers.
    #[must_use]
    pub fn from_value(id: AttributeId, a: u32, b: u32) -> Self {
        let raw = UteeAttribute {
            a: u64::from(a),
            b: u64::from(b),
            id: id as u32,
            padding: 0,
        };
        Self(Attribute {
            raw,
            bytes: PhantomData,
        })
    }
}

impl From<AttributeValue> for Attribute<'static> {
    fn from(attribute: AttributeValue) -> Self {
        attribute.0
    }
}

macro_rules! ids {
    ($($name:ident = $id:ident;)*) => {
        /// Which attribute.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum AttributeId {
            $(
                #[doc = concat!("`TEE_ATTR_", stringify!($id), "`.")]
                $name = attribute::$id,
            )*
        }
    };
}

ids! {
    SecretValue = SECRET_VALUE;
    RsaModulus = RSA_MODULUS;
    RsaPublicExponent = RSA_PUBLIC_EXPONENT;
    RsaPrivateExponent = RSA_PRIVATE_EXPONENT;
    RsaPrime1 = RSA_PRIME1;
    RsaPrime2 = RSA_PRIME2;
    RsaExponent1 = RSA_EXPONENT1;
    RsaExponent2 = RSA_EXPONENT2;
    RsaCoefficient = RSA_COEFFICIENT;
    DsaPrime = DSA_PRIME;
    DsaSubprime = DSA_SUBPRIME;
    DsaBase = DSA_BASE;
    DsaPublicValue = DSA_PUBLIC_VALUE;
    DsaPrivateValue = DSA_PRIVATE_VALUE;
    DhPrime = DH_PRIME;
    DhSubprime = DH_SUBPRIME;
    DhBase = DH_BASE;
    DhXBits = DH_X_BITS;
    DhPublicValue = DH_PUBLIC_VALUE;
    DhPrivateValue = DH_PRIVATE_VALUE;
    RsaOaepLabel = RSA_OAEP_LABEL;
    RsaOaepMgf1Hash = RSA_OAEP_MGF_HASH;
    RsaPssSaltLength = RSA_PSS_SALT_LENGTH;
    EccPublicValueX = ECC_PUBLIC_VALUE_X;
    EccPublicValueY = ECC_PUBLIC_VALUE_Y;
    EccPrivateValue = ECC_PRIVATE_VALUE;
    Ed25519PublicValue = ED25519_PUBLIC_VALUE;
    Ed25519PrivateValue = ED25519_PRIVATE_VALUE;
    X25519PublicValue = X25519_PUBLIC_VALUE;
    X25519PrivateValue = X25519_PRIVATE_VALUE;
    EccCurve = ECC_CURVE;
}
