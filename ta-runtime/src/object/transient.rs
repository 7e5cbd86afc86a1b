//! Objects that are in no storage: keys.

use super::{Attribute, GenericObject, ObjectHandle};
use crate::{Error, Result, syscall};
use tally_abi::crypto::object_type;

/// A key, or room for one.
#[derive(Debug)]
pub struct TransientObject(ObjectHandle);

impl TransientObject {
    /// Room for a key of this type and up to so many bits.
    ///
    /// # Errors
    /// `NotSupported`, `OutOfMemory`.
    pub fn allocate(object_type: TransientObjectType, max_object_size: usize) -> Result<Self> {
        let raw = syscall::object_new(object_type as u32, max_object_size as u32)?;
        Ok(Self(ObjectHandle(raw)))
    }

    /// Takes its key from it.
    pub fn reset(&mut self) {
        syscall::object_reset(self.0.raw());
    }

    /// Gives it these attributes.
    ///
    /// # Errors
    /// `BadParameters` if they are not what its type takes, `OutOfMemory`.
    pub fn populate(&mut self, attrs: &[Attribute<'_>]) -> Result<()> {
        syscall::object_populate(self.0.raw(), attrs).map_err(Error::from)
    }

    /// Gives it those attributes of another that it can have.
    ///
    /// # Errors
    /// `BadParameters` if the types do not go together, `CorruptObject`, `StorageNotAvailable`.
    pub fn copy_attribute_from<T: GenericObject>(&mut self, src_object: &T) -> Result<()> {
        syscall::object_copy(self.0.raw(), src_object.handle().raw()).map_err(Error::from)
    }

    /// Makes a key of so many bits.
    ///
    /// # Errors
    /// `BadParameters`, `OutOfMemory`.
    pub fn generate_key(&self, key_size: usize, params: &[Attribute<'_>]) -> Result<()> {
        syscall::object_generate(self.0.raw(), key_size as u32, params).map_err(Error::from)
    }
}

impl GenericObject for TransientObject {
    fn handle(&self) -> &ObjectHandle {
        &self.0
    }
}

impl From<TransientObject> for ObjectHandle {
    fn from(object: TransientObject) -> Self {
        object.0
    }
}

macro_rules! types {
    ($($name:ident = $id:ident;)*) => {
        /// Types of objects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum TransientObjectType {
            $(
                #[doc = concat!("`TEE_TYPE_", stringify!($id), "`.")]
                $name = object_type::$id,
            )*
        }
    };
}

types! {
    Aes = AES;
    Des = DES;
    Des3 = DES3;
    HmacMd5 = HMAC_MD5;
    HmacSha1 = HMAC_SHA1;
    HmacSha224 = HMAC_SHA224;
    HmacSha256 = HMAC_SHA256;
    HmacSha384 = HMAC_SHA384;
    HmacSha512 = HMAC_SHA512;
    RsaPublicKey = RSA_PUBLIC_KEY;
    RsaKeypair = RSA_KEYPAIR;
    DsaPublicKey = DSA_PUBLIC_KEY;
    DsaKeypair = DSA_KEYPAIR;
    DhKeypair = DH_KEYPAIR;
    EcdsaPublicKey = ECDSA_PUBLIC_KEY;
    EcdsaKeypair = ECDSA_KEYPAIR;
    EcdhPublicKey = ECDH_PUBLIC_KEY;
    EcdhKeypair = ECDH_KEYPAIR;
    Ed25519PublicKey = ED25519_PUBLIC_KEY;
    Ed25519Keypair = ED25519_KEYPAIR;
    X25519PublicKey = X25519_PUBLIC_KEY;
    X25519Keypair = X25519_KEYPAIR;
    GenericSecret = GENERIC_SECRET;
    CorruptedObject = CORRUPTED_OBJECT;
    Data = DATA;
}
