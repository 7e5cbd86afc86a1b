//! The linked programs behind a snapshot's addresses.
//!
//! **Invariant:** nothing is built when the kernel's ELF file is there: a snapshot's names come
//! from the build that made it, if that is still the last one.
//! **Knows nothing of:** how a snapshot is read.

use crate::images::{self, Config, Images};
use crate::paths::{self, GUEST_TARGET};
use crate::{setup, ui};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;
use tally_abi::TeeUuid;
use tally_abi::snapshot::BuildId;
use tally_report::names::Programs;
use tally_report::snapshot::Snapshot;
use tally_symbols::elf::Image;

/// Files that were given on the command line.
#[derive(Clone, Debug, clap::Args)]
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

/// Reads them.
pub(crate) fn load(given: &Given) -> Result<Programs> {
    let kernel = match &given.kernel {
        Some(path) => path.clone(),
        None => {
            let path = linked("tally-kernel");
            if !path.exists() {
                setup::ensure(setup::Part::Target)?;
                images::build(&Config::default())?;
            }
            path
        }
    };
    let mut programs = Programs::new(&paths::root());
    programs.add_kernel(Image::read(&kernel)?);
    for package in images::ta_packages()? {
        let path = linked(&package);
        if path.exists() {
            programs.add_ta(short(&package), Image::read(&path)?)?;
        }
    }
    for path in &given.ta {
        let name = path.file_stem().context("a TA's file has no name")?;
        programs.add_ta(&name.to_string_lossy(), Image::read(path)?)?;
    }
    Ok(programs)
}

/// The programs of a build at hand.
pub(crate) fn of(images: &Images) -> Result<Programs> {
    let mut programs = Programs::new(&paths::root());
    programs.add_kernel(images.kernel.clone());
    for ta in &images.tas {
        programs.add_ta(short(&ta.name), ta.elf.clone())?;
    }
    Ok(programs)
}

/// What people call the TA of a package.
fn short(package: &str) -> &str {
    package.strip_prefix("ta-").unwrap_or(package)
}

/// Warns of programs that were linked after `taken`, when the oldest of these snapshots was, where nothing
/// else tells whether they are those of the snapshots: TAs, and kernels of snapshots without a build id.
pub(crate) fn warn_of_newer(
    given: &Given,
    snapshots: &[(Snapshot, String)],
    taken: Option<SystemTime>,
) {
    let newer = |package: &str| {
        let linked = linked(package).metadata().and_then(|file| file.modified());
        matches!((linked, taken), (Ok(linked), Some(taken)) if linked > taken)
    };
    let snapshots = || snapshots.iter().map(|(snapshot, _)| snapshot);
    let mut names = Vec::new();
    let unknown = snapshots().any(|snapshot| snapshot.header.build == BuildId::default());
    if given.kernel.is_none() && unknown && newer("tally-kernel") {
        names.push("the kernel".to_owned());
    }
    let shown: BTreeSet<TeeUuid> = snapshots()
        .flat_map(|snapshot| &snapshot.live)
        .map(|record| record.image)
        .collect();
    for package in images::ta_packages().unwrap_or_default() {
        if newer(&package)
            && Image::read(&linked(&package))
                .and_then(|elf| elf.ta_head())
                .is_ok_and(|head| shown.contains(&head.uuid))
        {
            names.push(format!("the TA {}", short(&package)));
        }
    }
    if !names.is_empty() {
        ui::warn(format_args!(
            "linked after the snapshot was taken: {}. If they changed, names may be wrong (--kernel ELF and \
             --ta ELF name those that it was taken of)",
            names.join(", ")
        ));
    }
}
