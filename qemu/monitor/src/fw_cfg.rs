//! QEMU's firmware configuration device: what `-kernel` and `-initrd` gave.
//!
//! **Invariant:** used by CPU 0 alone, before the normal world runs; data go to normal-world RAM.
//!
//! Source: QEMU `docs/specs/fw_cfg.rst`, `standard-headers/linux/qemu_fw_cfg.h`.

use core::ptr;

use tally_board_virt as virt;

const DATA: usize = virt::FW_CFG as usize;
const SELECTOR: usize = virt::FW_CFG as usize + 8;
const DMA_ADDRESS: usize = virt::FW_CFG as usize + 16;

const SIGNATURE: u16 = 0x00;

const DMA_ERROR: u32 = 1 << 0;
const DMA_READ: u32 = 1 << 1;
const DMA_SELECT: u32 = 1 << 3;

/// The descriptor lies at the end of the window for the device tree: the device reaches
/// normal-world memory only.
const DESCRIPTOR: u64 = virt::RAM_BASE + virt::images::DEVICE_TREE_MAX;

/// A file that QEMU's command line gave: the keys of its size and of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    size: u16,
    data: u16,
}

/// `-kernel`.
pub(crate) const KERNEL: File = File {
    size: 0x08,
    data: 0x11,
};
/// `-initrd`.
pub(crate) const RAMDISK: File = File {
    size: 0x0b,
    data: 0x12,
};

/// Size of a file in bytes; 0 where it was not given.
pub(crate) fn size(file: File) -> u32 {
    if start::<4>(SIGNATURE) != *b"QEMU" {
        return 0;
    }
    u32::from_le_bytes(start(file.size))
}

/// The first `N` bytes of a file.
pub(crate) fn head<const N: usize>(file: File) -> [u8; N] {
    start(file.data)
}

/// Copies the first `bytes` of a file to normal-world address `to`; false if the device cannot.
pub(crate) fn copy(file: File, to: u64, bytes: u32) -> bool {
    let descriptor = DESCRIPTOR as *mut u32;
    let control = u32::from(file.data) << 16 | DMA_SELECT | DMA_READ;
    let (to_high, to_low) = ((to >> 32) as u32, to as u32);
    // SAFETY:
    // 1. The descriptor's four words lie in the mapped window of normal-world RAM, behind the
    //    device tree's place, and nobody else runs.
    // 2. The device's registers are mapped as device memory; the second store starts the copy.
    // 3. The device writes to normal-world memory only: nothing of ours can change.
    unsafe {
        for (index, word) in [control, bytes, to_high, to_low].into_iter().enumerate() {
            ptr::write_volatile(descriptor.add(index), word.to_be());
        }
        core::arch::asm!("dsb sy", options(nostack));
        let address = DMA_ADDRESS as *mut u32;
        ptr::write_volatile(address, ((DESCRIPTOR >> 32) as u32).to_be());
        ptr::write_volatile(address.add(1), (DESCRIPTOR as u32).to_be());
    }
    loop {
        // SAFETY: as above; the device clears the word's other bits when it is done.
        match u32::from_be(unsafe { ptr::read_volatile(descriptor) }) {
            0 => return true,
            status if status & DMA_ERROR != 0 => return false,
            _ => core::hint::spin_loop(),
        }
    }
}

/// Selects a key and reads its first bytes.
fn start<const N: usize>(key: u16) -> [u8; N] {
    // SAFETY: the device's registers, mapped as device memory; the selector is big-endian.
    unsafe {
        ptr::write_volatile(SELECTOR as *mut u16, key.to_be());
        core::array::from_fn(|_| ptr::read_volatile(DATA as *const u8))
    }
}
