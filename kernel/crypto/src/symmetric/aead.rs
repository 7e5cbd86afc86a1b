//! Authenticated encryption: AES-CCM and AES-GCM with a tag of some length.

use super::block::MAX_BLOCK;
use super::ccm::Ccm;
use super::gcm::Gcm;
use super::{Direction, same};
use tally_abi::TeeResult;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES-CCM.
    Ccm,
    /// AES-GCM.
    Gcm,
}

/// What is said of a text before it begins.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Bytes of the tag.
    pub tag: u64,
    /// Bytes of additional data. GCM need not know.
    pub aad: u64,
    /// Bytes of the text. GCM need not know.
    pub text: u64,
}

/// A text being encrypted or decrypted.
#[derive(Clone)]
pub struct Aead {
    mode: Mode,
    direction: Direction,
    tag_bytes: usize,
}

#[derive(Clone)]
enum Mode {
    Ccm(Ccm),
    Gcm(Gcm),
}

impl Aead {
    /// A text that begins.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`, `NOT_SUPPORTED`: lengths that there are none of; `BAD_STATE`: no key of this length.
    pub fn new(
        algorithm: Algorithm,
        direction: Direction,
        key: &[u8],
        nonce: &[u8],
        lengths: Lengths,
    ) -> Result<Self, TeeResult> {
        let tag_bytes = lengths.tag.min(MAX_BLOCK as u64 + 1) as usize;
        let mode = match algorithm {
            Algorithm::Ccm => {
                Mode::Ccm(Ccm::new(key, nonce, tag_bytes, lengths.aad, lengths.text)?)
            }
            Algorithm::Gcm if tag_bytes > MAX_BLOCK || nonce.is_empty() => {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            Algorithm::Gcm => Mode::Gcm(Gcm::new(key, nonce)?),
        };
        Ok(Self {
            mode,
            direction,
            tag_bytes,
        })
    }

    /// Bytes of the tag.
    #[must_use]
    pub const fn tag_bytes(&self) -> usize {
        self.tag_bytes
    }

    /// Takes in what is authenticated and not encrypted.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`, `BAD_STATE`: there may be no more.
    pub fn aad(&mut self, bytes: &[u8]) -> Result<(), TeeResult> {
        match &mut self.mode {
            Mode::Ccm(ccm) => ccm.aad(bytes),
            Mode::Gcm(gcm) => gcm.aad(bytes),
        }
    }

    /// Whether so many bytes of text may follow.
    ///
    /// # Errors
    /// `BAD_STATE`.
    pub fn expects(&self, bytes: u64) -> Result<(), TeeResult> {
        match &self.mode {
            Mode::Ccm(ccm) => ccm.expects(bytes),
            Mode::Gcm(_) => Ok(()),
        }
    }

    /// Does the next bytes of the text, where they are.
    ///
    /// # Errors
    /// As [`Self::expects`].
    pub fn text(&mut self, bytes: &mut [u8]) -> Result<(), TeeResult> {
        match &mut self.mode {
            Mode::Ccm(ccm) => ccm.text(self.direction, bytes),
            Mode::Gcm(gcm) => {
                gcm.text(self.direction, bytes);
                Ok(())
            }
        }
    }

    /// The tag of what was done: [`Self::tag_bytes`] of it.
    ///
    /// # Errors
    /// `BAD_STATE`: less was done than was said.
    pub fn tag(&self) -> Result<[u8; MAX_BLOCK], TeeResult> {
        match &self.mode {
            Mode::Ccm(ccm) => ccm.tag(),
            Mode::Gcm(gcm) => Ok(gcm.tag()),
        }
    }

    /// Confirms a tag.
    ///
    /// # Errors
    /// `MAC_INVALID`; `BAD_STATE`: less was done than was said.
    pub fn confirm(&self, tag: &[u8]) -> Result<(), TeeResult> {
        let is_same = same(&self.tag()?[..self.tag_bytes], tag);
        is_same.then_some(()).ok_or(TeeResult::MAC_INVALID)
    }
}
