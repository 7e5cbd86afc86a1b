//! Normal-world payload: Linux, where QEMU was given a kernel, or the image that a loader put at
//! the bare-metal place.
//!
//! **Invariant:** the device tree that the normal world gets is complete and cleaned to memory.

use core::arch::asm;
use core::fmt;
use core::ops::Range;

use tally_board_virt as virt;
use tally_fdt::{EditError, normal_world};

use crate::image::ImageError;
use crate::package::LINE_BYTES;
use crate::{fw_cfg, image};

/// Where the normal world starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload {
    /// Physical address.
    pub(crate) entry: u64,
    /// What it is, for the console.
    pub(crate) what: &'static str,
}

/// Why the normal world cannot be started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PayloadError {
    /// The device tree.
    Tree(EditError),
    /// The device tree has no RAM.
    NoRam,
    /// The image.
    Image(ImageError),
    /// The firmware configuration device did not deliver.
    Device,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(error) => error.fmt(f),
            Self::NoRam => f.write_str("no RAM in the device tree"),
            Self::Image(error) => error.fmt(f),
            Self::Device => f.write_str("QEMU does not deliver Linux"),
        }
    }
}

/// Loads what there is, and completes the device tree.
pub(crate) fn load() -> Result<Payload, PayloadError> {
    // SAFETY:
    // 1. The window is mapped for reading and writing, and nothing of ours lies in it.
    // 2. No other CPU runs, nor the normal world; the one other user, `fw_cfg`, keeps behind it.
    let tree = unsafe {
        core::slice::from_raw_parts_mut(
            virt::RAM_BASE as *mut u8,
            virt::images::DEVICE_TREE_MAX as usize,
        )
    };
    let (payload, ramdisk) = match fw_cfg::size(fw_cfg::KERNEL) {
        0 => {
            let what = "the normal world";
            let entry = virt::images::NORMAL_BASE;
            (Payload { entry, what }, None)
        }
        kernel_bytes => linux(tree, kernel_bytes)?,
    };
    let secure = (
        virt::SECURE_RAM_NODE,
        virt::SECURE_RAM_BASE..virt::SECURE_RAM_END,
    );
    let bytes = normal_world::complete(tree, ramdisk.as_ref(), &[secure]);
    let bytes = bytes.map_err(PayloadError::Tree)?;
    clean(virt::RAM_BASE..virt::RAM_BASE + bytes as u64);
    Ok(payload)
}

fn linux(tree: &[u8], kernel_bytes: u32) -> Result<(Payload, Option<Range<u64>>), PayloadError> {
    let [ram] = tally_fdt::memory::<1>(tree).ok_or(PayloadError::NoRam)?;
    let ramdisk_bytes = fw_cfg::size(fw_cfg::RAMDISK);
    let header = fw_cfg::head(fw_cfg::KERNEL);
    let placed =
        image::place(&header, kernel_bytes, ramdisk_bytes, &ram).map_err(PayloadError::Image)?;
    let mut copied = fw_cfg::copy(fw_cfg::KERNEL, placed.image, kernel_bytes);
    if let Some(ramdisk) = &placed.ramdisk {
        copied &= fw_cfg::copy(fw_cfg::RAMDISK, ramdisk.start, ramdisk_bytes);
    }
    if !copied {
        return Err(PayloadError::Device);
    }
    let payload = Payload {
        entry: placed.image,
        what: "Linux",
    };
    Ok((payload, placed.ramdisk))
}

/// Makes what was written visible to a CPU with caches off.
fn clean(range: Range<u64>) {
    for line in range.step_by(LINE_BYTES as usize) {
        // SAFETY: cleaning a mapped line changes no memory's contents.
        unsafe { asm!("dc civac, {}", in(reg) line, options(nostack)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack)) };
}
