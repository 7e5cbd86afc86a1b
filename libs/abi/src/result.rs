//! Result codes and their origins (GPD_SPE_010 §3.3.3, GPD_SPE_007 §4.4.2).

use core::fmt;

/// A `TEE_Result`/`TEEC_Result`: 0 is success.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct TeeResult(pub u32);

macro_rules! results {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl TeeResult {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name of the code without its `TEE_` prefix, if it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

results! {
    /// Done.
    SUCCESS = 0;
    /// Stored object damaged.
    CORRUPT_OBJECT = 0xf010_0001;
    /// Storage not reachable.
    STORAGE_NOT_AVAILABLE = 0xf010_0003;
    /// Unspecified failure.
    GENERIC = 0xffff_0000;
    /// Caller may not do this.
    ACCESS_DENIED = 0xffff_0001;
    /// Operation was cancelled.
    CANCEL = 0xffff_0002;
    /// Concurrent access refused.
    ACCESS_CONFLICT = 0xffff_0003;
    /// More data than asked for.
    EXCESS_DATA = 0xffff_0004;
    /// Input data not well formed.
    BAD_FORMAT = 0xffff_0005;
    /// Parameters not as expected.
    BAD_PARAMETERS = 0xffff_0006;
    /// Not in this state.
    BAD_STATE = 0xffff_0007;
    /// No such item.
    ITEM_NOT_FOUND = 0xffff_0008;
    /// Not implemented.
    NOT_IMPLEMENTED = 0xffff_0009;
    /// Not supported here.
    NOT_SUPPORTED = 0xffff_000a;
    /// Expected data was missing.
    NO_DATA = 0xffff_000b;
    /// A pool, quota or table is exhausted.
    OUT_OF_MEMORY = 0xffff_000c;
    /// In use; try again.
    BUSY = 0xffff_000d;
    /// The other side did not answer properly.
    COMMUNICATION = 0xffff_000e;
    /// A security check failed.
    SECURITY = 0xffff_000f;
    /// Buffer too small; the needed size is in the parameter.
    SHORT_BUFFER = 0xffff_0010;
    /// Cancelled from outside.
    EXTERNAL_CANCEL = 0xffff_0011;
    /// Time ran out.
    TIMEOUT = 0xffff_3001;
    /// A value does not fit.
    OVERFLOW = 0xffff_300f;
    /// The trusted application panicked or was killed.
    TARGET_DEAD = 0xffff_3024;
    /// Storage full.
    STORAGE_NO_SPACE = 0xffff_3041;
    /// MAC did not verify.
    MAC_INVALID = 0xffff_3071;
    /// Signature did not verify.
    SIGNATURE_INVALID = 0xffff_3072;
    /// A text was not encrypted for this key.
    CIPHERTEXT_INVALID = 0xf010_0006;
    /// TA time was never set.
    TIME_NOT_SET = 0xffff_5000;
}

impl TeeResult {
    /// `Ok(())` for success, the code itself otherwise.
    ///
    /// # Errors
    /// Any code but [`TeeResult::SUCCESS`].
    pub const fn ok(self) -> Result<(), Self> {
        if self.0 == 0 { Ok(()) } else { Err(self) }
    }

    /// Collapses a result into a code.
    #[must_use]
    pub fn from_result(result: Result<(), Self>) -> Self {
        result.err().unwrap_or(Self::SUCCESS)
    }
}

impl fmt::Display for TeeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#010x})", self.0),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

impl fmt::Debug for TeeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for TeeResult {}

/// Which layer a result comes from (`TEE_ORIGIN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Origin {
    /// The client API implementation.
    Api = 1,
    /// The path between the worlds.
    Comms = 2,
    /// The trusted OS.
    Tee = 3,
    /// The trusted application.
    TrustedApp = 4,
}

impl Origin {
    /// Reads an origin from the wire; unknown values count as [`Origin::Comms`].
    #[must_use]
    pub const fn from_wire(value: u32) -> Self {
        match value {
            1 => Self::Api,
            3 => Self::Tee,
            4 => Self::TrustedApp,
            _ => Self::Comms,
        }
    }
}
