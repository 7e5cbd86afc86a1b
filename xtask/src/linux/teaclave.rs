//! A TA and a client on Teaclave's crates as they are published, built with Debian's OP-TEE kit and libteec.
//!
//! **Invariant:** nothing of Tally's is in either.

use super::{Debian, KIT};
use crate::{paths, setup, tool, ui};
use anyhow::{Context as _, Result};
use std::path::PathBuf;

/// The Rust target of both.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// What was built.
pub(crate) struct Teaclave {
    /// The TA's ELF file.
    pub(crate) ta: PathBuf,
    /// The client, a program for Debian's Linux.
    pub(crate) client: Vec<u8>,
}

/// Builds both.
///
/// # Errors
/// [`super::Unreachable`] when the kit cannot be had.
pub(crate) fn build() -> Result<Teaclave> {
    let root = Debian::Trixie.unpacked()?;
    setup::ensure(setup::Part::CrossCompiler)?;
    setup::ensure(setup::Part::GnuTarget)?;
    ui::step("Building", "a TA and a client on Teaclave's crates");
    let dir = paths::out().join("teaclave");
    // As OP-TEE's client exports itself.
    let export = dir.join("export");
    std::fs::create_dir_all(export.join("usr"))?;
    let libraries = export.join("usr/lib");
    let _ = std::fs::remove_file(&libraries);
    std::os::unix::fs::symlink(root.join("usr/lib/aarch64-linux-gnu"), &libraries)?;
    let linker = format!("{}gcc", setup::CROSS_COMPILE);
    for package in ["teaclave-ta", "teaclave-client"] {
        let mut cargo = tool::cargo();
        cargo.current_dir(paths::root().join("teaclave"));
        cargo.args(["build", "--release", "--locked", "--quiet"]);
        cargo.args(["--package", package, "--target", TARGET]);
        cargo.env("CARGO_TARGET_DIR", &dir);
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &linker);
        cargo.env("TA_DEV_KIT_DIR", root.join(KIT));
        cargo.env("OPTEE_CLIENT_EXPORT", &export);
        tool::run(&mut cargo)?;
    }
    let built = dir.join(TARGET).join("release");
    let client = built.join("teaclave-client");
    Ok(Teaclave {
        ta: built.join("teaclave-ta"),
        client: std::fs::read(&client).with_context(|| paths::shown(&client))?,
    })
}
