//! Files of trusted storage carried between this kernel and Debian's OP-TEE, under one hardware key.

use super::results::Results;
use crate::linux::Unreachable;
use crate::linux::kept::{self, Kept};
use crate::linux::peer::Pair;
use crate::qemu::{Ending, Run};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

/// Its name.
pub(super) const NAME: &str =
    "storage: what Debian's OP-TEE keeps is read here, and the other way round";
/// Who has a turn, each with the files of the one before.
const TURNS: [(&str, bool); 3] = [
    ("carried-optee", false),
    ("carried-tally", true),
    ("carried-back", false),
];

/// Runs it if it is wanted.
pub(super) fn run(results: &mut Results, silence: Duration) {
    if !results.wants(NAME) {
        return;
    }
    match Pair::build() {
        Ok(both) => results.check(NAME, || {
            check(both, silence).map_err(|err| format!("{err:#}"))
        }),
        Err(err) if err.is::<Unreachable>() => results.skip(NAME, &format!("{err:#}")),
        Err(err) => results.check(NAME, || Err(format!("{err:#}"))),
    }
}

fn check(mut both: Pair, silence: Duration) -> Result<()> {
    let mut files = Kept::new();
    for (turn, (label, is_ours)) in TURNS.into_iter().enumerate() {
        both.keep(&files)?;
        files = self::turn(&both, turn, label, is_ours, silence)?;
    }
    Ok(())
}

/// Boots a secure world and has it take its turn: the files that there are then.
fn turn(both: &Pair, turn: usize, label: &str, is_ours: bool, silence: Duration) -> Result<Kept> {
    let command = format!("linux-tests carried {turn}");
    let worlds = match is_ours {
        true => both.ours(),
        false => both.theirs(),
    };
    let images = &both.images;
    let outcome = Run::captured(images, label, &command, silence).start_preloaded(&worlds)?;
    ensure!(
        outcome.ending == Ending::Exit(0),
        "{label} ended with {:?}\n{}",
        outcome.ending,
        super::guest::tail(&outcome.normal, 20)
    );
    let files = kept::told(&outcome.results).with_context(|| label.to_owned())?;
    ensure!(!files.is_empty(), "{label}: no files");
    Ok(files)
}
