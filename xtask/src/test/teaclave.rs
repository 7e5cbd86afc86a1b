//! TAs and clients on Teaclave's crates as they are published.

use super::results::Results;
use crate::images::Images;
use crate::linux::{self, Debian, Unreachable};
use crate::qemu::{Ending, Run};
use crate::{given, linux::teaclave};
use anyhow::{Result, ensure};
use std::time::Duration;

/// Its name.
pub(super) const NAME: &str =
    "teaclave: a TA and a client on its crates as published run, and leave nothing";
const COMMANDS: &str = "teaclave-client; teestat meminfo; echo between; teaclave-client; teaclave-client; \
                        teestat meminfo; echo between";
/// What the client prints.
const TOLD: &str = "incremented to 42\n\
                    reversed 8 to evalcaeT\n\
                    too little room is Err(ShortBuffer)\n\
                    a panic is Err(TargetDead)\n";

/// Runs it if it is wanted.
pub(super) fn run(results: &mut Results, images: &Images, silence: Duration) {
    if !results.wants(NAME) {
        return;
    }
    match teaclave::build() {
        Ok(built) => results.check(NAME, || {
            check(&built, images, silence).map_err(|err| format!("{err:#}"))
        }),
        Err(err) if err.is::<Unreachable>() => results.skip(NAME, &format!("{err:#}")),
        Err(err) => results.check(NAME, || Err(format!("{err:#}"))),
    }
}

fn check(built: &teaclave::Teaclave, images: &Images, silence: Duration) -> Result<()> {
    let mut images = images.clone();
    given::Ta::read(&built.ta)?.install(&mut images)?;
    let mut linux = linux::prepare(&images, Debian::Trixie)?;
    linux.add_program("teaclave-client", &built.client)?;
    let outcome = Run::captured(&images, "teaclave", COMMANDS, silence).start_linux(&linux)?;
    let text = outcome.normal.replace('\r', "");
    ensure!(
        outcome.ending == Ending::Exit(0),
        "{:?}:\n{text}",
        outcome.ending
    );
    let parts: Vec<&str> = text.split("between\n").collect();
    let [first, second, _] = parts[..] else {
        anyhow::bail!("it ended early:\n{text}");
    };
    let once = first.strip_prefix(TOLD);
    let twice = second
        .strip_prefix(TOLD)
        .and_then(|text| text.strip_prefix(TOLD));
    ensure!(once.is_some() && twice.is_some(), "{text}");
    ensure!(once == twice, "the account differs:\n{text}");
    Ok(())
}
