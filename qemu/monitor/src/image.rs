//! The header of an arm64 Linux image, and where the image and its RAM disk go.
//!
//! **Invariant:** what [`place`] returns lies in RAM, behind the device tree, and does not overlap.
//!
//! Source: Linux `Documentation/arm64/booting.rst`.

use core::fmt;
use core::ops::Range;

use tally_board_virt::images::{DEVICE_TREE_MAX, LINUX_BASE};

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"ARM\x64";
/// What the image is aligned to before its offset is added.
const ALIGN: u64 = 2 << 20;

/// Why an image cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageError {
    /// Not an arm64 Linux image, or one of a kernel before 3.17.
    NotLinux,
    /// Big-endian.
    BigEndian,
    /// Image and RAM disk do not fit into RAM.
    TooLarge,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLinux => "not an arm64 Linux image",
            Self::BigEndian => "a big-endian Linux image",
            Self::TooLarge => "Linux and its RAM disk do not fit into RAM",
        })
    }
}

/// Where things go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The image's first byte, which is its entry point.
    pub(crate) image: u64,
    /// The RAM disk, if there is one.
    pub(crate) ramdisk: Option<Range<u64>>,
}

/// Finds a place in `ram` for an image of `image_bytes` that begins with `header`, and for a RAM
/// disk of `ramdisk_bytes`.
pub(crate) fn place(
    header: &[u8; HEADER_BYTES],
    image_bytes: u32,
    ramdisk_bytes: u32,
    ram: &Range<u64>,
) -> Result<Placement, ImageError> {
    let field = |at: usize| -> u64 {
        let bytes = header.get(at..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    if header.get(56..60) != Some(&MAGIC[..]) {
        return Err(ImageError::NotLinux);
    }
    let (text_offset, memory_bytes, flags) = (field(8), field(16), field(24));
    if memory_bytes == 0 {
        return Err(ImageError::NotLinux);
    }
    if flags & 1 != 0 {
        return Err(ImageError::BigEndian);
    }
    let fits = || -> Option<Placement> {
        let image = LINUX_BASE.max(ram.start + DEVICE_TREE_MAX);
        let image = image.checked_next_multiple_of(ALIGN)?;
        let image = image.checked_add(text_offset)?;
        let memory_bytes = memory_bytes.max(image_bytes.into());
        let image_end = image.checked_add(memory_bytes)?;
        let start = image_end.checked_next_multiple_of(ALIGN)?;
        let end = start.checked_add(ramdisk_bytes.into())?;
        (image_end <= ram.end && (ramdisk_bytes == 0 || end <= ram.end)).then_some(Placement {
            image,
            ramdisk: (ramdisk_bytes > 0).then_some(start..end),
        })
    };
    fits().ok_or(ImageError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_board_virt::RAM_BASE;

    const RAM: Range<u64> = RAM_BASE..RAM_BASE + (512 << 20);

    fn header(text_offset: u64, memory_bytes: u64, flags: u64) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[8..16].copy_from_slice(&text_offset.to_le_bytes());
        header[16..24].copy_from_slice(&memory_bytes.to_le_bytes());
        header[24..32].copy_from_slice(&flags.to_le_bytes());
        header[56..60].copy_from_slice(&MAGIC);
        header
    }

    #[test]
    fn the_ram_disk_lies_behind_what_the_kernel_uses() {
        let placed = place(&header(0, 0x0210_0000, 10), 0x0200_0000, 0x1234, &RAM).unwrap();
        assert_eq!(placed.image, LINUX_BASE);
        let start = LINUX_BASE + 0x0220_0000;
        assert_eq!(placed.ramdisk, Some(start..start + 0x1234));
    }

    #[test]
    fn an_old_text_offset_is_kept() {
        let placed = place(&header(0x8_0000, 0x10_0000, 2), 0x1000, 0, &RAM).unwrap();
        assert_eq!(placed.image, LINUX_BASE + 0x8_0000);
        assert_eq!(placed.ramdisk, None);
    }

    #[test]
    fn other_files_are_refused() {
        let mut other = header(0, 0x1000, 0);
        other[56] = 0;
        assert_eq!(place(&other, 1, 0, &RAM), Err(ImageError::NotLinux));
        assert_eq!(
            place(&header(0, 0, 0), 1, 0, &RAM),
            Err(ImageError::NotLinux)
        );
        assert_eq!(
            place(&header(0, 1, 1), 1, 0, &RAM),
            Err(ImageError::BigEndian)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text_offset, memory_bytes, ramdisk_bytes) in [
            (0, 0x1c00_0001, 0),
            (0, 0x1000_0000, 0x0c00_0001),
            (u64::MAX, 1, 0),
            (0, u64::MAX, 1),
            (1, u64::MAX - LINUX_BASE - 1, 1),
        ] {
            let header = header(text_offset, memory_bytes, 0);
            let placed = place(&header, 0, ramdisk_bytes, &RAM);
            assert_eq!(placed, Err(ImageError::TooLarge));
        }
    }
}
