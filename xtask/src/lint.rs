//! `cargo xtask lint`: formatting, clippy for the host and for the guest, and dependencies.
//!
//! **Invariant:** warnings are errors.

use crate::keys::DevKey;
use crate::paths::{self, GUEST_TARGET};
use crate::{deny, images, setup, tool, ui};
use anyhow::{Result, ensure};

/// One check.
pub(crate) struct Check {
    /// As reported.
    pub(crate) name: &'static str,
    /// Whether it takes long, so that it is run by `test --long` alone.
    pub(crate) long: bool,
    /// Fails with what is wrong.
    pub(crate) run: fn() -> Result<()>,
}

/// All checks.
pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "lint: rustfmt",
        long: false,
        run: || succeeds(tool::cargo().args(["fmt", "--all", "--check"])),
    },
    Check {
        name: "lint: clippy on the host",
        long: false,
        run: clippy_on_host,
    },
    Check {
        name: "lint: clippy for the guest",
        long: false,
        run: clippy_for_guest,
    },
    Check {
        name: "lint: licences, sources, versions and reasons of dependencies",
        long: false,
        run: deny::check,
    },
    Check {
        name: "lint: the heap and the reader of snapshots can be published",
        long: true,
        run: publishable,
    },
    Check {
        name: "lint: cargo-deny",
        long: true,
        run: deny::cargo_deny,
    },
    Check {
        name: "lint: advisories",
        long: true,
        run: deny::advisories,
    },
];

/// Runs the checks that do not take long, up to the first that fails.
pub(crate) fn run() -> Result<()> {
    images::build(&images::Config::default())?;
    prepare()?;
    for check in CHECKS.iter().filter(|check| !check.long) {
        ui::step("Checking", check.name);
        (check.run)()?;
    }
    Ok(())
}

/// Installs what the checks need. The loader's image must have been built once: the kernel includes it.
pub(crate) fn prepare() -> Result<()> {
    setup::ensure(setup::Part::Lints)?;
    setup::ensure(setup::Part::Target)?;
    DevKey::load()?;
    Ok(())
}

fn clippy_on_host() -> Result<()> {
    let mut clippy = tool::cargo();
    clippy.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
    succeeds(clippy.args(["--", "-D", "warnings"]))
}

fn clippy_for_guest() -> Result<()> {
    let mut clippy = tool::cargo();
    clippy.args(["clippy", "--quiet", "--bins", "--target", GUEST_TARGET]);
    for package in ["tally-kernel", "tally-monitor", "tally-ree", "ldelf"] {
        clippy.args(["-p", package]);
    }
    for ta in images::ta_packages()? {
        clippy.args(["-p", &ta]);
    }
    clippy.env("TALLY_LDELF", paths::out().join("ldelf.bin"));
    clippy.env("TALLY_TA_KEYS", DevKey::modulus_path());
    succeeds(clippy.args(["--", "-D", "warnings"]))
}

/// The heap and the reader of snapshots as packages of their own build, and their documentation has no warnings.
fn publishable() -> Result<()> {
    const PACKAGES: [&str; 4] = [
        "tally-abi",
        "tally-records",
        "tally-insight",
        "tally-ledger",
    ];
    let mut publish = tool::cargo();
    publish.args(["publish", "--dry-run", "--quiet", "--allow-dirty"]);
    let mut doc = tool::cargo();
    doc.args(["doc", "--quiet", "--no-deps", "--all-features"]);
    for package in PACKAGES {
        publish.args(["-p", package]);
        doc.args(["-p", package]);
    }
    succeeds(&mut publish)?;
    succeeds(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs a program; when it fails, what it printed is the reason.
fn succeeds(command: &mut std::process::Command) -> Result<()> {
    let (ok, text) = tool::captured(command)?;
    ensure!(ok, "{text}\n`{}` failed", tool::line(command));
    Ok(())
}
