//! A TA that lies outside of the checkout, from nothing to figures with its names in them.

use super::results::Results;
use crate::images::Images;
use crate::qemu::{Ending, Run};
use crate::{given, new_ta, paths, tool};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

/// Its name.
pub(super) const NAME: &str =
    "qemu: a new TA outside of the tree builds by itself, runs, and is named in its figures";
const COMMANDS: &str = "open greet; invoke 1 0 inout:1; invoke 1 1 in:3000; teestat owners; \
                        teestat allocinfo greet";

/// Runs it if it is wanted.
pub(super) fn run(results: &mut Results, images: &Images, silence: Duration) {
    results.check(NAME, || {
        let dir = std::env::temp_dir().join(format!("tally-own-ta-{}", std::process::id()));
        let outcome = check(&dir, images, silence).map_err(|err| format!("{err:#}"));
        // What is left behind is no failure.
        let _ = std::fs::remove_dir_all(&dir);
        outcome
    });
}

fn check(dir: &std::path::Path, images: &Images, silence: Duration) -> Result<()> {
    let made = new_ta::make(&dir.join("greet"), None)?;
    let mut cargo = tool::cargo();
    cargo.current_dir(dir.join("greet"));
    cargo.args(["build", "--release", "--quiet"]);
    // The other crates are compiled once.
    let target = paths::out().join("own-ta");
    cargo.env("CARGO_TARGET_DIR", &target);
    tool::run(&mut cargo)?;
    let mut images = images.clone();
    given::Ta::read(&made.elf(&target))?.install(&mut images)?;
    let outcome = Run::captured(&images, "own-ta", COMMANDS, silence).start()?;
    let text = &outcome.normal;
    ensure!(
        outcome.ending == Ending::Exit(0),
        "the guest ended with {:?}:\n{text}",
        outcome.ending
    );
    let has = |parts: &[&str]| {
        let mut lines = text.lines();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    let source = std::fs::read_to_string(dir.join("greet/src/main.rs"))?;
    let mut lines = source.lines();
    let line = lines.position(|line| line.contains("kept.try_reserve_exact"));
    let place = format!(
        "keep greet/src/main.rs:{} ",
        line.context("keeps nothing")? + 1
    );
    for parts in [&["a = 101"][..], &[" ta ", "greet ("], &["3000 ", &place]] {
        ensure!(has(parts), "no line has {parts:?}:\n{text}");
    }
    Ok(())
}
