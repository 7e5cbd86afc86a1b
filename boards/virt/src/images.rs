//! Choices that firmware, normal world and `xtask` share: Tally's own, no other board has them.
//!
//! **Invariant:** what is loaded into normal-world RAM does not overlap: device tree, bare-metal normal
//! world with its heap, TA archive.

use crate::{RAM_BASE, VIRTIO, VIRTIO_BYTES};

/// Offset in flash of the package header that follows the monitor.
pub const PACKAGE_OFFSET: u64 = 0x4_0000;
/// First word of the package header, then `u32` offset from flash start and `u32` size of the
/// kernel's raw image. "TALLYPKG" in little-endian.
pub const PACKAGE_MAGIC: u64 = u64::from_le_bytes(*b"TALLYPKG");
/// Offset in flash of the kernel's raw image, as xtask packs it.
pub const PACKAGE_KERNEL_OFFSET: u64 = 0x4_1000;

/// Most bytes that the device tree may take at the start of normal-world RAM, with what the firmware
/// adds to it.
pub const DEVICE_TREE_MAX: u64 = 0x001f_f000;
/// Where the bare-metal normal world is loaded and entered at EL1 (x0 = device tree).
pub const NORMAL_BASE: u64 = RAM_BASE + (32 << 20);
/// Where the firmware puts Linux, if it fits: well behind the device tree.
pub const LINUX_BASE: u64 = RAM_BASE + (64 << 20);
/// Where the TA archive (newc cpio, `lib/optee_armtz/UUID.ta`) is loaded.
pub const TA_ARCHIVE_BASE: u64 = RAM_BASE + (128 << 20);
/// Space kept for the TA archive.
pub const TA_ARCHIVE_MAX: u64 = 0x0100_0000;
/// Normal RAM that OP-TEE shares with its normal world where it runs on this machine (its `CFG_SHMEM_START` and
/// `CFG_SHMEM_SIZE`).
pub const OPTEE_SHARED: core::ops::Range<u64> = RAM_BASE + (32 << 20)..RAM_BASE + (34 << 20);

/// fw_cfg file: commands for the shell, separated by `;` or newlines. Absent: interactive.
pub const FW_CFG_COMMAND: &str = "opt/tally/command";
/// fw_cfg file: columns of the terminal of an interactive shell. Later changes are reported on the console, as
/// xterm does it (`CSI 8 ; ROWS ; COLUMNS t`).
pub const FW_CFG_COLUMNS: &str = "opt/tally/columns";
/// fw_cfg file: names that no file can have, as something else is called by them where they go, a line each.
pub const FW_CFG_TAKEN_NAMES: &str = "opt/tally/taken-names";
/// fw_cfg file: present where the firmware is not Tally's monitor.
pub const FW_CFG_OTHER_FIRMWARE: &str = "opt/tally/other-firmware";

/// Virtio console for results, one JSON object a line; the last line is [`STATUS`] and a number.
pub const RESULTS_CHANNEL: u64 = VIRTIO;
/// Virtio console for files: each a series of pieces, which those of other files may interrupt.
pub const FILES_CHANNEL: u64 = VIRTIO + VIRTIO_BYTES as u64;
/// Begins the last line of whoever ends the machine: the normal world's in the results, the secure world's
/// on its console, behind a prefix of its own.
pub const STATUS: &str = "status ";

/// Head of a piece of a file. The first piece of a file is its name, an empty one ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePiece {
    /// Tells files apart that come at the same time.
    pub file: u32,
    /// How many bytes follow.
    pub bytes: u32,
}

impl FilePiece {
    /// Bytes of a head.
    pub const HEAD_BYTES: usize = 8;
    /// Longest name in bytes.
    pub const MAX_NAME: usize = 100;

    /// A head; `None` if that is too much for one piece.
    #[must_use]
    pub fn new(file: u32, bytes: usize) -> Option<Self> {
        let bytes = u32::try_from(bytes).ok()?;
        Some(Self { file, bytes })
    }

    /// As it is sent: two words, little-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::HEAD_BYTES] {
        (u64::from(self.bytes) << 32 | u64::from(self.file)).to_le_bytes()
    }

    /// The inverse of [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::HEAD_BYTES]) -> Self {
        let both = u64::from_le_bytes(bytes);
        Self {
            file: both as u32,
            bytes: (both >> 32) as u32,
        }
    }

    /// Whether a file can have this name: letters, digits, `.`, `-` and `_`, neither `.` nor `-` first.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        (1..=Self::MAX_NAME).contains(&name.len())
            && !name.starts_with(['.', '-'])
            && name.bytes().all(is_good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back() {
        let piece = FilePiece::new(7, 0x0102_0304).unwrap();
        assert_eq!(piece.to_bytes(), [7, 0, 0, 0, 4, 3, 2, 1]);
        assert_eq!(FilePiece::from_bytes(piece.to_bytes()), piece);
        assert_eq!(FilePiece::new(7, 1 << 32), None);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for good in ["a", "real-1.snap", "A_b.c", &"x".repeat(100)] {
            assert!(FilePiece::is_name(good), "{good}");
        }
        let long = "x".repeat(101);
        for bad in [
            "", ".", "..", ".a", "-a", "a/b", "/a", "a\\b", "a b", "a\n", "é", "a\0", &long,
        ] {
            assert!(!FilePiece::is_name(bad), "{bad:?}");
        }
    }
}
