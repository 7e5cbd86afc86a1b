//! `cargo xtask test`: every test there is, on the host and in QEMU.
//!
//! **Invariant:** the last line is `N passed, N failed`, with `, N skipped` behind it when
//! something could not be run; a test that did not report is a failed one.

pub(crate) mod guest;
mod host;
mod leaks;
mod report;
mod variants;

use crate::images::{self, Config};
use crate::{fuzz, lint, linux, tidy, tool, ui};
use anyhow::Result;
use std::time::{Duration, Instant};

/// Which tests.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Host tests: unit tests, tidy, lint, short fuzzing
    #[arg(long)]
    host: bool,
    /// Paired tests in QEMU
    #[arg(long)]
    qemu: bool,
    /// Paired tests in Debian's Linux in QEMU
    #[arg(long)]
    linux: bool,
    /// Miri on the portable crates
    #[arg(long)]
    miri: bool,
    /// End a guest that has been silent for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// What came of the tests so far.
pub(crate) struct Report {
    filter: Option<String>,
    passed: u32,
    failed: u32,
    skipped: u32,
    failures: Vec<String>,
}

impl Report {
    fn new(filter: Option<String>) -> Self {
        Self {
            filter,
            passed: 0,
            failed: 0,
            skipped: 0,
            failures: Vec::new(),
        }
    }

    /// Whether the person asked for this test.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    }

    /// The text that names must contain.
    pub(crate) fn filter(&self) -> Option<&str> {
        self.filter.as_deref()
    }

    /// Takes a result; failures carry their reason.
    pub(crate) fn record(
        &mut self,
        name: &str,
        time: Option<Duration>,
        result: Result<(), String>,
    ) {
        let time = time
            .map(|t| format!(" ({:.2} s)", t.as_secs_f64()))
            .unwrap_or_default();
        match result {
            Ok(()) => {
                self.passed += 1;
                let style = ui::GOOD;
                anstream::println!("{style}ok{style:#} {name}{time}");
            }
            Err(reason) => {
                self.failed += 1;
                self.failures.push(name.to_owned());
                let style = ui::BAD;
                anstream::println!("{style}FAILED{style:#} {name}{time}");
                for line in reason.lines() {
                    anstream::println!("    {line}");
                }
            }
        }
    }

    /// Takes a test that cannot be run on this machine.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        let style = ui::WARN;
        anstream::println!("{style}skipped{style:#} {name}: {why}");
    }

    /// Times `check` and takes its result, if the person asked for it.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<(), String>) {
        if self.wants(name) {
            let start = Instant::now();
            let result = check();
            self.record(name, Some(start.elapsed()), result);
        }
    }

    fn close(&self) -> u8 {
        if self.failed > 0 {
            anstream::println!("\nfailed: {}", self.failures.join(", "));
        }
        let skipped = if self.skipped > 0 {
            format!(", {} skipped", self.skipped)
        } else {
            String::new()
        };
        anstream::println!("{} passed, {} failed{skipped}", self.passed, self.failed);
        u8::from(self.failed > 0)
    }
}

/// Runs what was asked for.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let all = !(args.host || args.qemu || args.linux || args.miri);
    let mut report = Report::new(args.filter.clone());
    // Lint and QEMU need images; a build that fails is one failed test, and the rest still runs.
    let images = if all || args.host || args.qemu || args.linux {
        let start = Instant::now();
        match images::build(&Config::default()) {
            Ok(images) => {
                if report.filter.is_none() {
                    report.record("build: guest images", Some(start.elapsed()), Ok(()));
                }
                Some(images)
            }
            Err(err) => {
                let reason = Err(format!("{err:#}"));
                report.record("build: guest images", Some(start.elapsed()), reason);
                None
            }
        }
    } else {
        None
    };
    if all || args.host {
        host::unit_tests(&mut report);
        house(&mut report);
        report::run(&mut report);
        fuzzing(&mut report);
    }
    if all || args.miri {
        host::miri(&mut report);
    }
    if all || args.qemu {
        match &images {
            Some(images) => {
                let silence = Duration::from_secs(args.timeout);
                leaks::run(&mut report, images, silence);
                guest::run(&mut report, images, silence);
            }
            None => report.record("qemu: selftest", None, Err("there are no images".into())),
        }
    }
    if all || args.linux {
        match &images {
            Some(images) => {
                linux::tests::run(&mut report, images, Duration::from_secs(args.timeout))
            }
            None => report.record("linux", None, Err("there are no images".into())),
        }
    }
    Ok(report.close())
}

fn house(report: &mut Report) {
    report.check("tidy", || match tidy::check() {
        Ok(complaints) if complaints.is_empty() => Ok(()),
        Ok(complaints) => Err(complaints.join("\n")),
        Err(err) => Err(format!("{err:#}")),
    });
    match lint::checks() {
        Ok(checks) => {
            for mut check in checks {
                report.check(check.name, || succeeds(&mut check.command));
            }
        }
        Err(err) => report.record("lint", None, Err(format!("{err:#}"))),
    }
}

/// Seconds for each target: enough for some ten thousand inputs.
const FUZZ_SECONDS: u64 = 4;

fn fuzzing(report: &mut Report) {
    if report
        .filter()
        .is_some_and(|filter| !filter.contains("fuzz") && !"fuzz".contains(filter))
    {
        return;
    }
    match fuzz::targets() {
        Ok(targets) => {
            for target in targets {
                report.check(&format!("fuzz: {target}"), || {
                    succeeds(&mut fuzz::command(&target, FUZZ_SECONDS, 1))
                });
            }
        }
        Err(err) => report.record("fuzz", None, Err(format!("{err:#}"))),
    }
}

/// Runs a program; when it fails, what it printed is the reason.
pub(crate) fn succeeds(command: &mut std::process::Command) -> Result<(), String> {
    match tool::captured(command) {
        Ok((true, _)) => Ok(()),
        Ok((false, text)) => {
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(200)..].join("\n");
            Err(format!("{tail}\n`{}` failed", tool::line(command)))
        }
        Err(err) => Err(format!("{err:#}")),
    }
}
