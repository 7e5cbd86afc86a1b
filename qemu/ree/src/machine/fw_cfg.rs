//! QEMU's firmware configuration device (docs/specs/fw_cfg): small files from the command line.
//!
//! **Invariant:** the device is read by one caller at a time, on CPU 0 at start.

use alloc::string::String;
use alloc::vec::Vec;
use tally_board_virt as virt;

const SELECTOR_OFFSET: usize = 8;
const SIGNATURE: u16 = 0x0000;
const FILE_DIRECTORY: u16 = 0x0019;
/// More files than that is no directory.
const MAX_FILES: u32 = 1024;
/// Longer files are cut.
const MAX_BYTES: usize = 64 << 10;

fn select(key: u16) {
    let selector = virt::FW_CFG as usize + SELECTOR_OFFSET;
    let selector = core::ptr::with_exposed_provenance_mut::<u16>(selector);
    // SAFETY: the device's selector register (big-endian), mapped as device memory.
    unsafe { selector.write_volatile(key.to_be()) }
}

fn byte() -> u8 {
    let data = core::ptr::with_exposed_provenance::<u8>(virt::FW_CFG as usize);
    // SAFETY: the device's data register, mapped as device memory.
    unsafe { data.read_volatile() }
}

fn bytes<const N: usize>() -> [u8; N] {
    core::array::from_fn(|_| byte())
}

/// The file `name`, if it was given on QEMU's command line.
pub(crate) fn file(name: &str) -> Option<String> {
    select(SIGNATURE);
    if &bytes::<4>() != b"QEMU" {
        return None;
    }
    select(FILE_DIRECTORY);
    let n = u32::from_be_bytes(bytes()).min(MAX_FILES);
    for _ in 0..n {
        let size = u32::from_be_bytes(bytes()) as usize;
        let key = u16::from_be_bytes(bytes());
        let _reserved: [u8; 2] = bytes();
        let entry: [u8; 56] = bytes();
        let end = entry.iter().position(|&b| b == 0).unwrap_or(entry.len());
        if &entry[..end] == name.as_bytes() {
            select(key);
            let mut text = Vec::new();
            text.resize_with(size.min(MAX_BYTES), byte);
            return Some(String::from_utf8_lossy(&text).into_owned());
        }
    }
    None
}
