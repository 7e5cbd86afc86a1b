//! Flash image and TA archive, which QEMU loads.
//!
//! **Invariant:** monitor, package header and kernel never overlap in flash; the archive fits
//! its window in normal-world memory ([`tally_board_virt::images`]).

use crate::archive::Archive;
use anyhow::{Result, ensure};
use tally_board_virt::images::{
    PACKAGE_KERNEL_OFFSET, PACKAGE_MAGIC, PACKAGE_OFFSET, TA_ARCHIVE_MAX,
};
use tally_board_virt::{KERNEL_BASE, SECURE_RAM_END};

/// The flash image: monitor at 0, package header, kernel.
pub(crate) fn flash(monitor: &[u8], kernel: &[u8]) -> Result<Vec<u8>> {
    let header_at = usize::try_from(PACKAGE_OFFSET)?;
    let kernel_at = usize::try_from(PACKAGE_KERNEL_OFFSET)?;
    ensure!(
        monitor.len() <= header_at,
        "the monitor's image has {} bytes; {header_at} fit before the package header",
        monitor.len()
    );
    let kernel_room = usize::try_from(SECURE_RAM_END - KERNEL_BASE)?;
    ensure!(
        kernel.len() < kernel_room,
        "the kernel's image has {} bytes; its memory has {kernel_room}",
        kernel.len()
    );
    let mut out = vec![0xff; kernel_at];
    out[..monitor.len()].copy_from_slice(monitor);
    out[header_at..header_at + 8].copy_from_slice(&PACKAGE_MAGIC.to_le_bytes());
    out[header_at + 8..header_at + 12].copy_from_slice(&u32::try_from(kernel_at)?.to_le_bytes());
    out[header_at + 12..header_at + 16]
        .copy_from_slice(&u32::try_from(kernel.len())?.to_le_bytes());
    out.extend_from_slice(kernel);
    Ok(out)
}

/// The TA archive, of these files.
pub(crate) fn ta_archive(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for (name, data) in files {
        archive.bare_file(name, data)?;
    }
    let bytes = archive.finish()?;
    ensure!(
        bytes.len() as u64 <= TA_ARCHIVE_MAX,
        "the TA archive has {} bytes; {} fit",
        bytes.len(),
        TA_ARCHIVE_MAX
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flash_holds_the_package_header_before_the_kernel() {
        let flash = flash(b"monitor", b"kernel").unwrap();
        assert!(flash.starts_with(b"monitor"));
        assert_eq!(&flash[0x4_0000..0x4_0008], b"TALLYPKG");
        assert_eq!(flash[0x4_0008..0x4_000c], 0x4_1000u32.to_le_bytes());
        assert_eq!(flash[0x4_000c..0x4_0010], 6u32.to_le_bytes());
        assert_eq!(&flash[0x4_1000..], b"kernel");
    }

    #[test]
    fn monitor_that_reaches_the_header_is_refused() {
        assert!(flash(&vec![0; 0x4_0001], b"").is_err());
    }
}
