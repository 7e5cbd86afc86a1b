//! TAs that are given as files: linked, or signed already.
//!
//! **Invariant:** a file that was signed is run as it is; one that was not is signed with the development key.

use crate::images::{self, Images};
use crate::keys::DevKey;
use crate::report::programs;
use crate::{builds, sign, sites};
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use tally_abi::TeeUuid;
use tally_abi::shdr::{self, BootstrapHeader, SignedHeader};
use tally_insight::account::Build;
use tally_report::programs::Programs;
use tally_symbols::elf::Image;
use zerocopy::FromBytes as _;

/// A TA that was given.
pub(crate) enum Ta {
    /// As linked.
    Linked {
        /// For people.
        name: String,
        /// With debug information.
        elf: Box<Image>,
        /// From its head.
        uuid: TeeUuid,
    },
    /// As it is loaded.
    Signed {
        /// From its headers.
        uuid: TeeUuid,
        /// The container.
        bytes: Vec<u8>,
    },
}

/// Reads TAs.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Ta>> {
    paths.iter().map(|path| Ta::read(path)).collect()
}

/// What people call a TA of this file: what it says itself, else by the file's name.
pub(crate) fn name(elf: &Image) -> String {
    let stem = elf.path.file_stem().unwrap_or_default();
    let stem = || programs::short(&stem.to_string_lossy()).to_owned();
    elf.ta_name().map_or_else(stem, str::to_owned)
}

impl Ta {
    /// Reads a file of either kind.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = tally_symbols::read(path, tally_symbols::MAX_PROGRAM_BYTES)?;
        if !bytes.starts_with(&object::elf::ELFMAG) {
            let uuid = signed_uuid(&bytes).with_context(|| path.display().to_string())?;
            // What the hash of an encrypted one is of, the machine knows that decrypts it.
            ensure!(
                sign::is_encrypted(&bytes) || sign::Signed::parse(&bytes).is_some(),
                "{}: the signed image is damaged: it is not what its hash says",
                path.display()
            );
            return Ok(Self::Signed { uuid, bytes });
        }
        let elf = Box::new(Image::read(path)?);
        let name = name(&elf);
        let uuid = elf.ta_head()?.uuid;
        Ok(Self::Linked { name, elf, uuid })
    }

    /// The TA.
    pub(crate) fn uuid(&self) -> TeeUuid {
        match self {
            Self::Linked { uuid, .. } | Self::Signed { uuid, .. } => *uuid,
        }
    }

    /// Names its calls by its own file: one in this workspace with the same UUID is another program.
    pub(crate) fn name(&self, images: &Images, programs: &mut Programs) -> Result<()> {
        match self {
            Self::Linked { name, elf, uuid } => {
                let name = images.names.get(uuid).unwrap_or(name);
                programs.add_ta(name, builds::ids(elf), (**elf).clone())?;
            }
            Self::Signed { uuid, bytes } if !is_built(images, *uuid, bytes) => {
                programs.forget(*uuid);
                // It may be an older build of ours.
                if let Some(id) = sign::Signed::parse(bytes).map(|signed| signed.id)
                    && let Some((name, elf)) = builds::kept(Build { image: *uuid, id })
                {
                    programs.add_ta(programs::short(&name), vec![id], elf)?;
                }
            }
            Self::Signed { .. } => {}
        }
        Ok(())
    }

    /// Puts it into the archive, in place of one of the same UUID.
    pub(crate) fn install(self, images: &mut Images) -> Result<()> {
        let uuid = self.uuid();
        let file = |kind| format!("{}/{uuid}.{kind}", images::LIB);
        let (name, files) = match self {
            Self::Linked { name, elf, .. } => {
                if let Some(id) = builds::ids(&elf).first() {
                    // Who names calls of it later finds it.
                    builds::keep(&name, *id, &elf.bytes);
                }
                let signed = sign::sign_ta(&DevKey::load()?, uuid, &elf.stripped()?)?;
                let sites = sites::table(&elf)?;
                images.tas.retain(|built| built.uuid != uuid);
                images.tas.push(images::Ta {
                    name: name.clone(),
                    uuid,
                    id: sign::Signed::parse(&signed).context("no signed image")?.id,
                    elf: *elf,
                    signed_len: signed.len(),
                    sites_len: sites.len(),
                });
                let files = vec![(file("ta"), signed), (file("sites"), sites)];
                (Some(name), files)
            }
            Self::Signed { bytes, .. } if is_built(images, uuid, &bytes) => return Ok(()),
            Self::Signed { bytes, .. } => {
                let signed = sign::Signed::parse(&bytes);
                let elf = signed.and_then(|s| Image::parse(Path::new(""), s.elf.to_vec()).ok());
                let name = elf.and_then(|elf| elf.ta_name().map(str::to_owned));
                (name, vec![(file("ta"), bytes)])
            }
        };
        images.put(uuid, name, files)
    }
}

/// Whether a signed TA is the one that was built here.
fn is_built(images: &Images, uuid: TeeUuid, bytes: &[u8]) -> bool {
    let name = format!("{}/{uuid}.ta", images::LIB);
    let mut files = images.archive_files.iter();
    files.any(|(file, built)| *file == name && built == bytes)
}

/// The UUID in a signed container's headers, behind those of subkeys.
fn signed_uuid(bytes: &[u8]) -> Result<TeeUuid> {
    let image = sign::behind_subkeys(bytes).unwrap_or_default();
    let header = SignedHeader::read_from_prefix(image).ok();
    let header = header.filter(|(header, _)| header.magic == shdr::MAGIC);
    let (header, rest) = header.context("neither an ELF file nor a signed TA")?;
    ensure!(
        matches!(
            header.img_type,
            shdr::img_type::BOOTSTRAP_TA | shdr::img_type::ENCRYPTED_TA
        ),
        "a signed image of type {}, which has no UUID in its header",
        header.img_type
    );
    let skip = usize::from(header.hash_size) + usize::from(header.sig_size);
    let (bootstrap, _) = rest
        .get(skip..)
        .and_then(|rest| BootstrapHeader::read_from_prefix(rest).ok())
        .context("cut short")?;
    Ok(TeeUuid::from_bytes(bootstrap.uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_of_a_signed_image_is_found() {
        let uuid = TeeUuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff);
        let signed = sign::sign_ta(&DevKey::for_test(), uuid, b"elf").unwrap();
        assert_eq!(signed_uuid(&signed).unwrap(), uuid);
        assert!(signed_uuid(&signed[..40]).is_err());
        let encrypted = sign::encrypt_ta(&DevKey::for_test(), uuid, b"elf").unwrap();
        assert_eq!(signed_uuid(&encrypted).unwrap(), uuid);
        assert!(sign::is_encrypted(&encrypted) && !sign::is_encrypted(&signed));
        assert!(signed_uuid(b"no such thing, but long enough for headers").is_err());
    }
}
