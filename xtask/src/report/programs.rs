//! The linked programs behind a snapshot's addresses.
//!
//! **Invariant:** nothing is built when the kernel's ELF file is there: a snapshot's names come
//! from the build that made it, if that is still the last one.
//! **Knows nothing of:** snapshots.

use crate::images::{self, Config};
use crate::paths::{self, GUEST_TARGET};
use crate::{setup, ui};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tally_report::names::Programs;
use tally_symbols::elf::Image;

/// Files that were given on the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Given {
    /// ELF file of the kernel that took the snapshots; without: the last one built
    #[arg(long, value_name = "ELF")]
    kernel: Option<PathBuf>,
    /// ELF file of a TA that is not in this workspace; may be repeated
    #[arg(long, value_name = "ELF")]
    ta: Vec<PathBuf>,
}

fn linked(name: &str) -> PathBuf {
    paths::target()
        .join(GUEST_TARGET)
        .join("release")
        .join(name)
}

/// Reads them. Warns when the kernel was linked after `taken`, when the oldest snapshot was.
pub(crate) fn load(given: &Given, taken: Option<SystemTime>) -> Result<Programs> {
    let kernel = match &given.kernel {
        Some(path) => path.clone(),
        None => {
            let path = linked("tally-kernel");
            if !path.exists() {
                setup::ensure(setup::Part::Target)?;
                images::build(&Config::default())?;
            }
            warn_if_newer(&path, taken);
            path
        }
    };
    let mut programs = Programs::new(&paths::root());
    programs.add_kernel(Image::read(&kernel)?);
    for package in images::ta_packages()? {
        let path = linked(&package);
        if path.exists() {
            let name = package.strip_prefix("ta-").unwrap_or(&package);
            programs.add_ta(name, Image::read(&path)?)?;
        }
    }
    for path in &given.ta {
        let name = path.file_stem().context("a TA's file has no name")?;
        programs.add_ta(&name.to_string_lossy(), Image::read(path)?)?;
    }
    Ok(programs)
}

fn warn_if_newer(kernel: &Path, taken: Option<SystemTime>) {
    let linked = kernel.metadata().and_then(|file| file.modified()).ok();
    if let (Some(linked), Some(taken)) = (linked, taken)
        && linked > taken
    {
        ui::warn(
            "the kernel was linked after the snapshot was taken: if it changed, names may be \
             wrong (--kernel ELF names the one that took it)",
        );
    }
}
