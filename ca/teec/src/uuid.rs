//! UUIDs under the Client API's name.
//!
//! **Invariant:** holds the same 128 bits as [`TeeUuid`].

use core::fmt;
use tally_abi::TeeUuid;

use crate::{Error, ErrorKind};

/// Names a trusted application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid(pub TeeUuid);

impl Uuid {
    /// Reads the usual hexadecimal form.
    ///
    /// # Errors
    /// [`ErrorKind::BadFormat`] if `text` is not a UUID.
    pub fn parse_str(text: &str) -> crate::Result<Self> {
        text.parse()
            .map(Self)
            .map_err(|_| Error::new(ErrorKind::BadFormat))
    }
}

impl From<TeeUuid> for Uuid {
    fn from(uuid: TeeUuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
