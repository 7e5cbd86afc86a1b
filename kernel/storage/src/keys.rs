//! Keys: storage key, TA key, file key, as OP-TEE derives them (optee_os `core/tee/tee_fs_key_manager.c`).

use crate::host::StorageError;
use crate::layout::{HASH, Head, Meta, Node, SHORT};
use core::fmt;
use tally_abi::{TeeResult, TeeUuid};
use tally_crypto::symmetric::block::{self, BlockCipher};
use tally_crypto::symmetric::gcm::Gcm;
use tally_crypto::symmetric::hash::{self, Hash};
use tally_crypto::symmetric::mac::Hmac;
use tally_crypto::symmetric::{Direction, same};
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

/// Bytes of the storage key.
pub const STORAGE_KEY: usize = 32;

/// The storage key, which derives from the board's hardware key.
pub struct Keys {
    storage: Zeroizing<[u8; STORAGE_KEY]>,
}

impl Keys {
    /// Those below this storage key.
    #[must_use]
    pub const fn new(storage: Zeroizing<[u8; STORAGE_KEY]>) -> Self {
        Self { storage }
    }

    /// Cipher of a TA's file keys, or of the directory's.
    #[inline(never)]
    fn cipher(&self, ta: Option<TeeUuid>) -> Result<BlockCipher, StorageError> {
        let mut mac = Hmac::new(hash::Algorithm::Sha256, &*self.storage);
        match &ta {
            Some(uuid) => mac.update(uuid.as_bytes()),
            None => mac.update(&[0]),
        }
        let mut key = Zeroizing::new([0; HASH]);
        mac.finish(&mut *key);
        Ok(BlockCipher::new(block::Algorithm::Aes, &*key)?)
    }

    /// The key of a new file.
    pub(crate) fn seal(
        &self,
        ta: Option<TeeUuid>,
        key: Zeroizing<[u8; SHORT]>,
    ) -> Result<FileKey, StorageError> {
        let mut sealed = *key;
        self.cipher(ta)?.encrypt(&mut sealed);
        Ok(FileKey { key, sealed })
    }

    /// The key of a file that has this in its head.
    pub(crate) fn unseal(
        &self,
        ta: Option<TeeUuid>,
        sealed: [u8; SHORT],
    ) -> Result<FileKey, StorageError> {
        let mut key = Zeroizing::new(sealed);
        self.cipher(ta)?.decrypt(&mut *key);
        Ok(FileKey { key, sealed })
    }
}

impl From<TeeResult> for StorageError {
    fn from(code: TeeResult) -> Self {
        Self::Code(code)
    }
}

/// Key of a file.
pub(crate) struct FileKey {
    key: Zeroizing<[u8; SHORT]>,
    sealed: [u8; SHORT],
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey")
    }
}

impl FileKey {
    /// Has a cipher, new with this `iv`, confirm what belongs to a block; to the head, its root's hash and counter as well.
    #[inline(never)]
    fn bind(
        &self,
        gcm: &mut Gcm,
        iv: &[u8; SHORT],
        head: Option<(&[u8; HASH], u32)>,
    ) -> Result<(), StorageError> {
        if let Some((root, counter)) = head {
            // CFG_REE_FS_HTREE_HASH_SIZE_COMPAT: not the whole hash.
            gcm.aad(&root[..SHORT])?;
            gcm.aad(&counter.to_le_bytes())?;
        }
        gcm.aad(&self.sealed)?;
        gcm.aad(iv)?;
        Ok(())
    }

    /// Encrypts a block where it is, with the node's `iv`; its tag.
    #[inline(never)]
    pub(crate) fn encrypt(
        &self,
        iv: &[u8; SHORT],
        block: &mut [u8],
    ) -> Result<[u8; SHORT], StorageError> {
        let mut gcm = Gcm::new(&*self.key, iv)?;
        self.bind(&mut gcm, iv, None)?;
        gcm.text(Direction::Encrypt, block);
        Ok(gcm.tag())
    }

    /// Decrypts a node's block where it is.
    ///
    /// # Errors
    /// `Corrupt`; what is in the block then is to be dropped.
    #[inline(never)]
    pub(crate) fn decrypt(&self, node: &Node, block: &mut [u8]) -> Result<(), StorageError> {
        let mut gcm = Gcm::new(&*self.key, &node.iv)?;
        self.bind(&mut gcm, &node.iv, None)?;
        gcm.text(Direction::Decrypt, block);
        confirmed(&gcm, &node.tag)
    }

    /// Head of a file of such data and such a root, with this `iv`.
    #[inline(never)]
    pub(crate) fn head(
        &self,
        iv: [u8; SHORT],
        meta: &Meta,
        root: &[u8; HASH],
        counter: u32,
    ) -> Result<Head, StorageError> {
        let mut gcm = Gcm::new(&*self.key, &iv)?;
        self.bind(&mut gcm, &iv, Some((root, counter)))?;
        let mut text = [0; SHORT];
        text.copy_from_slice(meta.as_bytes());
        gcm.text(Direction::Encrypt, &mut text);
        Ok(Head {
            iv,
            tag: gcm.tag(),
            key: self.sealed,
            meta: text,
            counter: counter.into(),
        })
    }

    /// What is encrypted in a head that belongs to a root.
    ///
    /// # Errors
    /// `Corrupt`.
    #[inline(never)]
    pub(crate) fn meta(&self, head: &Head, root: &[u8; HASH]) -> Result<Meta, StorageError> {
        let mut gcm = Gcm::new(&*self.key, &head.iv)?;
        self.bind(&mut gcm, &head.iv, Some((root, head.counter.get())))?;
        let mut text = head.meta;
        gcm.text(Direction::Decrypt, &mut text);
        confirmed(&gcm, &head.tag)?;
        Ok(zerocopy::transmute!(text))
    }
}

fn confirmed(gcm: &Gcm, tag: &[u8]) -> Result<(), StorageError> {
    match same(&gcm.tag(), tag) {
        true => Ok(()),
        false => Err(StorageError::Corrupt),
    }
}

/// Hash of a node with its children's: that of the root covers the file's length too.
#[inline(never)]
pub(crate) fn node_hash(
    node: &Node,
    length: Option<u64>,
    children: [Option<&[u8; HASH]>; 2],
) -> [u8; HASH] {
    let mut hash = Hash::new(hash::Algorithm::Sha256);
    hash.update(&node.iv);
    hash.update(&node.tag);
    hash.update(node.flags.as_bytes());
    if let Some(length) = length {
        hash.update(&length.to_le_bytes());
    }
    for child in children.into_iter().flatten() {
        hash.update(child);
    }
    let mut digest = [0; HASH];
    hash.finish(&mut digest);
    digest
}
