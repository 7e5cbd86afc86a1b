//! Refusal reasons of an image.
//!
//! **Invariant:** every reason has one result code, chosen in one place.

use core::fmt;
use tally_abi::TeeResult;

/// Why an image is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The file ends before its headers do.
    Truncated,
    /// Not a 64-bit little-endian ELF file of version 1.
    NotElf,
    /// Made for another processor.
    WrongMachine,
    /// Not position-independent (`ET_DYN`).
    NotPositionIndependent,
    /// A program header of unknown size, or too many of them.
    BadProgramHeaders,
    /// More loadable segments than [`crate::MAX_SEGMENTS`].
    TooManySegments,
    /// Nothing to load.
    NoSegments,
    /// A segment's bytes lie outside the file.
    SegmentOutsideFile,
    /// A segment is smaller in memory than in the file.
    SegmentShrinks,
    /// File offset and address of a segment differ within a page.
    SegmentMisaligned,
    /// A segment wraps around the address space, or the image spans more than [`crate::MAX_SPAN`].
    TooBig,
    /// Two segments overlap or are out of order.
    Overlap,
    /// Two segments with different permissions share a page.
    SharedPage,
    /// A segment is writable and executable.
    WritableAndExecutable,
    /// The first segment is not at link address 0.
    NotAtZero,
    /// No TA header where it should be.
    NoHead,
    /// A TA header with values that are not allowed.
    BadHead,
    /// The TA header names another TA.
    WrongUuid,
    /// A stack of no or too many bytes.
    BadStack,
    /// The entry point lies outside executable segments.
    EntryNotExecutable,
    /// A malformed dynamic section.
    BadDynamic,
    /// A relocation of a kind that is not supported.
    UnknownRelocation,
    /// A relocation outside the file's bytes of a writable segment.
    RelocationTarget,
    /// A relocation against a symbol that the image does not define.
    UndefinedSymbol,
    /// The image needs a shared library.
    NeedsLibrary,
    /// The image asks for a program interpreter.
    NeedsInterpreter,
    /// The image needs thread-local storage.
    NeedsTls,
    /// The memory given is smaller than the plan.
    MemoryTooSmall,
}

impl From<LoadError> for TeeResult {
    fn from(err: LoadError) -> Self {
        // No `_` arm: a new reason must choose its code.
        match err {
            LoadError::Truncated
            | LoadError::NotElf
            | LoadError::WrongMachine
            | LoadError::NotPositionIndependent
            | LoadError::BadProgramHeaders
            | LoadError::TooManySegments
            | LoadError::NoSegments
            | LoadError::SegmentOutsideFile
            | LoadError::SegmentShrinks
            | LoadError::SegmentMisaligned
            | LoadError::TooBig
            | LoadError::NotAtZero
            | LoadError::NoHead
            | LoadError::BadHead
            | LoadError::BadStack
            | LoadError::EntryNotExecutable
            | LoadError::BadDynamic
            | LoadError::UndefinedSymbol => Self::BAD_FORMAT,
            LoadError::Overlap
            | LoadError::SharedPage
            | LoadError::WritableAndExecutable
            | LoadError::RelocationTarget
            | LoadError::WrongUuid => Self::SECURITY,
            LoadError::UnknownRelocation
            | LoadError::NeedsLibrary
            | LoadError::NeedsInterpreter
            | LoadError::NeedsTls => Self::NOT_SUPPORTED,
            LoadError::MemoryTooSmall => Self::GENERIC,
        }
    }
}

impl LoadError {
    /// One line for the console.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "file too short",
            Self::NotElf => "not a 64-bit little-endian ELF file",
            Self::WrongMachine => "not for AArch64",
            Self::NotPositionIndependent => "not position-independent",
            Self::BadProgramHeaders => "bad program headers",
            Self::TooManySegments => "too many segments",
            Self::NoSegments => "nothing to load",
            Self::SegmentOutsideFile => "segment outside the file",
            Self::SegmentShrinks => "segment smaller in memory than in the file",
            Self::SegmentMisaligned => "segment's offset and address disagree",
            Self::TooBig => "image too big",
            Self::Overlap => "overlapping segments",
            Self::SharedPage => "segments share a page",
            Self::WritableAndExecutable => "segment writable and executable",
            Self::NotAtZero => "not linked at 0",
            Self::NoHead => "no TA header",
            Self::BadHead => "bad TA header",
            Self::WrongUuid => "another TA's header",
            Self::BadStack => "bad stack size",
            Self::EntryNotExecutable => "entry point not executable",
            Self::BadDynamic => "bad dynamic section",
            Self::UnknownRelocation => "unknown relocation",
            Self::RelocationTarget => "relocation outside writable data",
            Self::UndefinedSymbol => "undefined symbol",
            Self::NeedsLibrary => "needs a shared library",
            Self::NeedsInterpreter => "needs an interpreter",
            Self::NeedsTls => "needs thread-local storage",
            Self::MemoryTooSmall => "memory too small",
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl core::error::Error for LoadError {}
