//! The linked programs behind a snapshot's addresses.
//!
//! **Invariant:** nothing is built when the ELF files are there. A snapshot's names come from the builds that it says
//! ran, be they the last ones, kept older ones or given ones; only of a snapshot that does not say so, from the last.

use crate::images::{self, Config, Heaps, Images};
use crate::paths::{self, GUEST_TARGET};
use crate::sign::Signed;
use crate::{builds, given, setup, ui};
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tally_abi::TeeUuid;
use tally_abi::shdr::BuildId;
use tally_insight::account::Build;
use tally_insight::snapshot::Snapshot;
use tally_records::tracking;
use tally_report::programs::Programs;
use tally_symbols::elf::Image;

/// Files that were given on the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Given {
    /// ELF file of the kernel that took the snapshots; without: the one of that build that is kept, or the last
    /// one built
    #[arg(long, value_name = "ELF")]
    kernel: Option<PathBuf>,
    /// ELF file of a TA that was not built here, or whose build is not kept any more; may be repeated. Of an image that
    /// was signed elsewhere: with the signed image beside it, which tells that they are the same
    #[arg(long, value_name = "ELF")]
    ta: Vec<PathBuf>,
    /// Of snapshots that do not say which builds of the TAs ran (an older kernel took them): names by the TAs
    /// of a build with this option
    #[arg(long)]
    debug_heap: bool,
    /// As --debug-heap
    #[arg(long)]
    light_heap: bool,
}

impl Given {
    fn heaps(&self) -> Heaps {
        Heaps {
            debug_heap: self.debug_heap,
            light_heap: self.light_heap,
            ..Heaps::default()
        }
    }
}

fn linked_kernel() -> PathBuf {
    paths::target()
        .join(GUEST_TARGET)
        .join("release")
        .join("tally-kernel")
}

/// Programs that were found, for names.
pub(crate) struct Found {
    /// All of them.
    pub(crate) programs: Programs,
    /// TAs of this workspace among them that were not given: name, file.
    kept: BTreeMap<TeeUuid, (String, PathBuf)>,
    /// Files that were given and of which only other builds ran: file, one that ran.
    strange: Vec<(PathBuf, Build)>,
}

/// A build of a program that ran, if `image` is none of those that did.
fn another_that_ran(image: &Image, uuid: TeeUuid, wanted: &BTreeSet<Build>) -> Option<Build> {
    let ran = || wanted.iter().filter(|build| build.image == uuid);
    if ran().any(|build| builds::is(image, *build)) {
        return None;
    }
    ran().next().copied()
}

/// The ELF file of a TA.
pub(crate) fn read_ta(path: &Path) -> Result<Image> {
    let bytes = tally_symbols::read(path, tally_symbols::MAX_PROGRAM_BYTES)?;
    ensure!(
        Signed::parse(&bytes).is_none(),
        "{} is a signed image, which has no names: --ta takes the ELF file that it was made of (with this image beside it)",
        path.display()
    );
    ensure!(
        bytes.starts_with(&object::elf::ELFMAG),
        "{} is no ELF file: --ta takes that of a TA, as the linker left it",
        path.display()
    );
    Image::parse(path, bytes).with_context(|| format!("in {}", path.display()))
}

/// The builds that these snapshots speak of.
fn wanted(snapshots: &[(Snapshot, String)]) -> BTreeSet<Build> {
    let mut wanted = BTreeSet::new();
    for (snapshot, _) in snapshots {
        wanted.insert(Build::kernel(&snapshot.header.build));
        let tas = snapshot.tas.iter().map(|ta| (ta.uuid, ta.image_id));
        let refused = snapshot.failures.iter();
        let refused = refused.map(|failure| (failure.image, failure.image_id));
        wanted.extend(tas.chain(refused).map(|(image, id)| Build { image, id }));
    }
    wanted.retain(|build| build.id != 0);
    wanted
}

/// Reads them.
pub(crate) fn load(given: &Given, snapshots: &[(Snapshot, String)]) -> Result<Found> {
    let dir = given.heaps().linked();
    let mut wanted = wanted(snapshots);
    let kernel = match &given.kernel {
        Some(path) => path.clone(),
        None => {
            let path = linked_kernel();
            if !path.exists() || !dir.exists() {
                setup::ensure(setup::Part::Target)?;
                images::build(&Config {
                    heaps: given.heaps(),
                    ..Config::default()
                })?;
            }
            path
        }
    };
    let kernel = Image::read(&kernel)?;
    let mut strange = Vec::new();
    if let Some(path) = &given.kernel
        && let Some(ran) = another_that_ran(&kernel, TeeUuid::nil(), &wanted)
    {
        strange.push((path.clone(), ran));
    }
    wanted.retain(|build| build.image != TeeUuid::nil() || !builds::is(&kernel, *build));
    let mut given_tas = Vec::new();
    for path in &given.ta {
        let image = read_ta(path)?;
        if let Some(ran) = another_that_ran(&image, image.ta_head()?.uuid, &wanted) {
            strange.push((path.clone(), ran));
        }
        given_tas.push((builds::ids(&image), image));
    }
    let mut programs = Programs::new(&paths::root());
    // What is added last names a program. The builds that ran come first, from where they are kept.
    for &build in &wanted {
        match builds::kept(build) {
            Some((_, image)) if build.image == TeeUuid::nil() => programs.add_kernel(image),
            Some((name, image)) => {
                programs.add_ta(short(&name), vec![build.id], image)?;
            }
            None => {}
        }
    }
    programs.add_kernel(kernel);
    let mut kept = BTreeMap::new();
    for package in images::ta_packages()? {
        let path = dir.join(&package);
        if path.exists() {
            let name = short(&package);
            let image = Image::read(&path)?;
            let uuid = programs.add_ta(name, builds::ids(&image), image)?;
            kept.insert(uuid, (name.to_owned(), path));
        }
    }
    for (ids, image) in given_tas {
        let uuid = programs.add_ta(&given::name(&image), ids, image)?;
        kept.remove(&uuid);
    }
    Ok(Found {
        programs,
        kept,
        strange,
    })
}

/// The programs of a build at hand.
pub(crate) fn of(images: &Images) -> Result<Programs> {
    let mut programs = Programs::new(&paths::root());
    programs.add_kernel(images.kernel.clone());
    for ta in &images.tas {
        programs.add_ta(short(&ta.name), vec![ta.id], ta.elf.clone())?;
    }
    Ok(programs)
}

/// What people call the TA of a package.
pub(crate) fn short(package: &str) -> &str {
    package.strip_prefix("ta-").unwrap_or(package)
}

impl Found {
    /// Warns of names that may be wrong, where nothing else tells whether the programs are those of the
    /// snapshots, the oldest of which was written at `taken`.
    pub(crate) fn warn(
        &self,
        given: &Given,
        snapshots: &[(Snapshot, String)],
        taken: Option<SystemTime>,
    ) {
        for (path, ran) in &self.strange {
            let why = if ran.image == TeeUuid::nil() {
                "the kernel that ran".to_owned()
            } else {
                format!(
                    "the TA that ran (image {:016x}; of one that was signed elsewhere, the signed image beside it \
                     would tell)",
                    ran.id
                )
            };
            ui::warn(format_args!(
                "{} names no calls: it is of another build than {why}",
                path.display()
            ));
        }
        let newer = self.newer(given, snapshots, taken);
        if !newer.is_empty() {
            ui::warn(format_args!(
                "linked after the snapshot was taken: {}. If they changed, names may be wrong (--kernel ELF and \
                 --ta ELF name those that it was taken of)",
                newer.join(", ")
            ));
        }
        for (light_heap, tas) in self.of_another_build(given.heaps(), snapshots) {
            let (is, option) = if light_heap {
                ("light", "with")
            } else {
                ("full", "without")
            };
            ui::warn(format_args!(
                "the heaps in the snapshot are {is}: {}. Their calls are named after another build of these \
                 TAs, which is wrong; ask again {option} --light-heap",
                tas.join(", ")
            ));
        }
    }

    /// TAs whose heaps are not of the kind that `heaps` makes, by whether they are light.
    fn of_another_build(
        &self,
        heaps: Heaps,
        snapshots: &[(Snapshot, String)],
    ) -> BTreeMap<bool, Vec<&str>> {
        let pools = snapshots.iter().flat_map(|(snapshot, _)| {
            let pools = snapshot.pools.iter();
            pools.filter(|row| does_not_say(snapshot, row.pool.owner))
        });
        let other: BTreeSet<(bool, &str)> = pools
            .map(|row| &row.pool)
            .filter(|pool| [tracking::FULL, tracking::LIGHT].contains(&pool.tracking))
            .map(|pool| (pool.tracking == tracking::LIGHT, pool.owner))
            .filter(|(is_light, _)| *is_light != heaps.light_heap)
            .filter_map(|(is_light, ta)| Some((is_light, self.kept.get(&ta)?.0.as_str())))
            .collect();
        let mut out: BTreeMap<bool, Vec<&str>> = BTreeMap::new();
        for (is_light, name) in other {
            out.entry(is_light).or_default().push(name);
        }
        out
    }

    /// TAs, and the kernel of snapshots without a build id, that were linked after `taken`.
    fn newer(
        &self,
        given: &Given,
        snapshots: &[(Snapshot, String)],
        taken: Option<SystemTime>,
    ) -> Vec<String> {
        let newer = |path: &Path| {
            let linked = path.metadata().and_then(|file| file.modified());
            matches!((linked, taken), (Ok(linked), Some(taken)) if linked > taken)
        };
        let snapshots = || snapshots.iter().map(|(snapshot, _)| snapshot);
        let mut names = Vec::new();
        let unknown = snapshots().any(|snapshot| snapshot.header.build == BuildId::default());
        if given.kernel.is_none() && unknown && newer(&linked_kernel()) {
            names.push("the kernel".to_owned());
        }
        let shown: BTreeSet<TeeUuid> = snapshots()
            .flat_map(|snapshot| {
                snapshot
                    .live
                    .iter()
                    .map(move |record| (snapshot, record.image))
            })
            .filter(|(snapshot, image)| does_not_say(snapshot, *image))
            .map(|(_, image)| image)
            .collect();
        for (uuid, (name, path)) in &self.kept {
            if shown.contains(uuid) && newer(path) {
                names.push(format!("the TA {name}"));
            }
        }
        names
    }
}

/// Whether a snapshot does not say which build of a TA ran.
fn does_not_say(snapshot: &Snapshot, ta: TeeUuid) -> bool {
    let mut instances = snapshot.tas.iter().filter(|row| row.uuid == ta);
    instances.all(|row| row.image_id == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_insight::sample;

    /// After `run --light-heap` cargo's directory had the light TAs, and a report of full ones took its names
    /// from them, in silence.
    #[test]
    fn tas_of_another_build_are_told() {
        let mut full = sample::machine(1);
        for ta in &mut full.tas {
            ta.image_id = 0;
        }
        let mut light = full.clone();
        for row in &mut light.pools {
            row.pool.tracking = tracking::LIGHT;
        }
        let mut found = Found {
            programs: Programs::new(Path::new("")),
            kept: BTreeMap::new(),
            strange: Vec::new(),
        };
        let ta = |owner: &TeeUuid| *owner != TeeUuid::nil();
        let owner = full
            .pools
            .iter()
            .map(|row| row.pool.owner)
            .find(ta)
            .unwrap();
        let [usual, light_heap] = [false, true].map(|light_heap| Heaps {
            light_heap,
            ..Heaps::default()
        });
        let [full, light] = [full, light].map(|snapshot| [(snapshot, String::new())]);
        // Of a TA that was given, nobody knows how it was built.
        assert!(found.of_another_build(usual, &light).is_empty());
        found.kept.insert(owner, ("sound".into(), PathBuf::new()));
        assert!(found.of_another_build(usual, &full).is_empty());
        assert!(found.of_another_build(light_heap, &light).is_empty());
        assert_eq!(found.of_another_build(usual, &light)[&true], ["sound"]);
        assert_eq!(found.of_another_build(light_heap, &full)[&false], ["sound"]);
        // Who says which build it was needs no such guess.
        let says = [(sample::machine(1), String::new())];
        assert!(found.of_another_build(light_heap, &says).is_empty());
    }

    /// A TA's file in the place of the kernel's was taken without a word, since that TA had run.
    #[test]
    fn a_file_that_is_not_what_ran_is_told() {
        let path = Path::new("ta");
        let image = |code| Image::parse(path, builds::tests::ta(code, b"")).unwrap();
        let (ran, other) = (image(1), image(2));
        let build = |image: &Image| Build {
            image: builds::tests::TA,
            id: builds::ids(image)[0],
        };
        let kernel = Build::kernel(&sample::BUILD);
        let wanted = BTreeSet::from([build(&ran), kernel]);
        let told = |image, uuid| another_that_ran(image, uuid, &wanted);
        assert_eq!(told(&ran, builds::tests::TA), None);
        assert_eq!(told(&other, builds::tests::TA), Some(build(&ran)));
        assert_eq!(told(&ran, TeeUuid::nil()), Some(kernel));
        // Of what did not run, or is not known, nothing can be said.
        assert_eq!(told(&ran, sample::SOUND), None);
    }

    #[test]
    fn each_build_of_the_tas_has_its_own_directory() {
        let dirs: BTreeSet<PathBuf> = (0..8)
            .map(|bits| Heaps {
                debug_heap: bits & 1 != 0,
                light_heap: bits & 2 != 0,
                v0_symbols: bits & 4 != 0,
            })
            .map(Heaps::linked)
            .collect();
        assert_eq!(dirs.len(), 8);
    }
}
