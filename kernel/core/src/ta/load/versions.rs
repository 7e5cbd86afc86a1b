//! Versions of TAs and subkeys: an older one than was seen since boot is refused.
//!
//! **Invariant:** a version only grows until the kernel ends; who is not in the table has version 0.

use crate::ta::load::image::{Refusal, Versioned};
use tally_abi::TeeUuid;
use tally_abi::image::ImageFault;

/// TAs and subkeys with versions above 0, at most.
const MAX_SEEN: usize = 128;

/// Newest versions seen. There is room for all from the start: what a TA leaves here takes no memory.
#[derive(Debug)]
pub struct Versions([Option<Seen>; MAX_SEEN]);

#[derive(Clone, Copy, Debug)]
struct Seen {
    of: (Versioned, TeeUuid),
    version: u32,
}

impl Versions {
    /// None was seen.
    #[must_use]
    pub const fn none() -> Self {
        Self([None; MAX_SEEN])
    }

    /// Takes a version that somebody whom the kernel trusts signed.
    ///
    /// # Errors
    /// An older one than before; too little memory for one above 0 of whom none was seen.
    pub fn admit(&mut self, of: Versioned, uuid: TeeUuid, version: u32) -> Result<(), Refusal> {
        match self
            .0
            .iter_mut()
            .flatten()
            .find(|seen| seen.of == (of, uuid))
        {
            Some(seen) if version < seen.version => Err(Refusal::Image(match of {
                Versioned::Ta => ImageFault::OldVersion,
                Versioned::Subkey => ImageFault::OldSubkey,
            })),
            Some(seen) => {
                seen.version = version;
                Ok(())
            }
            None if version == 0 => Ok(()),
            None => {
                let free = self.0.iter_mut().find(|seen| seen.is_none());
                let of = (of, uuid);
                *free.ok_or(Refusal::NoMemory)? = Some(Seen { of, version });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_SEEN, Versions};
    use crate::ta::load::image::Refusal;
    use crate::ta::load::image::Versioned::{Subkey, Ta};
    use tally_abi::TeeUuid;
    use tally_abi::image::ImageFault;

    #[test]
    fn an_older_version_is_refused_and_a_full_table_forgets_none() {
        let mut versions = Versions::none();
        let uuid = TeeUuid::from_u128(7);
        let old = |fault| Err(Refusal::Image(fault));
        assert_eq!(versions.admit(Ta, uuid, 2), Ok(()));
        assert_eq!(versions.admit(Ta, uuid, 2), Ok(()));
        for version in [0, 1] {
            let refused = versions.admit(Ta, uuid, version);
            assert_eq!(refused, old(ImageFault::OldVersion));
        }
        // A subkey may have a TA's UUID, and has a version of its own.
        assert_eq!(versions.admit(Subkey, uuid, 1), Ok(()));
        assert_eq!(versions.admit(Subkey, uuid, 0), old(ImageFault::OldSubkey));
        assert_eq!(versions.admit(Ta, uuid, u32::MAX), Ok(()));
        for n in 2..MAX_SEEN as u128 {
            assert_eq!(versions.admit(Ta, TeeUuid::from_u128(100 + n), 1), Ok(()));
        }
        let other = TeeUuid::from_u128(8);
        assert_eq!(versions.admit(Ta, other, 1), Err(Refusal::NoMemory));
        assert_eq!(versions.admit(Ta, other, 0), Ok(()));
        assert_eq!(versions.admit(Ta, uuid, 3), old(ImageFault::OldVersion));
    }
}
