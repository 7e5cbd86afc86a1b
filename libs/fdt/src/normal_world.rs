//! Nodes that firmware adds for the normal world: PSCI, OP-TEE's interface, the memory to keep away from, the initial RAM
//! disk.
//!
//! **Invariant:** what was there stays, but for what it says about starting CPUs.
//!
//! Source: Linux `Documentation/devicetree/bindings/{arm/psci.yaml,arm/firmware/linaro,optee-tz.yaml,
//! reserved-memory/reserved-memory.yaml}`.

use core::ops::Range;

use crate::{EditError, Editor};

/// Cells of an address, and of a size, in the trees of machines with 64-bit addresses.
const CELLS: u32 = 2;

/// Memory that is not the normal world's: the name of its node, and where it is.
pub type Reserved<'a> = (&'a str, Range<u64>);

/// Adds what the normal world has to know, and returns the tree's size in bytes.
///
/// # Errors
/// The tree is malformed, or `bytes` has no room behind it.
pub fn complete(
    bytes: &mut [u8],
    ramdisk: Option<&Range<u64>>,
    reserved: &[Reserved<'_>],
) -> Result<usize, EditError> {
    let mut tree = Editor::open(bytes)?;
    let root = tree.root();

    let psci = tree.ensure_node(root, "psci")?;
    tree.set_property(psci, "compatible", b"arm,psci-1.0\0arm,psci-0.2\0")?;
    tree.set_property(psci, "method", b"smc\0")?;
    start_cpus_by_psci(&mut tree)?;

    let firmware = tree.ensure_node(root, "firmware")?;
    let optee = tree.ensure_node(firmware, "optee")?;
    tree.set_property(optee, "compatible", b"linaro,optee-tz\0")?;
    tree.set_property(optee, "method", b"smc\0")?;

    for (name, range) in reserved {
        // Looked up anew: every edit moves what lies behind it.
        let root = tree.root();
        let all = tree.ensure_node(root, "reserved-memory")?;
        tree.set_cell(all, "#address-cells", CELLS)?;
        tree.set_cell(all, "#size-cells", CELLS)?;
        tree.set_property(all, "ranges", b"")?;
        let node = tree.ensure_node(all, name)?;
        let mut reg = [0; 16];
        let (base, size) = reg.split_at_mut(8);
        base.copy_from_slice(&range.start.to_be_bytes());
        size.copy_from_slice(&(range.end - range.start).to_be_bytes());
        tree.set_property(node, "reg", &reg)?;
        tree.set_property(node, "no-map", b"")?;
    }

    if let Some(ramdisk) = ramdisk {
        let chosen = tree.ensure_node(root, "chosen")?;
        tree.set_property(chosen, "linux,initrd-start", &ramdisk.start.to_be_bytes())?;
        tree.set_property(chosen, "linux,initrd-end", &ramdisk.end.to_be_bytes())?;
    }
    Ok(tree.tree_bytes())
}

/// QEMU leaves the method out when firmware brings PSCI of its own.
fn start_cpus_by_psci(tree: &mut Editor<'_>) -> Result<(), EditError> {
    for index in 0.. {
        // Looked up anew: every edit moves what lies behind it.
        let Some(cpu) = tree
            .find("/cpus")
            .and_then(|cpus| tree.child_at(cpus, index))
        else {
            break;
        };
        if tree.property(cpu, "device_type") == Some(b"cpu\0") {
            tree.set_property(cpu, "enable-method", b"psci\0")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::vec::Vec;

    const RAM_BASE: u64 = 0x8000_0000;
    const SECURE: &[Reserved<'_>] = &[("secure@2000", 0x2000..0x5000)];

    /// An empty tree: header, an empty reservation block, the root.
    fn tree(room: usize) -> Vec<u8> {
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        let mut bytes = words(&[crate::MAGIC, 72, 56, 72, 40, 17, 16, 0, 0, 16]);
        bytes.extend([0; 16]);
        bytes.extend(words(&[1, 0, 2, 9]));
        bytes.resize(72 + room, 0);
        bytes
    }

    fn with_cpus(room: usize) -> Vec<u8> {
        let mut bytes = tree(room);
        let mut editor = Editor::open(&mut bytes).unwrap();
        for name in ["cpu@1", "cpu-map", "cpu@0"] {
            let root = editor.root();
            let cpus = editor.ensure_node(root, "cpus").unwrap();
            let cpu = editor.ensure_node(cpus, name).unwrap();
            if name != "cpu-map" {
                editor.set_property(cpu, "device_type", b"cpu\0").unwrap();
            }
        }
        bytes
    }

    #[test]
    fn linux_finds_all_that_it_looks_for() {
        let mut bytes = with_cpus(2048);
        let end = RAM_BASE + (144 << 20);
        let len = complete(&mut bytes, Some(&(RAM_BASE..end)), SECURE).unwrap();
        let tree = Editor::open(&mut bytes[..len]).unwrap();
        let value = |path: &str, name: &str| -> Option<Vec<u8>> {
            Some(tree.property(tree.find(path)?, name)?.to_vec())
        };
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(value("/psci", "method"), text("smc\0"));
        assert_eq!(
            value("/firmware/optee", "compatible"),
            text("linaro,optee-tz\0")
        );
        assert_eq!(value("/firmware/optee", "method"), text("smc\0"));
        assert_eq!(value("/cpus/cpu@0", "enable-method"), text("psci\0"));
        assert_eq!(value("/cpus/cpu@1", "enable-method"), text("psci\0"));
        assert_eq!(value("/cpus/cpu-map", "enable-method"), None);
        assert_eq!(value("/reserved-memory/secure@2000", "no-map"), text(""));
        let reg = [0x2000_u64, 0x3000];
        let reg = reg.map(u64::to_be_bytes).concat();
        assert_eq!(value("/reserved-memory/secure@2000", "reg"), Some(reg));
        let end = end.to_be_bytes().to_vec();
        assert_eq!(value("/chosen", "linux,initrd-end"), Some(end));
    }

    #[test]
    fn doing_it_twice_changes_nothing_more() {
        let mut bytes = with_cpus(2048);
        let first = complete(&mut bytes, None, SECURE);
        let once = bytes.clone();
        assert_eq!(complete(&mut bytes, None, SECURE), first);
        assert_eq!(bytes, once);
    }

    #[test]
    fn every_shortage_of_room_is_an_error() {
        let mut plenty = with_cpus(2048);
        let start = Editor::open(&mut plenty).unwrap().tree_bytes();
        let needed = complete(&mut plenty, None, SECURE).unwrap();
        for len in start..needed {
            let mut bytes = with_cpus(2048);
            bytes.truncate(len);
            assert_eq!(
                complete(&mut bytes, None, SECURE),
                Err(EditError::NoRoom),
                "{len}"
            );
        }
    }
}
