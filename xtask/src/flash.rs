//! Flash image and TA archive, which QEMU loads.
//!
//! **Invariant:** monitor, package header and kernel never overlap in flash; the archive fits
//! its window in normal-world memory ([`tally_board_virt::images`]).

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

/// A cpio archive in "newc" format of regular files.
pub(crate) fn cpio(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (inode, (name, data)) in (1u32..).zip(files) {
        entry(&mut out, inode, name, data)?;
    }
    entry(&mut out, 0, "TRAILER!!!", &[])?;
    ensure!(
        out.len() as u64 <= TA_ARCHIVE_MAX,
        "the TA archive has {} bytes; {} fit",
        out.len(),
        TA_ARCHIVE_MAX
    );
    Ok(out)
}

fn entry(out: &mut Vec<u8>, inode: u32, name: &str, data: &[u8]) -> Result<()> {
    let mode: u32 = if inode == 0 { 0 } else { 0o100_644 };
    let len = u32::try_from(data.len())?;
    let name_len = u32::try_from(name.len() + 1)?;
    // ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check.
    let fields = [inode, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, name_len, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad4(out);
    out.extend_from_slice(data);
    pad4(out);
    Ok(())
}

fn pad4(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
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

    #[test]
    fn archive_is_newc_with_aligned_data() {
        let archive = cpio(&[("a".into(), b"12345".to_vec())]).unwrap();
        assert!(archive.starts_with(b"070701"));
        // 110 bytes of header, "a\0", data at 112, padded to 120.
        assert_eq!(&archive[112..117], b"12345");
        assert_eq!(&archive[120..126], b"070701");
        assert!(archive.windows(10).any(|w| w == b"TRAILER!!!"));
    }
}
