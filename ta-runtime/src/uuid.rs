//! UUIDs under the Teaclave SDK's names.
//!
//! **Invariant:** the same identity as [`TeeUuid`], in the same layout.

use crate::{Error, ErrorKind, Result};
use core::fmt;
use tally_abi::TeeUuid;

/// Identity of a TA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid {
    raw: TeeUuid,
}

impl Uuid {
    /// From the usual string.
    ///
    /// # Errors
    /// `BadFormat`.
    pub fn parse_str(input: &str) -> Result<Self> {
        let raw = input
            .parse()
            .map_err(|_| Error::new(ErrorKind::BadFormat))?;
        Ok(Self { raw })
    }

    /// From big-endian bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self {
            raw: TeeUuid::from_bytes(bytes),
        }
    }

    /// From a slice of big-endian bytes.
    ///
    /// # Errors
    /// `BadFormat` when they are not 16.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes
            .try_into()
            .map_err(|_| Error::new(ErrorKind::BadFormat))?;
        Ok(Self::from_bytes(bytes))
    }

    /// From its fields.
    #[must_use]
    pub const fn new_raw(
        time_low: u32,
        time_mid: u16,
        time_hi_and_version: u16,
        clock_seq_and_node: [u8; 8],
    ) -> Self {
        Self {
            raw: TeeUuid {
                time_low,
                time_mid,
                time_hi_and_version,
                clock_seq_and_node,
            },
        }
    }

    pub(crate) const fn raw(&self) -> &TeeUuid {
        &self.raw
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.raw, f)
    }
}

impl From<TeeUuid> for Uuid {
    fn from(raw: TeeUuid) -> Self {
        Self { raw }
    }
}
