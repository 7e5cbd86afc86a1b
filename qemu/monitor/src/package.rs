//! The header in flash that says where the kernel's image is.
//!
//! **Invariant:** an image that [`find_kernel`] returns lies in flash, clear of the header, and fits
//! where the kernel is linked.

use core::fmt;
use core::ops::Range;

use tally_board_virt as virt;

/// Size of the header in bytes: magic (u64), offset (u32), size (u32), little-endian.
pub(crate) const HEADER_BYTES: usize = 16;
/// What the image is copied in: one cache line of QEMU's CPUs, in bytes.
pub(crate) const LINE_BYTES: u64 = 64;

/// Why there is no kernel to load. `Display` is what to tell on the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackageError {
    /// The header does not begin with `PACKAGE_MAGIC`.
    NoMagic,
    /// The image is empty, unaligned, in the header or the monitor, or ends beyond flash.
    BadBounds,
    /// The image is larger than the kernel's part of secure RAM.
    TooLarge,
}

impl fmt::Display for PackageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMagic => "no package header",
            Self::BadBounds => "kernel image out of bounds",
            Self::TooLarge => "kernel image larger than secure RAM",
        })
    }
}

/// Checks `header` and returns the image's address range in flash (start aligned to [`LINE_BYTES`]).
pub(crate) fn find_kernel(header: [u8; HEADER_BYTES]) -> Result<Range<u64>, PackageError> {
    let [
        m0,
        m1,
        m2,
        m3,
        m4,
        m5,
        m6,
        m7,
        o0,
        o1,
        o2,
        o3,
        s0,
        s1,
        s2,
        s3,
    ] = header;
    if u64::from_le_bytes([m0, m1, m2, m3, m4, m5, m6, m7]) != virt::images::PACKAGE_MAGIC {
        return Err(PackageError::NoMagic);
    }
    let offset = u64::from(u32::from_le_bytes([o0, o1, o2, o3]));
    let size = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
    let end = offset + size;
    let first = virt::images::PACKAGE_OFFSET + HEADER_BYTES as u64;
    if size == 0 || offset < first || !offset.is_multiple_of(LINE_BYTES) || end > virt::FLASH_BYTES
    {
        return Err(PackageError::BadBounds);
    }
    if size > virt::SECURE_RAM_END - virt::KERNEL_BASE {
        return Err(PackageError::TooLarge);
    }
    Ok(virt::FLASH_BASE + offset..virt::FLASH_BASE + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(magic: u64, offset: u32, size: u32, expected: Result<Range<u64>, PackageError>) {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&magic.to_le_bytes());
        header[8..12].copy_from_slice(&offset.to_le_bytes());
        header[12..].copy_from_slice(&size.to_le_bytes());
        assert_eq!(find_kernel(header), expected);
    }

    #[test]
    fn a_packed_image_is_found() {
        check(
            virt::images::PACKAGE_MAGIC,
            0x4_1000,
            0x100,
            Ok(0x4_1000..0x4_1100),
        );
    }

    #[test]
    fn a_foreign_magic_is_refused() {
        check(0, 0x4_1000, 0x100, Err(PackageError::NoMagic));
    }

    #[test]
    fn an_image_outside_its_place_is_refused() {
        for (offset, size) in [
            (0x4_1000, 0),
            (0, 0x100),
            (0x4_0000, 0x100),
            (0x4_1010, 0x100),
            (0xffff_fff0, 0xffff_ffff),
            (0x03ff_fff0, 0x20),
        ] {
            check(
                virt::images::PACKAGE_MAGIC,
                offset,
                size,
                Err(PackageError::BadBounds),
            );
        }
    }

    #[test]
    fn an_image_too_large_for_secure_ram_is_refused() {
        check(
            virt::images::PACKAGE_MAGIC,
            0x4_1000,
            0x00f0_0001,
            Err(PackageError::TooLarge),
        );
    }
}
