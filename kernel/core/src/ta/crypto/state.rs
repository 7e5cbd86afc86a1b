//! States of algorithms, from one piece of data to the next.
//!
//! **Invariant:** a state has its memory from the beginning, so that nothing that becomes of it needs more.

use super::algorithm::Class;
use core::fmt;
use tally_abi::TeeResult;
use tally_crypto::symmetric::aead::Aead;
use tally_crypto::symmetric::cipher::Cipher;
use tally_crypto::symmetric::hash::Hash;
use tally_crypto::symmetric::mac::Mac;
use tally_mem::fallible::{HeapExhausted, TryBox};

/// A state.
#[derive(Debug)]
pub struct CryptState {
    /// Which algorithm ([`tally_abi::crypto::algorithm`]).
    pub algorithm: u32,
    /// What it does.
    pub class: Class,
    /// What it is for ([`tally_abi::crypto::mode`]).
    pub mode: u32,
    /// Handles of its keys, 0 for none.
    pub keys: [u32; 2],
    /// Where it stands.
    pub work: Work,
}

/// Where a state stands; nothing before it has begun.
pub enum Work {
    /// A digest.
    Digest(TryBox<Option<Hash>>),
    /// A code.
    Mac(TryBox<Option<Mac>>),
    /// A cipher.
    Cipher(TryBox<Option<Cipher>>),
    /// Authenticated encryption.
    Aead(TryBox<Option<Aead>>),
    /// Algorithms that do their work at once.
    AtOnce,
}

impl CryptState {
    /// One that has not begun.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(
        algorithm: u32,
        class: Class,
        mode: u32,
        keys: [u32; 2],
    ) -> Result<Self, HeapExhausted> {
        let work = match class {
            Class::Digest(_) => Work::Digest(TryBox::new(None)?),
            Class::Mac(_) => Work::Mac(TryBox::new(None)?),
            Class::Cipher(..) => Work::Cipher(TryBox::new(None)?),
            Class::Aead(_) => Work::Aead(TryBox::new(None)?),
            Class::Asymmetric | Class::Derivation => Work::AtOnce,
        };
        Ok(Self {
            algorithm,
            class,
            mode,
            keys,
            work,
        })
    }

    /// Bytes of the heap that it takes.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + match self.work {
                Work::Digest(_) => size_of::<Option<Hash>>(),
                Work::Mac(_) => size_of::<Option<Mac>>(),
                Work::Cipher(_) => size_of::<Option<Cipher>>(),
                Work::Aead(_) => size_of::<Option<Aead>>(),
                Work::AtOnce => 0,
            }
    }

    /// Goes on from where another one stands.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`: it is of another algorithm or mode; `BAD_STATE`: it stands nowhere.
    pub fn copy_from(&mut self, from: &Self) -> Result<(), TeeResult> {
        if (self.algorithm, self.mode) != (from.algorithm, from.mode) {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        match (&mut self.work, &from.work) {
            (Work::Digest(to), Work::Digest(from)) => (**to).clone_from(from),
            (Work::Mac(to), Work::Mac(from)) => (**to).clone_from(from),
            (Work::Cipher(to), Work::Cipher(from)) => (**to).clone_from(from),
            (Work::Aead(to), Work::Aead(from)) => (**to).clone_from(from),
            _ => return Err(TeeResult::BAD_STATE),
        }
        Ok(())
    }
}

impl Work {
    /// Ends it: what it had of a key goes.
    pub fn end(&mut self) {
        match self {
            Self::Digest(hash) => **hash = None,
            Self::Mac(mac) => **mac = None,
            Self::Cipher(cipher) => **cipher = None,
            Self::Aead(aead) => **aead = None,
            Self::AtOnce => {}
        }
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        match self {
            Self::Digest(hash) => hash.is_some(),
            Self::Mac(mac) => mac.is_some(),
            Self::Cipher(cipher) => cipher.is_some(),
            Self::Aead(aead) => aead.is_some(),
            Self::AtOnce => false,
        }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("has_begun", &self.has_begun())
            .finish()
    }
}
