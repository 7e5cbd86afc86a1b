//! QEMU virt with `secure=on` and `gic-version=3`: where its memory and devices are.
//!
//! **Knows nothing of:** who uses them. What our own images agree on besides is in [`images`].
//!
//! Source: QEMU `hw/arm/virt.c`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod images;

use core::ops::Range;

/// Secure flash, where `-bios` lands: every CPU starts at its start.
pub const FLASH_BASE: u64 = 0;
/// Bytes of secure flash.
pub const FLASH_BYTES: u64 = 64 << 20;
/// The second flash bank, the normal world's.
pub const NORMAL_FLASH: Range<u64> = FLASH_BYTES..2 * FLASH_BYTES;

/// Start of secure RAM.
pub const SECURE_RAM_BASE: u64 = 0x0e00_0000;
/// Bytes of secure RAM that the machine has.
pub const SECURE_RAM_PRESENT: u64 = 16 << 20;
/// Bytes of secure RAM that Tally uses and accounts for, the firmware's included.
pub const SECURE_RAM_BYTES: u64 = if cfg!(feature = "half-ram") {
    SECURE_RAM_PRESENT / 2
} else {
    SECURE_RAM_PRESENT
};
/// End of the secure RAM that Tally uses.
pub const SECURE_RAM_END: u64 = SECURE_RAM_BASE + SECURE_RAM_BYTES;
/// Bytes at the start of secure RAM that are the firmware's.
pub const FIRMWARE_BYTES: u64 = 1 << 20;
/// Where the kernel is loaded and entered: TF-A's SEC_DRAM_BASE (`plat/qemu`).
pub const KERNEL_BASE: u64 = SECURE_RAM_BASE + FIRMWARE_BYTES;
/// Name of secure RAM's node in a device tree.
pub const SECURE_RAM_NODE: &str = "secure@e000000";

/// Whether TAs may use floating point and SIMD: the firmware lets the secure world, and keeps of the normal world's what is
/// beyond V0 to V31, FPCR and FPSR.
pub const FLOATING_POINT: bool = true;

/// The machine's secret. QEMU has none: this is OP-TEE's for its machines, which anybody knows.
pub const HARDWARE_KEY: [u8; 16] = [0; 16];

/// Normal-world RAM; QEMU writes the device tree at its start.
pub const RAM_BASE: u64 = 0x4000_0000;

/// GICv3 distributor.
pub const GICD: u64 = 0x0800_0000;
/// GICv3 redistributors, 128 KiB a CPU.
pub const GICR: u64 = 0x080a_0000;

/// Normal-world PL011.
pub const NORMAL_UART: u64 = 0x0900_0000;
/// Its shared peripheral interrupt.
pub const NORMAL_UART_SPI: u32 = 1;
/// fw_cfg (MMIO).
pub const FW_CFG: u64 = 0x0902_0000;
/// Virtio transports, of which the first `-device` with `bus=virtio-mmio-bus.0` gets the first.
pub const VIRTIO: u64 = 0x0a00_0000;
/// Bytes of a transport's registers.
pub const VIRTIO_BYTES: usize = 0x200;
/// Secure PL011.
pub const SECURE_UART: u64 = 0x0904_0000;
/// Its shared peripheral interrupt.
pub const SECURE_UART_SPI: u32 = 8;
/// Secure PL061.
pub const SECURE_GPIO: u64 = 0x090b_0000;
/// Its line that powers the machine off on a rising edge.
pub const POWER_OFF_LINE: u32 = 0;
/// Its line that resets the machine on a rising edge.
pub const RESET_LINE: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_ram_is_named_by_its_address() {
        assert_eq!(SECURE_RAM_NODE, format!("secure@{SECURE_RAM_BASE:x}"));
    }
}
