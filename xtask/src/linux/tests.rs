//! The paired tests in Linux, as part of `cargo xtask test`.
//!
//! **Invariant:** packages that cannot be had skip the tests with one line; whatever else goes
//! wrong is a failure.

use super::filters::{AT_LENGTH, filters};
use super::{Debian, Linux, Unreachable, prepare};
use crate::images::Images;
use crate::qemu::{Ending, Run};
use crate::test::results::Results;
use crate::test::{Known, guest, sources};
use crate::{setup, ui};
use anyhow::Result;
use std::time::{Duration, Instant};

/// Virtual CPUs of the machine.
const CPUS: u32 = 4;
/// Groups of the guest's tests, and which Linux: the first ones are run every day.
const GROUPS: [(&str, Debian); 2] = [("linux", Debian::Trixie), ("debian 12", Debian::Bookworm)];
/// The one of its tests that is not the guest's.
const WHOLE: &str = "tests ran to their end";

fn tests() -> Result<Vec<String>> {
    let mut tests = sources::tables("qemu/linux/src/tests", "TESTS")?;
    tests.extend(sources::tables(guest::PAIRED, "TESTS")?);
    Ok(tests)
}

/// All tests.
pub(crate) fn known() -> Result<Vec<Known>> {
    let tests: Vec<String> = tests()?.into_iter().chain([WHOLE.to_owned()]).collect();
    let known = GROUPS.iter().flat_map(|(group, debian)| {
        let is_default = *debian == Debian::default();
        // What takes minutes is about our kernel, not about Linux.
        let of_group = tests
            .iter()
            .filter(move |test| is_default || !test.ends_with(AT_LENGTH));
        of_group.map(move |test| {
            let name = format!("{group}: {test}");
            match is_default && !test.ends_with(AT_LENGTH) {
                true => Known::short(name),
                false => Known::long(name),
            }
        })
    });
    Ok(known.collect())
}

/// Runs what is wanted.
pub(crate) fn run(results: &mut Results, images: &Images, silence: Duration) {
    for (group, debian) in GROUPS {
        if results.of_group(group).next().is_none() {
            continue;
        }
        ui::step("Testing", format_args!("in Debian's Linux, {debian:?}"));
        if let Err(why) = setup::ensure(setup::Part::CrossCompiler) {
            ui::warn(format_args!("{why:#}"));
        }
        let ran =
            prepare(images, debian).and_then(|linux| boot(results, group, images, &linux, silence));
        match ran {
            Ok(()) => {}
            Err(err) if err.is::<Unreachable>() => results.skip_group(group, &format!("{err:#}")),
            Err(err) => results.fail(&format!("{group}: {WHOLE}"), format_args!("{err:#}")),
        }
    }
}

fn boot(
    results: &mut Results,
    group: &str,
    images: &Images,
    linux: &Linux,
    silence: Duration,
) -> Result<()> {
    let tests = tests()?;
    let wanted: Vec<&str> = results
        .of_group(group)
        .filter(|name| *name != WHOLE)
        .collect();
    let command = format!("linux-tests /dev/vport0p1{}", filters(&wanted, &tests));
    let begun = Instant::now();
    let label = format!("{}-tests", group.replace(' ', "-"));
    let outcome = Run {
        cpus: CPUS,
        ..Run::captured(images, &label, &command, silence)
    }
    .start_linux(linux)?;
    let told = guest::parse(&outcome.results);
    guest::record(results, group, &told);
    let whole = guest::closing(&told).and_then(|()| match &outcome.ending {
        Ending::Exit(0) => Ok(()),
        // A failed test is its own record; the guest says so by its status, too.
        Ending::Exit(1) if told.failed() => Ok(()),
        ending => Err(format!("the guest ended with {ending:?}")),
    });
    let whole = whole.map_err(|why| {
        let trouble = outcome.trouble(images).unwrap_or_default();
        format!(
            "{why}\n{trouble}\nend of the console:\n{}",
            guest::tail(&outcome.normal, 40)
        )
    });
    results.record(
        &format!("{group}: {WHOLE}"),
        Some(begun.elapsed()),
        whole.into(),
    );
    Ok(())
}
