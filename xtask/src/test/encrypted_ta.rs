//! A TA whose image is encrypted for the board.

use super::results::Results;
use crate::given::Ta;
use crate::images::Images;
use crate::keys::DevKey;
use crate::qemu::{Ending, Run};
use crate::sign;
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

/// Its name.
pub(super) const NAME: &str = "qemu: an encrypted TA opens, and one that was altered does not";

/// Runs it if it is wanted.
pub(super) fn run(results: &mut Results, images: &Images, silence: Duration) {
    results.check(NAME, || {
        check(images, silence).map_err(|err| format!("{err:#}"))
    });
}

fn check(images: &Images, silence: Duration) -> Result<()> {
    let mut tas = images.tas.iter();
    let hello = tas.find(|ta| ta.uuid == ta_uuids::hello::UUID);
    let hello = hello.context("hello was not built")?;
    let bytes = sign::encrypt_ta(&DevKey::load()?, hello.uuid, &hello.elf.stripped()?)?;
    let mut altered = bytes.clone();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    for (bytes, ending, says) in [(bytes, 0, "handle 1"), (altered, 1, "SECURITY")] {
        let mut images = images.clone();
        let uuid = hello.uuid;
        Ta::Signed { uuid, bytes }.install(&mut images)?;
        let commands = "open hello; teestat meminfo";
        let outcome = Run::captured(&images, "encrypted-ta", commands, silence).start()?;
        let text = &outcome.normal;
        ensure!(
            outcome.ending == Ending::Exit(ending)
                && text.contains(says)
                && text.contains("\nadds up to the "),
            "{:?}:\n{text}",
            outcome.ending
        );
    }
    Ok(())
}
