//! The paired tests in Linux, as part of `cargo xtask test`.
//!
//! **Invariant:** packages that cannot be had skip the tests with one line; whatever else goes
//! wrong is a failure.

use super::{Linux, Unreachable, prepare};
use crate::images::Images;
use crate::qemu::{Ending, Output, Run};
use crate::setup;
use crate::test::{Report, guest};
use anyhow::Result;
use std::time::{Duration, Instant};

/// Virtual CPUs of the machine.
const CPUS: u32 = 4;
/// What the tests run under.
const WHOLE: &str = "linux: tests ran to their end";

/// Runs the tests that were asked for.
pub(crate) fn run(report: &mut Report, images: &Images, silence: Duration) {
    if report
        .filter()
        .is_some_and(|filter| "tidylintfuzzbuildmiriqemu".contains(filter))
    {
        return;
    }
    let compiler = setup::ensure(setup::Part::CrossCompiler);
    match prepare(images) {
        Ok(linux) => {
            if let Err(why) = &compiler
                && !linux.has_c_client
            {
                report.skip("linux: a C client over libteec", &format!("{why:#}"));
            }
            if let Err(err) = boot(report, images, &linux, silence) {
                report.record(WHOLE, None, Err(format!("{err:#}")));
            }
        }
        Err(err) if err.is::<Unreachable>() => report.skip("linux", &format!("{err:#}")),
        Err(err) => report.record(WHOLE, None, Err(format!("{err:#}"))),
    }
}

fn boot(report: &mut Report, images: &Images, linux: &Linux, silence: Duration) -> Result<()> {
    let results = crate::paths::out().join("linux.jsonl");
    let begun = Instant::now();
    let outcome = Run {
        images,
        label: "linux-tests",
        command: Some("linux-tests /dev/vport0p1"),
        output: Output::Captured,
        secure_console: false,
        silence,
        results: Some(results.clone()),
        cpus: CPUS,
        extra: Vec::new(),
    }
    .start_linux(linux)?;
    let (lines, status) = super::told(&results);
    let parsed = guest::parse(&lines.join("\n"));
    guest::record(report, "linux", &parsed);
    let whole = guest::closing(&parsed).and_then(|()| match (&outcome.ending, status) {
        (Ending::Exit(0), _) => Ok(()),
        // A failed test is its own record; the guest says so by its status, too.
        (Ending::Exit(1), Some(1)) if parsed.failed() => Ok(()),
        (ending, _) => Err(format!("the guest ended with {ending:?}")),
    });
    let whole = whole.map_err(|why| {
        let trouble = outcome.trouble(images).unwrap_or_default();
        format!(
            "{why}\n{trouble}\nend of the console:\n{}",
            guest::tail(&outcome.normal, 40)
        )
    });
    if whole.is_err() || report.wants(WHOLE) {
        report.record(WHOLE, Some(begun.elapsed()), whole);
    }
    Ok(())
}
