//! Errors under the Teaclave SDK's names.
//!
//! **Invariant:** a code that has no name keeps its value.

use core::fmt;
use tally_abi::TeeResult;

/// Result of TEE operations.
pub type Result<T> = core::result::Result<T, Error>;

/// A result code other than success, and perhaps which layer it came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error {
    code: TeeResult,
    origin: Option<ErrorOrigin>,
}

macro_rules! kinds {
    ($($name:ident = $code:ident;)*) => {
        /// Kinds of errors.
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u32)]
        pub enum ErrorKind {
            $(
                #[doc = concat!("`TEE_ERROR_", stringify!($code), "`.")]
                $name = TeeResult::$code.0,
            )*
            /// A code without a name here.
            #[default]
            Unknown,
        }

        impl From<u32> for ErrorKind {
            fn from(code: u32) -> Self {
                match TeeResult(code) {
                    $(TeeResult::$code => Self::$name,)*
                    _ => Self::Unknown,
                }
            }
        }
    };
}

kinds! {
    CorruptObject = CORRUPT_OBJECT;
    StorageNotAvailable = STORAGE_NOT_AVAILABLE;
    Generic = GENERIC;
    AccessDenied = ACCESS_DENIED;
    Cancel = CANCEL;
    AccessConflict = ACCESS_CONFLICT;
    ExcessData = EXCESS_DATA;
    BadFormat = BAD_FORMAT;
    BadParameters = BAD_PARAMETERS;
    BadState = BAD_STATE;
    ItemNotFound = ITEM_NOT_FOUND;
    NotImplemented = NOT_IMPLEMENTED;
    NotSupported = NOT_SUPPORTED;
    NoData = NO_DATA;
    OutOfMemory = OUT_OF_MEMORY;
    Busy = BUSY;
    Communication = COMMUNICATION;
    Security = SECURITY;
    ShortBuffer = SHORT_BUFFER;
    ExternalCancel = EXTERNAL_CANCEL;
    Timeout = TIMEOUT;
    Overflow = OVERFLOW;
    TargetDead = TARGET_DEAD;
    StorageNoSpace = STORAGE_NO_SPACE;
    MacInvalid = MAC_INVALID;
    SignatureInvalid = SIGNATURE_INVALID;
    TimeNotSet = TIME_NOT_SET;
}

impl From<ErrorKind> for u32 {
    fn from(kind: ErrorKind) -> Self {
        kind as Self
    }
}

impl Error {
    /// An error of a kind.
    #[must_use]
    pub const fn new(kind: ErrorKind) -> Self {
        Self {
            code: TeeResult(kind as u32),
            origin: None,
        }
    }

    /// From a raw result code.
    #[must_use]
    pub const fn from_raw_error(code: u32) -> Self {
        Self {
            code: TeeResult(code),
            origin: None,
        }
    }

    /// The same error, from `origin`.
    #[must_use]
    pub const fn with_origin(mut self, origin: ErrorOrigin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::from(self.code.0)
    }

    /// Where it came from, if that is known.
    #[must_use]
    pub const fn origin(&self) -> Option<ErrorOrigin> {
        self.origin
    }

    /// The raw result code.
    #[must_use]
    pub const fn raw_code(&self) -> u32 {
        self.code.0
    }

    /// Its name.
    #[must_use]
    pub fn message(&self) -> &str {
        self.code.name().unwrap_or("unknown error")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin.map_or(0, u32::from);
        write!(
            f,
            "{} (error code {:#x}, origin {origin:#x})",
            self.message(),
            self.code.0
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for Error {}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl From<TeeResult> for Error {
    fn from(code: TeeResult) -> Self {
        Self { code, origin: None }
    }
}

/// No room for a collection to grow.
impl From<alloc::collections::TryReserveError> for Error {
    fn from(_: alloc::collections::TryReserveError) -> Self {
        Self::new(ErrorKind::OutOfMemory)
    }
}

/// Which layer an error comes from (`TEE_ORIGIN_*`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u32)]
pub enum ErrorOrigin {
    /// The API's implementation.
    API = 1,
    /// The way there.
    COMMS = 2,
    /// The trusted OS.
    TEE = 3,
    /// The trusted application.
    TA = 4,
    /// None of these.
    #[default]
    UNKNOWN,
}

impl From<ErrorOrigin> for u32 {
    fn from(origin: ErrorOrigin) -> Self {
        origin as Self
    }
}

impl From<u32> for ErrorOrigin {
    fn from(code: u32) -> Self {
        match code {
            1 => Self::API,
            2 => Self::COMMS,
            3 => Self::TEE,
            4 => Self::TA,
            _ => Self::UNKNOWN,
        }
    }
}
