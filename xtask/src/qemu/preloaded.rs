//! Linux where stock TF-A starts a normal world, whoever the secure world is.
//!
//! QEMU puts Linux, its RAM disk and its device tree into RAM; where TF-A jumps to are a few instructions that jump on.
//!
//! **Invariant:** the two secure worlds that are compared get the same bytes and the same addresses.

use super::{Run, loader, option_path};
use crate::linux::{self, Linux};
use crate::tfa::Tfa;
use crate::{setup, tool};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::path::Path;
use std::process::Command;
use tally_board_virt as virt;
use tally_fdt::{Editor, normal_world};

/// The machine: TF-A keeps the secure world from vectors that have sizes, or the normal world, unless there are none.
const CPU: &str = "max,sve=off,sme=off,pauth-impdef=on";
/// Where things lie in normal RAM, in multiples of 64 KiB.
const TREE: u16 = 0x4700;
const KERNEL: u16 = 0x4800;
const RAMDISK: u64 = 0x5000_0000;
/// Room for a device tree.
const TREE_BYTES: usize = 1 << 20;
/// The name of memory that OP-TEE shares with its normal world.
const SHARED: &str = "optee-shm";

/// The interrupt by which OP-TEE for this machine notifies: shared peripheral 187, by its edge; one that does not notify
/// leaves it alone (its `CFG_CORE_ASYNC_NOTIF_GIC_INTID`; Linux `arm,gic-v3.yaml`).
const NOTIFICATION: [u32; 3] = [0, 187, 1];

/// Firmware, secure world and Linux.
pub(crate) struct Preloaded<'a> {
    /// The firmware.
    pub(crate) tfa: &'a Tfa,
    /// The secure world's images, as TF-A wants them.
    pub(crate) secure: Vec<&'a [u8]>,
    /// The normal world.
    pub(crate) linux: &'a Linux,
}

const fn at(page: u16) -> u64 {
    (page as u64) << 16
}

impl Preloaded<'_> {
    /// Adds what QEMU loads; the firmware is in `flash`, without which the machine would have other devices.
    pub(super) fn load(
        &self,
        qemu: &mut Command,
        flash: &Path,
        run: &Run<'_>,
        dir: &Path,
    ) -> Result<()> {
        let ram = linux::RAM_MIB.to_string();
        qemu.args(["-cpu", CPU, "-m", &ram]);
        let ramdisk = dir.join("ramdisk.cpio");
        self.linux.write_ramdisk(&ramdisk, run.command)?;
        let bytes = ramdisk.metadata()?.len();
        let end = RAMDISK + bytes;
        let ram_end = virt::RAM_BASE + (u64::from(linux::RAM_MIB) << 20);
        ensure!(end <= ram_end, "the RAM disk has {bytes} bytes");
        let tree = dir.join("tree.dtb");
        std::fs::write(
            &tree,
            device_tree(&tree, (flash, run.cpus), &(RAMDISK..end))?,
        )?;
        let entry = dir.join("entry.bin");
        std::fs::write(&entry, jump().map(u32::to_le_bytes).concat())?;
        for (file, address) in [
            (entry.as_path(), virt::images::NORMAL_BASE),
            (&tree, at(TREE)),
            (&self.linux.kernel, at(KERNEL)),
            (&ramdisk, RAMDISK),
        ] {
            qemu.args(["-device", &loader(file, address)]);
        }
        Ok(())
    }
}

/// What Linux is entered with: the tree in x0, nothing in the next three registers.
///
/// Source: Linux `Documentation/arch/arm64/booting.rst`; Arm ARM DDI 0487, C6.2 MOVZ, BR.
fn jump() -> [u32; 5] {
    let movz_high = |register: u32, value: u16| 0xd2a0_0000 | u32::from(value) << 5 | register;
    [
        movz_high(0, TREE),
        movz_high(1, 0),
        movz_high(2, 0),
        movz_high(4, KERNEL),
        0xd61f_0000 | 4 << 5,
    ]
}

/// QEMU's tree of this machine, completed; `file` is where QEMU writes it.
fn device_tree(
    file: &Path,
    (flash, cpus): (&Path, u32),
    ramdisk: &std::ops::Range<u64>,
) -> Result<Vec<u8>> {
    let machine = format!("{},dumpdtb={}", super::MACHINE, option_path(file));
    let mut dump = Command::new(setup::QEMU);
    dump.args(["-M", &machine, "-cpu", CPU, "-smp", &cpus.to_string()]);
    dump.args(["-m", &linux::RAM_MIB.to_string()]);
    dump.args(["-nodefaults", "-display", "none", "-bios"])
        .arg(flash);
    let (ok, text) = tool::captured(&mut dump)?;
    ensure!(ok, "QEMU wrote no device tree: {text}");
    let mut tree = std::fs::read(file).context("QEMU wrote no device tree")?;
    tree.resize(TREE_BYTES, 0);
    let secure = virt::SECURE_RAM_BASE..virt::SECURE_RAM_END;
    let shared = virt::images::OPTEE_SHARED;
    let reserved = [(virt::SECURE_RAM_NODE, secure), (SHARED, shared)];
    let bytes = complete(&mut tree, ramdisk, &reserved);
    tree.truncate(bytes.map_err(|error| anyhow!("QEMU's device tree: {error}"))?);
    Ok(tree)
}

fn complete(
    tree: &mut [u8],
    ramdisk: &std::ops::Range<u64>,
    reserved: &[normal_world::Reserved<'_>],
) -> Result<usize, tally_fdt::EditError> {
    normal_world::complete(tree, Some(ramdisk), reserved)?;
    let mut editor = Editor::open(tree)?;
    let root = editor.root();
    let chosen = editor.ensure_node(root, "chosen")?;
    let arguments = format!("{}\0", linux::BOOT_ARGUMENTS);
    editor.set_property(chosen, "bootargs", arguments.as_bytes())?;
    if let Some(optee) = editor.find("/firmware/optee") {
        let interrupt = NOTIFICATION.map(u32::to_be_bytes).concat();
        editor.set_property(optee, "interrupts", &interrupt)?;
    }
    Ok(editor.tree_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_instructions_are_those_of_an_assembler() {
        let words = [
            0xd2a8_e000,
            0xd2a0_0001,
            0xd2a0_0002,
            0xd2a9_0004,
            0xd61f_0080,
        ];
        assert_eq!(jump(), words);
    }
}
