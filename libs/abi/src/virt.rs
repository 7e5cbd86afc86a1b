//! Where things are on QEMU virt with `secure=on`, and what the images of a run agree on.
//!
//! Source: QEMU `hw/arm/virt.c` memory map. The flash package, the TA archive and the fw_cfg
//! names are Tally's own.

/// Secure flash, where `-bios` lands: the monitor runs from its start.
pub const FLASH_BASE: u64 = 0;
/// Offset in flash of the package header that follows the monitor.
pub const PACKAGE_OFFSET: u64 = 0x4_0000;
/// First word of the package header, then `u32` offset from flash start and `u32` size of the
/// kernel's raw image. "TALLYPKG" in little-endian.
pub const PACKAGE_MAGIC: u64 = u64::from_le_bytes(*b"TALLYPKG");
/// Offset in flash of the kernel's raw image, as xtask packs it.
pub const PACKAGE_KERNEL_OFFSET: u64 = 0x4_1000;

/// Secure RAM.
pub const SECURE_RAM_BASE: u64 = 0x0e00_0000;
/// End of secure RAM.
pub const SECURE_RAM_END: u64 = 0x0f00_0000;
/// The first MiB is the firmware's; the kernel is loaded and linked here.
pub const KERNEL_BASE: u64 = 0x0e10_0000;
/// Secure PL011.
pub const SECURE_UART: u64 = 0x0904_0000;
/// Normal-world PL011 (SPI 1, interrupt id 33).
pub const NORMAL_UART: u64 = 0x0900_0000;
/// GICv3 distributor.
pub const GICD: u64 = 0x0800_0000;
/// GICv3 redistributors, 128 KiB a CPU.
pub const GICR: u64 = 0x080a_0000;
/// fw_cfg (MMIO).
pub const FW_CFG: u64 = 0x0902_0000;
/// Normal-world RAM; QEMU writes the device tree at its start.
pub const RAM_BASE: u64 = 0x4000_0000;
/// Most bytes that the device tree may take there, with what the firmware adds to it.
pub const DEVICE_TREE_MAX: u64 = 0x001f_f000;
/// Where the bare-metal normal world is loaded and entered at EL1 (x0 = device tree).
pub const NORMAL_BASE: u64 = 0x4200_0000;
/// Where the TA archive (newc cpio, `lib/optee_armtz/UUID.ta`) is loaded.
pub const TA_ARCHIVE_BASE: u64 = 0x4800_0000;
/// Space kept for the TA archive.
pub const TA_ARCHIVE_MAX: u64 = 0x0100_0000;

/// fw_cfg file: commands for the shell, separated by `;` or newlines. Absent: interactive.
pub const FW_CFG_COMMAND: &str = "opt/tally/command";
/// fw_cfg file: host path that test results go to (semihosting), one JSON object a line.
pub const FW_CFG_RESULTS: &str = "opt/tally/results";
