//! Errors of the Client API: a result code and the layer it comes from.
//!
//! **Invariant:** an [`Error`] is never a success.

use core::fmt;
use tally_abi::{Origin, TeeResult};

/// Result of the Client API.
pub type Result<T> = core::result::Result<T, Error>;

/// The layer an error comes from (GPD_SPE_007 §4.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorOrigin {
    /// This crate.
    API,
    /// The path between the worlds.
    COMMS,
    /// The trusted OS.
    TEE,
    /// The trusted application.
    TA,
    /// Not stated.
    UNKNOWN,
}

impl From<Origin> for ErrorOrigin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Api => Self::API,
            Origin::Comms => Self::COMMS,
            Origin::Tee => Self::TEE,
            Origin::TrustedApp => Self::TA,
        }
    }
}

impl fmt::Display for ErrorOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::API => "client API",
            Self::COMMS => "communication",
            Self::TEE => "trusted OS",
            Self::TA => "trusted application",
            Self::UNKNOWN => "unknown origin",
        })
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:ident;)*) => {
        /// What went wrong (GPD_SPE_007 §4.4.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
            /// A code without a name of its own.
            Unknown,
        }

        impl ErrorKind {
            const fn from_result(result: TeeResult) -> Self {
                match result {
                    $(TeeResult::$code => Self::$kind,)*
                    _ => Self::Unknown,
                }
            }

            const fn to_result(self) -> TeeResult {
                match self {
                    $(Self::$kind => TeeResult::$code,)*
                    Self::Unknown => TeeResult::GENERIC,
                }
            }
        }
    };
}

kinds! {
    /// Stored object damaged.
    CorruptObject = CORRUPT_OBJECT;
    /// Storage not reachable.
    StorageNotAvailable = STORAGE_NOT_AVAILABLE;
    /// Unspecified failure.
    Generic = GENERIC;
    /// Caller may not do this.
    AccessDenied = ACCESS_DENIED;
    /// Operation was cancelled.
    Cancel = CANCEL;
    /// Concurrent access refused.
    AccessConflict = ACCESS_CONFLICT;
    /// More data than asked for.
    ExcessData = EXCESS_DATA;
    /// Input data not well formed.
    BadFormat = BAD_FORMAT;
    /// Parameters not as expected.
    BadParameters = BAD_PARAMETERS;
    /// Not in this state.
    BadState = BAD_STATE;
    /// No such item.
    ItemNotFound = ITEM_NOT_FOUND;
    /// Not implemented.
    NotImplemented = NOT_IMPLEMENTED;
    /// Not supported.
    NotSupported = NOT_SUPPORTED;
    /// Expected data was missing.
    NoData = NO_DATA;
    /// A pool, quota or table is exhausted.
    OutOfMemory = OUT_OF_MEMORY;
    /// In use; try again.
    Busy = BUSY;
    /// The other side did not answer properly.
    Communication = COMMUNICATION;
    /// A security check failed.
    Security = SECURITY;
    /// Buffer too small.
    ShortBuffer = SHORT_BUFFER;
    /// Cancelled from outside.
    ExternalCancel = EXTERNAL_CANCEL;
    /// The trusted application panicked or was killed.
    TargetDead = TARGET_DEAD;
    /// Storage full.
    StorageNoSpace = STORAGE_NO_SPACE;
}

/// A failed call: code and origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    code: TeeResult,
    origin: ErrorOrigin,
}

impl Error {
    /// An error of this crate's own.
    #[must_use]
    pub const fn new(kind: ErrorKind) -> Self {
        Self {
            code: kind.to_result(),
            origin: ErrorOrigin::API,
        }
    }

    /// From a result code; success (which is no error) counts as [`ErrorKind::Generic`].
    #[must_use]
    pub const fn from_raw_error(code: u32) -> Self {
        Self::from_result(TeeResult(code), ErrorOrigin::UNKNOWN)
    }

    /// From a result code and where it comes from.
    #[must_use]
    pub const fn from_result(code: TeeResult, origin: ErrorOrigin) -> Self {
        let code = if code.0 == 0 {
            TeeResult::GENERIC
        } else {
            code
        };
        Self { code, origin }
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::from_result(self.code)
    }

    /// The code as a number.
    #[must_use]
    pub const fn raw_code(&self) -> u32 {
        self.code.0
    }

    /// The code.
    #[must_use]
    pub const fn result(&self) -> TeeResult {
        self.code
    }

    /// Which layer says so.
    #[must_use]
    pub const fn origin(&self) -> ErrorOrigin {
        self.origin
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from the {}", self.code, self.origin)
    }
}

impl core::error::Error for Error {}
