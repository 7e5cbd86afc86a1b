//! Addresses and pages as types, so that a physical address is never used as a virtual one.
//!
//! **Invariant:** a [`PhysPage`] is page-aligned.

use core::fmt;

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;
/// Bits of the offset in a page.
pub const PAGE_SHIFT: u32 = 12;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further, or `None` where that wraps.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Offset in its page.
            #[must_use]
            pub const fn page_offset(self) -> usize {
                self.0 as usize & (PAGE_SIZE - 1)
            }

            /// Start of its page.
            #[must_use]
            pub const fn page_base(self) -> Self {
                Self(self.0 & !(PAGE_SIZE as u64 - 1))
            }

            /// Whether it is a multiple of `align` (a power of two).
            #[must_use]
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A physical address, secure or not as the context says.
    PhysAddr
}
address! {
    /// An address in a TA's address space. An allegation until the address space confirmed it.
    UserVa
}

/// The number of a physical page: its address is `number * PAGE_SIZE`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct PhysPage(u64);

impl PhysPage {
    /// The page that starts at `pa`, or `None` if `pa` is not page-aligned.
    #[must_use]
    pub const fn at(pa: PhysAddr) -> Option<Self> {
        if pa.page_offset() == 0 {
            Some(Self(pa.0 >> PAGE_SHIFT))
        } else {
            None
        }
    }

    /// The page that contains `pa`.
    #[must_use]
    pub const fn containing(pa: PhysAddr) -> Self {
        Self(pa.0 >> PAGE_SHIFT)
    }

    /// Its first address.
    #[must_use]
    pub const fn addr(self) -> PhysAddr {
        PhysAddr(self.0 << PAGE_SHIFT)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The page `count` further.
    #[must_use]
    pub const fn offset(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

/// How many pages hold `bytes`.
#[must_use]
pub const fn pages_for(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_SIZE)
}
