//! Stock TF-A as the firmware: Debian's sources of it, built with OP-TEE's dispatcher, unmodified.
//!
//! **Invariant:** what [`Tfa`] names was built whole; the kernel that it boots is the same file that our
//! own firmware boots.
//!
//! Source: arm-trusted-firmware `plat/qemu/`, `services/spd/opteed/opteed.mk`, and its build options.

use crate::{linux, paths, setup, tool, ui};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use tally_board_virt::images::NORMAL_BASE;

/// Debian's source package.
const PACKAGE: &str = "arm-trusted-firmware";
/// The stages that TF-A has of its own; the first begins the flash and loads the others out of a package there.
const STAGES: [&str; 3] = ["bl1.bin", "bl2.bin", "bl31.bin"];
/// Where the package is in flash (`PLAT_QEMU_FIP_BASE`).
const PACKAGE_OFFSET: usize = 0x4_0000;
/// Its first word and a number that is not zero (`fip_toc_header_t`).
const PACKAGE_HEAD: [u32; 2] = [0xaa64_0001, 0x1234_5678];
/// Which image is which (`firmware_image_package.h`): bl2, bl31, bl32 and what that has more; bytes as they are stored.
const BL2: u128 = 0x5ff9_ec0b_4d22_3e4d_a544_c39d_81c7_3f0a;
const BL31: u128 = 0x47d4_086d_4cfe_9846_9b95_2950_cbbd_5a00;
const BL32: [u128; 3] = [
    0x05d0_e189_53dc_1347_8d2b_500a_4b7a_3e38,
    0x0b70_c29b_2a5a_7840_9f65_0a56_8273_8288,
    0x8ea8_7bb1_cfa2_3f4d_85fd_e7bb_a502_20d9,
];

/// A built TF-A.
pub(crate) struct Tfa {
    dir: PathBuf,
}

impl Tfa {
    /// The one in `dir`, built by somebody else.
    ///
    /// # Errors
    /// A stage is missing.
    pub(crate) fn in_dir(dir: &Path) -> Result<Self> {
        for stage in STAGES {
            let path = dir.join(stage);
            ensure!(path.is_file(), "there is no {}", path.display());
        }
        Ok(Self { dir: dir.into() })
    }

    /// Debian's, built if it was not yet.
    ///
    /// # Errors
    /// [`linux::Unreachable`] when the sources cannot be had.
    pub(crate) fn debian() -> Result<Self> {
        let dir = paths::out().join("tfa");
        let sources = dir.join("sources");
        let made_by = (dir.join("made-by"), tool::line(&make(&sources)));
        if let Ok(built) = Self::in_dir(&dir)
            && std::fs::read_to_string(&made_by.0).is_ok_and(|by| by == made_by.1)
        {
            return Ok(built);
        }
        let archive = linux::upstream_source(PACKAGE)?;
        setup::ensure(setup::Part::CrossCompiler)?;
        if sources.exists() {
            std::fs::remove_dir_all(&sources)?;
        }
        std::fs::create_dir_all(&sources)?;
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&sources).arg("--strip-components=1");
        tool::run(tar.arg("-xf").arg(&archive))?;
        ui::step("Building", "TF-A, PLAT=qemu SPD=opteed");
        let (ok, text) = tool::captured(&mut make(&sources))?;
        if !ok {
            let log = dir.join("build.log");
            std::fs::write(&log, text)?;
            bail!("building TF-A failed; see {}", paths::shown(&log));
        }
        let built = sources.join("build/qemu/release");
        for stage in STAGES {
            std::fs::copy(built.join(stage), dir.join(stage))
                .with_context(|| format!("TF-A's build made no {stage}"))?;
        }
        std::fs::write(made_by.0, made_by.1)?;
        Self::in_dir(&dir)
    }

    /// Writes the flash's contents into `dir`: the first stage, and a package of the others and the secure world, whose
    /// images are bl32 and what follows it.
    pub(crate) fn install(&self, secure: &[&[u8]], dir: &Path) -> Result<PathBuf> {
        let [bl1, bl2, bl31] = STAGES.map(|stage| std::fs::read(self.dir.join(stage)));
        let (bl2, bl31) = (bl2?, bl31?);
        let mut images = vec![(BL2, &bl2[..]), (BL31, &bl31)];
        images.extend(BL32.into_iter().zip(secure.iter().copied()));
        let mut flash = bl1?;
        ensure!(flash.len() <= PACKAGE_OFFSET, "bl1 reaches the package");
        flash.resize(PACKAGE_OFFSET, 0xff);
        flash.extend(package(&images));
        let path = dir.join("tfa.bin");
        std::fs::write(&path, flash)?;
        Ok(path)
    }
}

/// A firmware image package: a table of contents, whose last entry is empty, and the images.
fn package(images: &[(u128, &[u8])]) -> Vec<u8> {
    const ENTRY_BYTES: usize = 40;
    let entry = |which: u128, at: usize, len: usize| {
        let [at, len] = [at, len].map(|n| (n as u64).to_le_bytes());
        [&which.to_be_bytes()[..], &at, &len, &[0; 8]].concat()
    };
    let mut table = PACKAGE_HEAD.map(u32::to_le_bytes).concat();
    table.extend([0; 8]);
    let mut at = table.len() + (images.len() + 1) * ENTRY_BYTES;
    for (which, image) in images {
        table.extend(entry(*which, at, image.len()));
        at += image.len();
    }
    table.extend(entry(0, at, 0));
    let contents = images.iter().flat_map(|(_, image)| image.iter());
    table.extend(contents);
    table
}

fn make(sources: &Path) -> Command {
    let mut make = Command::new("make");
    make.current_dir(sources).args(["-j2", "-s", "DEBUG=0"]);
    make.arg(format!("CROSS_COMPILE={}", setup::CROSS_COMPILE));
    make.args(["PLAT=qemu", "SPD=opteed", "BL32_RAM_LOCATION=tdram"]);
    make.arg("QEMU_USE_GIC_DRIVER=QEMU_GICV3");
    // The normal world is in RAM already.
    make.arg(format!("PRELOADED_BL33_BASE={:#x}", NORMAL_BASE));
    // Before 2.14 the dispatcher stops the normal world's timers while the secure world runs, so
    // that nothing could interrupt a TA.
    make.arg("NS_TIMER_SWITCH=0");
    // With either of them for the normal world alone it keeps the secure one from floating point, and ends the machine when
    // it is used.
    make.args(["ENABLE_SVE_FOR_NS=0", "ENABLE_SME_FOR_NS=0"]);
    make.args(["bl1", "bl2", "bl31"]);
    // As Debian builds it: newer compilers and linkers warn of what older ones did not.
    make.env("CFLAGS", "--param=min-pagesize=0");
    make.env("TF_LDFLAGS", "--no-warn-rwx-segments");
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(name);
    }
    make
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_its_images_where_its_table_says() {
        let package = package(&[(BL2, b"two"), (BL32[0], b"kernel")]);
        assert_eq!(&package[..8], [1, 0, 0x64, 0xaa, 0x78, 0x56, 0x34, 0x12]);
        let word = |at: usize| {
            let word = u64::from_le_bytes(package[at..at + 8].try_into().unwrap());
            usize::try_from(word).unwrap()
        };
        let image = |entry: usize| {
            let at = word(16 + entry * 40 + 16);
            &package[at..at + word(16 + entry * 40 + 24)]
        };
        assert_eq!(package[16..20], [0x5f, 0xf9, 0xec, 0x0b]);
        assert_eq!((image(0), image(1)), (&b"two"[..], &b"kernel"[..]));
        assert_eq!((&package[96..112], image(2)), (&[0; 16][..], &b""[..]));
    }
}
