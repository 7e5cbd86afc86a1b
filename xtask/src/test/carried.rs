//! Files of trusted storage carried between this kernel and Debian's OP-TEE, under one hardware key.

use super::results::Results;
use crate::linux::Unreachable;
use crate::linux::peer::Pair;
use crate::qemu::{Ending, Run};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
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
    for (turn, (label, is_ours)) in TURNS.into_iter().enumerate() {
        let files = self::turn(&both, turn, label, is_ours, silence)?;
        both.add_files(&files)?;
    }
    Ok(())
}

/// Boots a secure world and has it take its turn: the files that there are then.
fn turn(
    both: &Pair,
    turn: usize,
    label: &str,
    is_ours: bool,
    silence: Duration,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let command = format!("linux-tests carried /dev/vport0p1 {turn}");
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
    let files = files(&outcome.results).with_context(|| label.to_owned())?;
    ensure!(!files.is_empty(), "{label}: no files");
    Ok(files)
}

/// The files that a guest told, by path in its RAM disk.
fn files(told: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for line in told.lines() {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        if let (Some(path), Some(hex)) = (line["file"].as_str(), line["hex"].as_str()) {
            let digits = hex.as_bytes().chunks(2);
            let bytes = digits.map(|pair| {
                let pair = str::from_utf8(pair)?;
                Ok(u8::from_str_radix(pair, 16)?)
            });
            let path = path.trim_start_matches('/').to_owned();
            files.insert(path, bytes.collect::<Result<_>>()?);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_the_guest_told() {
        let told = "{\"file\":\"/var/lib/tee/0\",\"hex\":\"00ff10\"}\n{\"done\":1}\n";
        let wanted = [("var/lib/tee/0".to_owned(), vec![0, 255, 16])];
        assert_eq!(files(told).unwrap(), wanted.into());
        assert!(files("{\"file\":\"/x\",\"hex\":\"zz\"}").is_err());
    }
}
