//! TAs that Debian built: OP-TEE's test suite and kit, byte for byte, loaded by a kernel that trusts their key.
//!
//! **Invariant:** what becomes of each is compared with a list, so that one that begins to open, or to fail, changes it.

use super::list::List;
use super::results::Results;
use crate::images::{self, Config, Images};
use crate::linux::{self, KIT, Unreachable};
use crate::qemu::{Ending, Run};
use crate::sign::Signed;
use crate::{given, paths};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its name.
pub(super) const NAME: &str =
    "qemu: TAs of OP-TEE's test suite and kit, as Debian built them, open or say why not";
/// What becomes of each: UUID, what, and what it is for people.
const LIST: &str = "xtask/debian-tas.txt";
/// Of a file that is none that xtask takes.
const NOT_GIVEN: &str = "not given";
/// Where the packages have them.
const OF_TESTS: &str = "usr/lib/optee_armtz";

/// One that opens: its relocations are in two segments.
const AS_ELF: &str = "023f8f1a-292a-432b-8fc4-de8471358067";

/// Runs it if it is wanted.
pub(super) fn run(results: &mut Results, silence: Duration) {
    if !results.wants(NAME) {
        return;
    }
    match linux::kit() {
        Ok(root) => results.check(NAME, || {
            check(&root, silence).map_err(|err| format!("{err:#}"))
        }),
        Err(err) if err.is::<Unreachable>() => results.skip(NAME, &format!("{err:#}")),
        Err(err) => results.check(NAME, || Err(format!("{err:#}"))),
    }
}

fn check(root: &Path, silence: Duration) -> Result<()> {
    let mut files = signed(&root.join(OF_TESTS))?;
    files.extend(signed(&root.join(KIT).join("ta"))?);
    let mut images = images::build(&Config {
        ta_key: vec![root.join(KIT).join("keys/default_ta.pem")],
        ..Config::default()
    })?;
    let mut found = BTreeMap::new();
    for file in files {
        let uuid = file.file_stem().unwrap_or_default();
        let uuid = uuid.to_string_lossy().into_owned();
        let given = given::Ta::read(&file).and_then(|ta| ta.install(&mut images));
        found.insert(
            uuid,
            given.map_or_else(|_| NOT_GIVEN.to_owned(), |()| String::new()),
        );
    }
    // As an ELF file, too, which xtask strips and signs itself.
    let elf = of_kit(&root.join(KIT).join("ta").join(format!("{AS_ELF}.ta")))?;
    let mut as_elf = images.clone();
    elf.install(&mut as_elf)?;
    let ended = opened(&as_elf, AS_ELF, silence)?;
    ensure!(ended == "opens", "{AS_ELF} as an ELF file: {ended}");
    // With all of them there: some are libraries of others.
    for (uuid, ended) in found.iter_mut().filter(|(_, ended)| ended.is_empty()) {
        *ended = opened(&images, uuid, silence).context(uuid.clone())?;
    }
    List::read(LIST)?.compare(&found)
}

/// Opens a session, looks whether the account adds up with the TA in it, and says what became of it.
fn opened(images: &Images, uuid: &str, silence: Duration) -> Result<String> {
    let commands = format!("open {uuid}; teestat meminfo");
    let outcome = Run::captured(images, "debian-tas", &commands, silence).start()?;
    let text = &outcome.normal;
    ensure!(
        matches!(outcome.ending, Ending::Exit(0 | 1)) && text.contains("\nadds up to the "),
        "{:?}:\n{text}",
        outcome.ending
    );
    if text.contains(&format!("of {uuid}\n")) && text.starts_with("handle 1") {
        return Ok("opens".to_owned());
    }
    let refused = format!("{uuid}: cannot open a session: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&refused));
    Ok(line
        .with_context(|| format!("not told:\n{text}"))?
        .to_owned())
}

/// The ELF file of a signed image, given as one.
fn of_kit(image: &Path) -> Result<given::Ta> {
    let bytes = std::fs::read(image).with_context(|| paths::shown(image))?;
    let signed = Signed::parse(&bytes).context("no signed image")?;
    let file = paths::out().join("of-kit");
    std::fs::write(&file, signed.elf)?;
    let ta = given::Ta::read(&file);
    std::fs::remove_file(file)?;
    ta
}

/// The signed images of a directory, in the order of their names.
fn signed(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| paths::shown(dir))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ta"));
    files.sort();
    Ok(files)
}
