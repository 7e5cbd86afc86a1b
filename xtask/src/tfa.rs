//! Stock TF-A as the firmware: Debian's sources of it, built with OP-TEE's dispatcher, unmodified.
//!
//! **Invariant:** what [`Tfa`] names was built whole; the kernel that it boots is the same file that our
//! own firmware boots.
//!
//! Source: arm-trusted-firmware `plat/qemu/`, `services/spd/opteed/opteed.mk`, and its build options.

use crate::images::Images;
use crate::{linux, paths, setup, tool, ui};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use tally_board_virt::images::NORMAL_BASE;

/// Debian's source package.
const PACKAGE: &str = "arm-trusted-firmware";
/// The stages that TF-A has of its own; the first is in flash, which loads the others by semihosting.
const STAGES: [&str; 3] = ["bl1.bin", "bl2.bin", "bl31.bin"];
/// The name by which TF-A asks for the trusted OS.
const TRUSTED_OS: &str = "bl32.bin";

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
        if let Ok(built) = Self::in_dir(&dir) {
            return Ok(built);
        }
        let archive = linux::upstream_source(PACKAGE)?;
        setup::ensure(setup::Part::CrossCompiler)?;
        let sources = dir.join("sources");
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
        Self::in_dir(&dir)
    }

    /// Puts what TF-A loads by semihosting into the directory that QEMU runs in; the flash's contents.
    pub(crate) fn install(&self, images: &Images, dir: &Path) -> Result<PathBuf> {
        for stage in STAGES {
            std::fs::copy(self.dir.join(stage), dir.join(stage))?;
        }
        std::fs::copy(&images.kernel_raw, dir.join(TRUSTED_OS))?;
        Ok(dir.join(STAGES[0]))
    }
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
    make.args(["bl1", "bl2", "bl31"]);
    // As Debian builds it: newer compilers and linkers warn of what older ones did not.
    make.env("CFLAGS", "--param=min-pagesize=0");
    make.env("TF_LDFLAGS", "--no-warn-rwx-segments");
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(name);
    }
    make
}
