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
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Their names.
pub(super) const NAMES: [&str; 2] = [
    "qemu: TAs of OP-TEE's test suite and kit, as Debian built them, open or say why not",
    "qemu: the heaps of C TAs that Debian built are told, block by block",
];
/// TAs whose heaps are looked at, and a command of each that allocates, if it has one.
const WITH_HEAPS: [(&str, &str); 4] = [
    // sims, large, concurrent_large; os_test, whose allocator is a library's, with its tests of `malloc`.
    ("e6a33ed4-562b-463a-bb7e-ff5e15a493c8", ""),
    ("25497083-a58a-4fc5-8a72-1ad7b69b8562", ""),
    ("5ce0c432-0ab0-40e5-a056-782ca0e6aba2", ""),
    ("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b", "invoke 1 5; "),
];
/// Bytes of the words before a block, and of those that end a pool.
const HEAD_BYTES: u64 = 16;
/// What becomes of each: UUID, what, and what it is for people.
const LIST: &str = "xtask/debian-tas.txt";
/// Of a file that is none that xtask takes.
const NOT_GIVEN: &str = "not given";
/// Where the packages have them.
const OF_TESTS: &str = "usr/lib/optee_armtz";

/// One that opens: its relocations are in two segments.
const AS_ELF: &str = "023f8f1a-292a-432b-8fc4-de8471358067";

/// The name of the file that it is given as, and its own then.
const OF_KIT: &str = "of-kit";

/// Runs it if it is wanted.
pub(super) fn run(results: &mut Results, silence: Duration) {
    let checks: [fn(&Path, Duration) -> Result<()>; 2] = [all_open, heaps_are_told];
    for (name, check) in NAMES.into_iter().zip(checks) {
        if !results.wants(name) {
            continue;
        }
        match linux::kit() {
            Ok(root) => results.check(name, || {
                check(&root, silence).map_err(|err| format!("{err:#}"))
            }),
            Err(err) if err.is::<Unreachable>() => results.skip(name, &format!("{err:#}")),
            Err(err) => results.check(name, || Err(format!("{err:#}"))),
        }
    }
}

/// Images with all files that can be given, each of which is said to be, or not.
fn images(root: &Path) -> Result<(Images, BTreeMap<String, String>)> {
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
    Ok((images, found))
}

fn all_open(root: &Path, silence: Duration) -> Result<()> {
    let (images, mut found) = images(root)?;
    // As an ELF file, too, which xtask strips and signs itself.
    let elf = of_kit(&root.join(KIT).join("ta").join(format!("{AS_ELF}.ta")))?;
    let mut as_elf = images.clone();
    elf.install(&mut as_elf)?;
    let ended = opened(&as_elf, (AS_ELF, OF_KIT), silence)?;
    ensure!(ended == "opens", "{AS_ELF} as an ELF file: {ended}");
    // With all of them there: some are libraries of others.
    for (uuid, ended) in found.iter_mut().filter(|(_, ended)| ended.is_empty()) {
        *ended = opened(&images, (uuid, uuid), silence).context(uuid.clone())?;
    }
    List::read(LIST)?.compare(&found)
}

/// Opens a session, looks whether the account adds up with the TA in it, and says what became of it.
fn opened(images: &Images, (uuid, name): (&str, &str), silence: Duration) -> Result<String> {
    let commands = format!("open {uuid}; teestat meminfo");
    let outcome = Run::captured(images, "debian-tas", &commands, silence).start()?;
    let text = &outcome.normal;
    ensure!(
        matches!(outcome.ending, Ending::Exit(0 | 1)) && text.contains("\nadds up to the "),
        "{:?}:\n{text}",
        outcome.ending
    );
    if text.contains(&format!("of {name}\n")) && text.starts_with("handle 1") {
        return Ok("opens".to_owned());
    }
    let refused = format!("{uuid}: cannot open a session: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&refused));
    Ok(line
        .with_context(|| format!("not told:\n{text}"))?
        .to_owned())
}

fn heaps_are_told(root: &Path, silence: Duration) -> Result<()> {
    let (images, _) = images(root)?;
    for (uuid, command) in WITH_HEAPS {
        let commands = format!(
            "open {uuid}; {command}teestat pools --json; teestat pool dump {uuid} --json; \
             teestat pool check {uuid} --json"
        );
        let outcome = Run::captured(&images, "debian-heaps", &commands, silence).start()?;
        let told = || format!("{uuid}:\n{}", outcome.normal);
        let answers = outcome.normal.lines().filter(|line| line.starts_with('{'));
        let answers = answers.map(serde_json::from_str);
        let answers = answers.collect::<Result<Vec<Value>, _>>()?;
        let [pools, chunks, check] = answers.as_slice() else {
            bail!(told());
        };
        let heap = pools["pools"].as_array().into_iter().flatten();
        let heap = heap.clone().find(|pool| pool["uuid"] == uuid);
        adds_up(heap.with_context(told)?, chunks).with_context(told)?;
        ensure!(check["sound"] == true, told());
    }
    Ok(())
}

/// Whether a heap has something, and its chunks make up its size.
fn adds_up(heap: &Value, chunks: &Value) -> Result<()> {
    let figure = |name: &str| heap[name].as_u64().with_context(|| name.to_owned());
    ensure!(heap["consistency"] == "sound", "not sound");
    let mut bytes = BTreeMap::<&str, Vec<u64>>::new();
    for chunk in chunks["chunks"].as_array().context("no chunks")? {
        let kind = chunk["kind"].as_str().unwrap_or_default();
        let size = chunk["bytes"].as_u64().context("a chunk without a size")?;
        bytes.entry(kind).or_default().push(size);
    }
    let blocks = bytes.get("block").context("no block")?;
    let free = bytes.get("free").context("nothing is free")?;
    let free_bytes: u64 = free.iter().sum();
    ensure!(bytes.values().flatten().sum::<u64>() == figure("size")?);
    ensure!(figure("allocated")? == figure("size")? - free_bytes - HEAD_BYTES);
    ensure!(figure("max_allocated")? >= figure("allocated")?);
    ensure!(figure("live_blocks")? == blocks.len() as u64);
    ensure!(free.iter().max() == Some(&figure("largest_free")?));
    ensure!(figure("allocations")? > figure("releases")?);
    Ok(())
}

/// The ELF file of a signed image, given as one.
fn of_kit(image: &Path) -> Result<given::Ta> {
    let bytes = std::fs::read(image).with_context(|| paths::shown(image))?;
    let signed = Signed::parse(&bytes).context("no signed image")?;
    let file = paths::out().join(OF_KIT);
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
