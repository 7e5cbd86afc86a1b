//! Faults of a TA's image: the kernel finds them in its signed header, `ldelf` in its ELF file.

use crate::TeeResult;
use core::fmt;

/// Bytes of an image at most.
pub const MAX_IMAGE_BYTES: u64 = 8 << 20;

macro_rules! image_faults {
    ($($(#[$about:meta])* $name:ident = $code:literal $result:ident $text:literal,)*) => {
        /// Why an image is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum ImageFault {
            $($(#[$about])* $name = $code,)*
        }

        impl ImageFault {
            /// Every code with its words.
            pub const WORDS: &'static [(u32, &'static str)] = &[$(($code, $text)),*];

            /// The reason that has this code, if one has.
            #[must_use]
            pub const fn from_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The reason in words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl From<ImageFault> for TeeResult {
            fn from(fault: ImageFault) -> Self {
                match fault {
                    $(ImageFault::$name => Self::$result,)*
                }
            }
        }
    };
}

image_faults! {
    /// No byte.
    Empty = 1 BAD_FORMAT "it is empty",
    /// Larger than any image may be.
    TooLarge = 2 BAD_FORMAT "it is larger than 8 MiB",
    /// Shorter than its signed headers, or than they say.
    ShortImage = 3 SECURITY "it ends before its headers do, or is shorter than they say",
    /// Longer than its headers say.
    TrailingData = 4 SECURITY "bytes follow its end",
    /// No signed header at its start.
    NotSigned = 5 SECURITY "it is not signed",
    /// A kind of image other than a TA with a bootstrap header.
    Kind = 6 SECURITY "it is encrypted, of a subkey or of a kind without a UUID in its header",
    /// Digest of another size than SHA-256's, or a signature too long.
    Sizes = 7 SECURITY "its digest is not SHA-256, or its signature too long",
    /// For another TA than was asked for.
    OtherUuid = 8 SECURITY "it is signed for another TA",
    /// Content does not match the digest.
    Altered = 9 SECURITY "it was altered after it was signed",
    /// The signature is not the key's.
    Signature = 10 SECURITY "it is signed with no key that the kernel trusts",
    /// The kernel was built without a key, so that nothing can be signed with it.
    NoKey = 11 SECURITY "the kernel was built without a key",
    /// What it has in its header is not known, so that it cannot be kept.
    UnknownFlags = 12 BAD_FORMAT "it has TA flags that are not known, or not supported",
    /// The loader laid it out in a way that cannot be run.
    BadLayout = 13 BAD_FORMAT "it has no stack or entry point that can be used",
    /// The file ends before its headers do.
    Truncated = 32 BAD_FORMAT "its ELF file is too short",
    /// Not a 64-bit little-endian ELF file of version 1.
    NotElf = 33 BAD_FORMAT "it is not a 64-bit little-endian ELF file",
    /// Made for another processor.
    WrongMachine = 34 BAD_FORMAT "it is not for AArch64",
    /// Not position-independent (`ET_DYN`).
    NotPositionIndependent = 35 BAD_FORMAT "it is not position-independent",
    /// A program header of unknown size, or too many of them.
    BadProgramHeaders = 36 BAD_FORMAT "bad program headers",
    /// More loadable segments than `ldelf` takes.
    TooManySegments = 37 BAD_FORMAT "too many segments",
    /// Nothing to load.
    NoSegments = 38 BAD_FORMAT "nothing to load",
    /// A segment's bytes lie outside the file.
    SegmentOutsideFile = 39 BAD_FORMAT "a segment outside the file",
    /// A segment is smaller in memory than in the file.
    SegmentShrinks = 40 BAD_FORMAT "a segment smaller in memory than in the file",
    /// File offset and address of a segment differ within a page.
    SegmentMisaligned = 41 BAD_FORMAT "a segment whose offset and address disagree",
    /// A segment wraps around the address space, or the image spans more than `ldelf` takes.
    TooBig = 42 BAD_FORMAT "it is too big in memory",
    /// Two segments overlap or are out of order.
    Overlap = 43 SECURITY "overlapping segments",
    /// Two segments with different permissions share a page.
    SharedPage = 44 SECURITY "segments that share a page",
    /// A segment is writable and executable.
    WritableAndExecutable = 45 SECURITY "a segment that is writable and executable",
    /// The first segment is not at link address 0.
    NotAtZero = 46 BAD_FORMAT "it is not linked at 0",
    /// No TA header where it should be.
    NoHead = 47 BAD_FORMAT "no TA header",
    /// A TA header with values that are not allowed.
    BadHead = 48 BAD_FORMAT "a bad TA header",
    /// The TA header names another TA.
    WrongUuid = 49 SECURITY "another TA's header",
    /// A stack of no or too many bytes.
    BadStack = 50 BAD_FORMAT "a bad stack size",
    /// The entry point lies outside executable segments.
    EntryNotExecutable = 51 BAD_FORMAT "its entry point is not executable",
    /// A malformed dynamic section.
    BadDynamic = 52 BAD_FORMAT "a bad dynamic section",
    /// A relocation of a kind that is not supported.
    UnknownRelocation = 53 NOT_SUPPORTED "a relocation of an unknown kind",
    /// A relocation outside the file's bytes of a writable segment.
    RelocationTarget = 54 SECURITY "a relocation outside writable data",
    /// A relocation against a symbol that the image does not define.
    UndefinedSymbol = 55 BAD_FORMAT "an undefined symbol",
    /// The image needs a shared library that nobody can find.
    NeedsLibrary = 56 ITEM_NOT_FOUND "it needs a shared library that has no UUID for a name, or is not loaded",
    /// The image asks for a program interpreter.
    NeedsInterpreter = 57 NOT_SUPPORTED "it needs an interpreter",
    /// The image needs thread-local storage that nobody gives it.
    NeedsTls = 58 NOT_SUPPORTED "it needs thread-local storage, aligned above 16 bytes or without __elf_phdr_info",
    /// The memory given is smaller than the plan.
    MemoryTooSmall = 59 GENERIC "too little memory was mapped for it",
    /// More libraries than a TA may have.
    TooManyLibraries = 60 NOT_SUPPORTED "it needs more than 15 shared libraries",
    /// What the kit's library finds the modules by cannot be used.
    BadPhdrInfo = 61 BAD_FORMAT "its __elf_phdr_info lies outside it, or is of another version",
}

impl fmt::Display for ImageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for ImageFault {}

impl ImageFault {
    /// Its code.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{ImageFault, MAX_IMAGE_BYTES};
    use std::format;

    #[test]
    fn codes_and_reasons_are_of_one_another() {
        for (code, text) in ImageFault::WORDS {
            let fault = ImageFault::from_code(*code).unwrap();
            assert_eq!((fault.code(), fault.text()), (*code, *text));
        }
        assert_eq!(ImageFault::from_code(0), None);
    }

    #[test]
    fn a_size_in_words_is_the_constant() {
        let mib = format!("{} MiB", MAX_IMAGE_BYTES >> 20);
        assert!(ImageFault::TooLarge.text().ends_with(&mib), "{mib}");
    }
}
