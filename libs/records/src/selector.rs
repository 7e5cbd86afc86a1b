//! The subject of a list of the account.

use tally_abi::{TeeResult, TeeUuid};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

crate::codes! {
    /// Parts of the secure world.
    part: u32 {
        /// The kernel and all TAs.
        ALL = 0 "all",
        /// The kernel.
        KERNEL = 1 "kernel",
        /// All TAs.
        TAS = 2 "tas",
        /// All instances of one TA.
        TA = 3 "ta",
        /// One instance of it.
        INSTANCE = 4 "instance",
    }
}

/// What a list is about, 32 bytes. Lists of one heap (sites, classes, blocks, chunks) by a TA are of its first instance that
/// has memory; commands are counted per TA, whichever instance is meant.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Selector {
    /// One of [`part`].
    pub part: u32,
    /// The instance, if one is meant.
    pub instance: u32,
    /// The TA, if one is meant.
    pub uuid: TeeUuid,
    /// Only what is of this mark or later ones; 0: since ever.
    pub since: u32,
    /// Unused, zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Selector>() == 32);

impl Selector {
    /// The kernel and all TAs.
    pub const ALL: Self = Self::of(part::ALL);
    /// The kernel.
    pub const KERNEL: Self = Self::of(part::KERNEL);
    /// All TAs.
    pub const TAS: Self = Self::of(part::TAS);

    const fn of(part: u32) -> Self {
        Self {
            part,
            instance: 0,
            uuid: TeeUuid::nil(),
            since: 0,
            reserved: 0,
        }
    }

    /// All instances of a TA.
    #[must_use]
    pub const fn ta(uuid: TeeUuid) -> Self {
        Self {
            uuid,
            ..Self::of(part::TA)
        }
    }

    /// One instance of a TA.
    #[must_use]
    pub const fn instance(uuid: TeeUuid, instance: u32) -> Self {
        Self {
            instance,
            uuid,
            ..Self::of(part::INSTANCE)
        }
    }

    /// The same, of this mark and later ones.
    #[must_use]
    pub const fn since(self, mark: u32) -> Self {
        Self {
            since: mark,
            ..self
        }
    }

    /// Itself, if it makes sense.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`.
    pub fn checked(self) -> Result<Self, TeeResult> {
        let plain = Self {
            since: self.since,
            ..match self.part {
                part::TA => Self::ta(self.uuid),
                part::INSTANCE => Self::instance(self.uuid, self.instance),
                part::ALL | part::KERNEL | part::TAS => Self::of(self.part),
                _ => return Err(TeeResult::BAD_PARAMETERS),
            }
        };
        let makes_sense = plain == self && self.since <= u32::from(u16::MAX);
        makes_sense.then_some(self).ok_or(TeeResult::BAD_PARAMETERS)
    }

    /// Whether it names a TA.
    #[must_use]
    pub const fn names_a_ta(&self) -> bool {
        matches!(self.part, part::TA | part::INSTANCE)
    }

    /// The number of the instance, if one is meant.
    #[must_use]
    pub fn instance_number(&self) -> Option<u32> {
        (self.part == part::INSTANCE).then_some(self.instance)
    }

    /// Whether the kernel is meant.
    #[must_use]
    pub const fn means_the_kernel(&self) -> bool {
        matches!(self.part, part::ALL | part::KERNEL)
    }

    /// Whether an instance of a TA is meant.
    #[must_use]
    pub fn means(&self, uuid: TeeUuid, instance: u32) -> bool {
        match self.part {
            part::ALL | part::TAS => true,
            part::TA => self.uuid == uuid,
            part::INSTANCE => self.uuid == uuid && self.instance == instance,
            _ => false,
        }
    }
}
