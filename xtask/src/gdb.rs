//! gdb on a machine: what QEMU is told, and a file of commands that has gdb find all symbols.
//!
//! **Invariant:** gdb is reached by a socket in the file system, never over a network.

use crate::images::Images;
use crate::lock::Name;
use crate::paths;
use crate::report::programs;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use tally_abi::TeeUuid;

/// gdb for all architectures, as Debian calls it.
pub(crate) const GDB: &str = "gdb-multiarch";

/// A machine that waits for gdb. Its socket goes with it.
pub(crate) struct Gdb {
    socket: PathBuf,
    /// The file of commands.
    pub(crate) script: Name,
}

impl Gdb {
    /// Of a run of these images; `world`: whether our own normal world runs in it.
    pub(crate) fn new(images: &Images, world: bool) -> Result<Self> {
        let socket = std::env::temp_dir().join(format!("tally-{}.gdb", std::process::id()));
        let script = Name::take(&paths::out(), "gdb")?;
        std::fs::write(&script.path, commands(images, world, &socket))
            .with_context(|| format!("cannot write {}", script.path.display()))?;
        Ok(Self { socket, script })
    }

    /// What QEMU is told: to wait at reset, and where.
    pub(crate) fn arguments(&self) -> [String; 3] {
        let socket = self.socket.display().to_string().replace(',', ",,");
        let socket = format!("unix:{socket},server=on,wait=off");
        ["-S".to_owned(), "-gdb".to_owned(), socket]
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn commands(images: &Images, world: bool, socket: &Path) -> String {
    let root = paths::root();
    let mut out = String::from(
        "set pagination off\n\
         set confirm off\n\
         set architecture aarch64\n\
         set breakpoint pending on\n\
         # Code of a TA that is not running cannot be read from the machine.\n\
         set trust-readonly-sections on\n",
    );
    let _ = writeln!(out, "directory {}", root.display());
    let _ = writeln!(out, "source {}", root.join("tools/gdb/tally.py").display());
    let fixed = [&images.monitor, &images.kernel];
    for image in fixed.into_iter().chain(world.then_some(&images.ree)) {
        let _ = writeln!(out, "python image({:?})", image.path);
    }
    let ldelf = (TeeUuid::nil(), "ldelf", &images.ldelf);
    let tas = images.tas.iter();
    let tas = tas.map(|ta| (ta.uuid, programs::short(&ta.name), &ta.elf));
    for (uuid, name, elf) in tas.chain([ldelf]) {
        let _ = writeln!(out, "python program(\"{uuid}\", {name:?}, {:?})", elf.path);
    }
    let _ = writeln!(out, "python watch()\npython connect({socket:?})");
    out
}
