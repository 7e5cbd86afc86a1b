//! Names of TAs and of functions in them.
//!
//! **Invariant:** a short name stands for one TA.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use tally_abi::TeeUuid;
use tally_abi::sites::Table;
use tally_insight::names::{Frame, PSEUDO};
use teestat::{Files, Host, HostNames, Terminal};

use crate::files::HostFiles;
use crate::shell::ShellTerminal;
use crate::supplicant;

/// TAs and pseudo-TAs that have a short name here: the archive's list has a line of UUID and name for each TA.
pub(crate) fn known() -> impl Iterator<Item = (&'static str, TeeUuid)> {
    let list = supplicant::archive().file("lib/optee_armtz/names");
    let list = list.and_then(|bytes| str::from_utf8(bytes).ok());
    let named = list.unwrap_or_default().lines().filter_map(|line| {
        let (uuid, name) = line.split_once(' ')?;
        Some((name, uuid.parse().ok()?))
    });
    named.chain(PSEUDO)
}

/// The names this machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineNames;

impl HostNames for MachineNames {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        let (name, _) = known().find(|(_, known)| *known == uuid)?;
        Some(name.to_string())
    }

    fn uuid_of(&self, name: &str) -> Option<TeeUuid> {
        let (_, uuid) = known().find(|(known, _)| *known == name)?;
        Some(uuid)
    }

    fn known(&self) -> Vec<(String, TeeUuid)> {
        let named = known().map(|(name, uuid)| (name.to_string(), uuid));
        named.collect()
    }

    fn site(&self, image: TeeUuid, offset: u64) -> Option<Frame> {
        let file = format!("lib/optee_armtz/{image}.sites");
        let table = Table::parse(supplicant::archive().file(&file)?)?;
        table.lookup(offset).map(Frame::from)
    }
}

impl Host for MachineNames {
    fn names(&self) -> &dyn HostNames {
        self
    }

    fn files(&self) -> &dyn Files {
        &HostFiles
    }

    fn terminal(&self) -> &dyn Terminal {
        &ShellTerminal
    }
}

/// A TA by short name, UUID or the beginning of it, of those that have a name or lie in the archive.
pub(crate) fn resolve(word: &str) -> Result<TeeUuid, String> {
    let mut known = MachineNames.known();
    known.extend(archived().map(|uuid| (name_of(uuid), uuid)));
    teestat::ta(word, &known)
}

/// TAs whose images lie in the archive.
fn archived() -> impl Iterator<Item = TeeUuid> {
    supplicant::archive().files().filter_map(|file| {
        let name = file.name.rsplit('/').next()?;
        name.strip_suffix(".ta")?.parse().ok()
    })
}

/// Short name of a TA, or its UUID.
pub(crate) fn name_of(uuid: TeeUuid) -> String {
    MachineNames
        .name_of(uuid)
        .unwrap_or_else(|| uuid.to_string())
}
