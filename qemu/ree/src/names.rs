//! Names of TAs and of functions in them.
//!
//! **Invariant:** a short name stands for one TA.

use alloc::format;
use alloc::string::{String, ToString};
use ta_uuids as tas;
use tally_abi::TeeUuid;
use tally_abi::pta::{audit, control, device, inspect, memleak, stats, vdec, watch};
use tally_abi::sites::Table;
use teestat::{Files, Host, Names, Terminal};

use crate::files::HostFiles;
use crate::shell::ShellTerminal;
use crate::supplicant;

/// TAs and pseudo-TAs that have a short name here.
pub(crate) const KNOWN: [(&str, TeeUuid); 17] = [
    ("hello", tas::hello::UUID),
    ("heap", tas::heap::UUID),
    ("crash", tas::crash::UUID),
    ("chain", tas::chain::UUID),
    ("keepalive", tas::keepalive::UUID),
    ("solo", tas::solo::UUID),
    ("stillborn", tas::stillborn::UUID),
    ("glutton", tas::glutton::UUID),
    ("inspect", inspect::UUID),
    ("drm", tas::drm::UUID),
    ("stats", stats::UUID),
    ("memleak", memleak::UUID),
    ("control", control::UUID),
    ("device", device::UUID),
    ("audit", audit::UUID),
    ("watch", watch::UUID),
    ("vdec", vdec::UUID),
];

/// The names this machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineNames;

impl Names for MachineNames {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        let (name, _) = KNOWN.iter().find(|(_, known)| *known == uuid)?;
        Some((*name).to_string())
    }

    fn uuid_of(&self, name: &str) -> Option<TeeUuid> {
        let (_, uuid) = KNOWN.iter().find(|(known, _)| *known == name)?;
        Some(*uuid)
    }

    fn site(&self, image: TeeUuid, offset: u64) -> Option<String> {
        let file = format!("lib/optee_armtz/{image}.sites");
        let table = Table::parse(supplicant::archive().file(&file)?)?;
        let site = table.lookup(offset)?;
        Some(format!("{} {}:{}", site.function, site.file, site.line))
    }
}

impl Host for MachineNames {
    fn names(&self) -> &dyn Names {
        self
    }

    fn files(&self) -> &dyn Files {
        &HostFiles
    }

    fn terminal(&self) -> &dyn Terminal {
        &ShellTerminal
    }
}

/// A TA by short name or UUID.
pub(crate) fn resolve(name: &str) -> Option<TeeUuid> {
    MachineNames.uuid_of(name).or_else(|| name.parse().ok())
}

/// Short name of a TA, or its UUID.
pub(crate) fn name_of(uuid: TeeUuid) -> String {
    MachineNames
        .name_of(uuid)
        .unwrap_or_else(|| uuid.to_string())
}
