//! Build identity of linked programs, and the older builds that are kept: a snapshot says which build of a TA
//! ran, and only that one's ELF file may name its calls.
//!
//! **Invariant:** a file is of a build because its bytes say so, never because of its name, place or time.

use crate::sign::{self, Signed};
use crate::{file, paths, ui};
use anyhow::{Context as _, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tally_abi::TeeUuid;
use tally_insight::account::Build;
use tally_symbols::elf::Image;

/// How many builds of a program are kept.
const KEPT: usize = 32;

/// The images that were or can be made of a TA's ELF file, by [`tally_abi::shdr::image_id`]: as xtask or OP-TEE's script
/// sign it, and what lies beside it signed and is loaded just as it would be. None of a file without a TA's head.
pub(crate) fn ids(elf: &Image) -> Vec<u64> {
    let Ok(head) = elf.ta_head() else {
        return Vec::new();
    };
    let mut ids = Vec::new();
    for payload in [elf.stripped().ok(), Some(elf.bytes.clone())] {
        ids.extend(payload.iter().flat_map(|elf| sign::ids(head.uuid, elf)));
    }
    let beside = elf.path.parent().and_then(|dir| match dir.as_os_str() {
        dir if dir.is_empty() => std::fs::read_dir(".").ok(),
        dir => std::fs::read_dir(dir).ok(),
    });
    let beside = beside.into_iter().flatten().flatten();
    for path in beside.map(|entry| entry.path()) {
        if path.extension().is_some_and(|kind| kind == "ta")
            && let Ok(bytes) = std::fs::read(&path)
            && let Some(signed) = Signed::parse(&bytes)
            && signed.uuid == head.uuid
            && let Ok(other) = Image::parse(&path, signed.elf.to_vec())
            && elf.is_loaded_as(&other)
        {
            ids.push(signed.id);
        }
    }
    ids
}

fn dir() -> PathBuf {
    paths::out().join("kept")
}

/// Keeps a program for names, and no more than some builds of each. What goes wrong is only told: names are not
/// worth a build.
pub(crate) fn keep(name: &str, id: u64, bytes: &[u8]) {
    if let Err(err) = keep_in(&dir(), name, id, bytes) {
        ui::warn(format_args!(
            "{name} is not kept for later reports: {err:#}"
        ));
    }
}

fn keep_in(dir: &Path, name: &str, id: u64, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join(format!("{name}-{id:016x}"));
    if std::fs::read(&path).ok().as_deref() == Some(bytes) {
        // Who is built again is not old.
        let file = std::fs::File::options().append(true).open(&path)?;
        file.set_modified(SystemTime::now())?;
    } else {
        file::replace(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut builds: Vec<(SystemTime, PathBuf)> = all(dir)
        .filter(|(other, ..)| other == name)
        .filter_map(|(_, _, path)| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    builds.sort();
    for (_, path) in builds.iter().rev().skip(KEPT) {
        // Another xtask may have been quicker.
        match std::fs::remove_file(path) {
            Err(err) if err.kind() != ErrorKind::NotFound => return Err(err.into()),
            _ => {}
        }
    }
    Ok(())
}

/// What is kept: name, id, file.
fn all(dir: &Path) -> impl Iterator<Item = (String, u64, PathBuf)> + use<> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|entry| {
        let file = entry.file_name().into_string().ok()?;
        let (name, id) = file.rsplit_once('-')?;
        let id = u64::from_str_radix(id, 16).ok()?;
        Some((name.to_owned(), id, entry.path()))
    })
}

/// The kept program that is this build: its name and its file.
pub(crate) fn kept(build: Build) -> Option<(String, Image)> {
    kept_in(&dir(), build)
}

fn kept_in(dir: &Path, build: Build) -> Option<(String, Image)> {
    let of_that_id = all(dir).filter(|(_, id, _)| *id == build.id);
    of_that_id
        .filter_map(|(name, _, path)| Some((name, Image::read(&path).ok()?)))
        .find(|(_, image)| is(image, build))
}

/// Whether a program is this build.
pub(crate) fn is(image: &Image, build: Build) -> bool {
    if build.image == TeeUuid::nil() {
        let known = image.build_id().map(|id| Build::kernel(&id));
        known == Some(build)
    } else {
        let uuid = image.ta_head().map(|head| head.uuid);
        uuid.is_ok_and(|uuid| uuid == build.image) && ids(image).contains(&build.id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys::DevKey;
    use tally_abi::ta::{DEPRECATED_ENTRY, TaHead};
    use zerocopy::IntoBytes as _;

    /// The TA of [`ta`].
    pub(crate) const TA: TeeUuid = TeeUuid::from_u128(0x7a11e110_0099_4c6e_8d01_5ec0de000099);

    /// An ELF file of one segment, a TA's head and `code`, with what else is in a file behind it.
    pub(crate) fn ta(code: u8, names: &[u8]) -> Vec<u8> {
        let head = TaHead {
            uuid: TA,
            stack_size: 4096,
            flags: 0,
            depr_entry: DEPRECATED_ENTRY,
        };
        let loaded = [head.as_bytes(), &[code; 8]].concat();
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        // Shared object, AArch64, version.
        for half in [3_u16, 183, 1, 0] {
            elf.extend(half.to_le_bytes());
        }
        // Entry, program headers, no sections; flags; sizes and counts of headers.
        for word in [32_u64, 64, 0] {
            elf.extend(word.to_le_bytes());
        }
        for half in [0_u16, 0, 64, 56, 1, 0, 0, 0] {
            elf.extend(half.to_le_bytes());
        }
        // To be loaded, readable and executable: 0x80 of the file at 0.
        elf.extend([1_u32, 5].iter().flat_map(|word| word.to_le_bytes()));
        let length = loaded.len() as u64;
        for word in [0x80, 0, 0, length, length, 4096] {
            elf.extend(word.to_le_bytes());
        }
        elf.resize(0x80, 0);
        [elf, loaded, names.to_vec()].concat()
    }

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tally-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn image(path: &Path, bytes: &[u8]) -> Image {
        std::fs::write(path, bytes).unwrap();
        Image::read(path).unwrap()
    }

    #[test]
    fn an_elf_file_is_of_the_image_that_is_signed_of_it_and_of_no_other() {
        let dir = dir("ids");
        let [one, other] = [1, 2].map(|code| {
            let path = dir.join(format!("ta-{code}"));
            image(&path, &ta(code, b"its names"))
        });
        let key = DevKey::for_test();
        let signed = sign::sign_ta(&key, TA, &one.stripped().unwrap()).unwrap();
        let build = Build {
            image: TA,
            id: Signed::parse(&signed).unwrap().id,
        };
        assert!(is(&one, build) && !is(&other, build));
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// OP-TEE's TA kit strips with tools of its own, and signs what it likes.
    #[test]
    fn an_image_that_was_signed_elsewhere_is_told_by_the_file_beside_its_elf_file() {
        let dir = dir("beside");
        let elf = image(&dir.join("ta.elf"), &ta(1, b"its names"));
        let key = DevKey::for_test();
        // Stripped in another way: something else stands where the names were.
        let signed = sign::sign_ta(&key, TA, &ta(1, b"gone")).unwrap();
        let id = Signed::parse(&signed).unwrap().id;
        assert!(!ids(&elf).contains(&id));
        std::fs::write(dir.join("ta.ta"), &signed).unwrap();
        assert!(ids(&elf).contains(&id));
        // Of another build's code it is not.
        let elf = image(&dir.join("ta.elf"), &ta(2, b"its names"));
        assert!(!ids(&elf).contains(&id));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn older_builds_are_kept_and_the_oldest_go() {
        let dir = dir("kept");
        let file = |code: u8| ta(code, b"");
        let build = |code: u8| {
            let elf = image(&dir.join("elf"), &file(code));
            let id = sign::ids(TA, &elf.stripped().unwrap()).next().unwrap();
            Build { image: TA, id }
        };
        for code in 0..=KEPT as u8 {
            keep_in(&dir, "ta-one", build(code).id, &file(code)).unwrap();
            // Times must differ to be told apart.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(kept_in(&dir, build(0)).is_none());
        let (name, _) = kept_in(&dir, build(1)).unwrap();
        assert_eq!(name, "ta-one");
        // A file under the name of another build is not believed.
        let wrong = dir.join(format!("ta-one-{:016x}", build(1).id));
        std::fs::write(wrong, file(3)).unwrap();
        assert!(kept_in(&dir, build(1)).is_none());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
