//! Choices that firmware, normal world and `xtask` share: Tally's own, no other board has them.
//!
//! **Invariant:** what is loaded into normal-world RAM does not overlap: device tree, bare-metal normal
//! world with its heap, TA archive.

use crate::RAM_BASE;

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

/// fw_cfg file: commands for the shell, separated by `;` or newlines. Absent: interactive.
pub const FW_CFG_COMMAND: &str = "opt/tally/command";
/// fw_cfg file: host path that test results go to (semihosting), one JSON object a line.
pub const FW_CFG_RESULTS: &str = "opt/tally/results";
/// fw_cfg file: present where the firmware is not Tally's monitor.
pub const FW_CFG_OTHER_FIRMWARE: &str = "opt/tally/other-firmware";
