//! gdb on a machine, driven by its command line: it stops where it was told and knows the functions there.

use super::report::one_line;
use super::results::Results;
use crate::gdb::{GDB, Gdb};
use crate::images::Images;
use crate::qemu::{Ending, Run};
use crate::setup;
use anyhow::{Context as _, Result, ensure};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Its name.
pub(super) const NAME: &str = "qemu: gdb stops in the kernel and in a TA at its random base";
const FUNCTION: &str = ta_uuids::heap::LEAK_FUNCTION;

/// Runs it if it is wanted and gdb is there.
pub(super) fn run(results: &mut Results, images: &Images, silence: Duration) {
    if !results.wants(NAME) {
        return;
    }
    match setup::ensure(setup::Part::Gdb) {
        Ok(()) => results.check(NAME, || {
            check(images, silence).map_err(|err| format!("{err:#}"))
        }),
        Err(err) => results.skip(NAME, &one_line(&err)),
    }
}

fn check(images: &Images, silence: Duration) -> Result<()> {
    let gdb = Gdb::new(images, true)?;
    let mut run = Run::captured(images, "gdb", "heap leak 1 28", silence);
    run.extra.extend(gdb.arguments());
    let mut command = Command::new(GDB);
    command.args(["-nx", "-batch", "-x"]).arg(&gdb.script.path);
    for line in [
        "tbreak tally_roof_main",
        "continue",
        "backtrace",
        &format!("tbreak {FUNCTION}"),
        "continue",
        "backtrace",
        "tally",
        "detach",
    ] {
        command.args(["-ex", line]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.stderr(Stdio::piped()).spawn();
    let child = child.context("cannot start gdb")?;
    // It ends with the machine at the latest.
    let outcome = run.start()?;
    let said = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    ensure!(
        outcome.ending == Ending::Exit(0),
        "the guest ended with {:?}, and gdb said\n{said}",
        outcome.ending
    );
    for part in [
        "tally_roof_main (",
        "ldelf at 0x",
        "heap at 0x",
        &format!("{FUNCTION} () at tas/heap/src/ta.rs:"),
        "invoke () at ta-runtime/src/entry.rs:",
    ] {
        ensure!(said.contains(part), "no `{part}`:\n{said}");
    }
    Ok(())
}
