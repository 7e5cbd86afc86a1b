//! Image sizes: how much memory to request before a TA's image is fetched.
//!
//! An image comes by three requests (memory, the image, memory back) if there is room for it, and by six if
//! not. Asking for the size first makes four of them, and is done only after a guess was refused. Too much
//! room is not for nothing either: Linux takes and zeroes every page of it.
//!
//! **Invariant:** what is remembered is the size of an image that was loaded; a full table forgets the
//! oldest. No room is guessed for an unknown image after the normal world refused room, until it lends as
//! much as the guess again.

use tally_abi::TeeUuid;
use tally_mem::addr::PAGE_SIZE;

/// Room for an image of which nothing is known, in bytes. TAs in Rust or C without large tables are of 50 to
/// 110 KiB with their signatures; the pages that are too many then cost less than a request to a supplicant.
const UNKNOWN: u64 = 128 << 10;

/// Images remembered.
const REMEMBERED: usize = 32;

/// Sizes of images that were loaded.
#[derive(Debug)]
pub struct ImageSizes {
    sizes: [(TeeUuid, u64); REMEMBERED],
    /// The oldest.
    next: usize,
    /// Room was refused, and as much as [`UNKNOWN`] was not lent since.
    refused: bool,
}

impl ImageSizes {
    /// None is known.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sizes: [(TeeUuid::nil(), 0); REMEMBERED],
            next: 0,
            refused: false,
        }
    }

    /// Bytes to ask for before the image of `uuid` is asked for; `None` if its size has to be asked for first.
    #[must_use]
    pub fn room_for(&self, uuid: TeeUuid) -> Option<u64> {
        let known = self
            .sizes
            .iter()
            .find(|(known, len)| *known == uuid && *len != 0);
        match known {
            Some((_, len)) => Some(len.next_multiple_of(PAGE_SIZE as u64)),
            None if self.refused => None,
            None => Some(UNKNOWN),
        }
    }

    /// The normal world lent `room` bytes for an image.
    pub fn lent(&mut self, room: u64) {
        self.refused &= room < UNKNOWN;
    }

    /// The normal world refused the room for the image of `uuid`, which may be smaller by now than it was.
    pub fn refused(&mut self, uuid: TeeUuid) {
        self.refused = true;
        for entry in &mut self.sizes {
            if entry.0 == uuid {
                *entry = (TeeUuid::nil(), 0);
            }
        }
    }

    /// The image of `uuid` had `len` bytes.
    pub fn remember(&mut self, uuid: TeeUuid, len: u64) {
        let known = self.sizes.iter().position(|(known, _)| *known == uuid);
        let at = known.unwrap_or(self.next);
        if known.is_none() {
            self.next = (at + 1) % REMEMBERED;
        }
        self.sizes[at] = (uuid, len);
    }
}

impl Default for ImageSizes {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{ImageSizes, REMEMBERED, UNKNOWN};
    use tally_abi::TeeUuid;

    #[test]
    fn room_is_in_pages_and_the_last_size_counts() {
        let mut sizes = ImageSizes::new();
        let uuid = TeeUuid::from_u128(7);
        assert_eq!(sizes.room_for(uuid), Some(UNKNOWN));
        sizes.remember(uuid, 5000);
        assert_eq!(sizes.room_for(uuid), Some(8192));
        sizes.remember(uuid, 4096);
        assert_eq!(sizes.room_for(uuid), Some(4096));
        assert_eq!(sizes.room_for(TeeUuid::nil()), Some(UNKNOWN));
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let mut sizes = ImageSizes::new();
        for n in 0..=REMEMBERED as u128 {
            sizes.remember(TeeUuid::from_u128(n + 1), 1);
        }
        assert_eq!(sizes.room_for(TeeUuid::from_u128(1)), Some(UNKNOWN));
        assert_eq!(sizes.room_for(TeeUuid::from_u128(2)), Some(4096));
        assert_eq!(
            sizes.room_for(TeeUuid::from_u128(REMEMBERED as u128 + 1)),
            Some(4096)
        );
    }

    #[test]
    fn after_a_refusal_sizes_are_asked_for_until_as_much_is_lent() {
        let mut sizes = ImageSizes::new();
        let (grown, other) = (TeeUuid::from_u128(7), TeeUuid::from_u128(8));
        sizes.remember(grown, 5000);
        sizes.remember(other, 6000);
        sizes.refused(grown);
        assert_eq!(sizes.room_for(grown), None);
        assert_eq!(sizes.room_for(other), Some(8192));
        assert_eq!(sizes.room_for(TeeUuid::nil()), None);
        sizes.lent(UNKNOWN - 1);
        assert_eq!(sizes.room_for(grown), None);
        sizes.lent(UNKNOWN);
        assert_eq!(sizes.room_for(grown), Some(UNKNOWN));
    }
}
