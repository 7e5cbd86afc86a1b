//! `cargo xtask lint`: formatting and clippy, for the host and for the guest.
//!
//! **Invariant:** warnings are errors.

use crate::keys::DevKey;
use crate::paths::{self, GUEST_TARGET};
use crate::{images, setup, tool};
use anyhow::Result;
use std::process::Command;

/// One check: its name and the command that fails when it does.
pub(crate) struct Check {
    /// As reported.
    pub(crate) name: &'static str,
    /// What to run.
    pub(crate) command: Command,
}

/// All checks. The loader's image must have been built once: the kernel includes it.
pub(crate) fn checks() -> Result<Vec<Check>> {
    setup::ensure(setup::Part::Lints)?;
    setup::ensure(setup::Part::Target)?;
    DevKey::load()?;

    let mut format = tool::cargo();
    format.args(["fmt", "--all", "--check"]);

    let mut host = tool::cargo();
    host.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);

    let mut guest = tool::cargo();
    guest.args(["clippy", "--quiet", "--bins", "--target", GUEST_TARGET]);
    for package in ["tally-kernel", "tally-monitor", "tally-ree", "ldelf"] {
        guest.args(["-p", package]);
    }
    for ta in images::ta_packages()? {
        guest.args(["-p", &ta]);
    }
    guest.args(["--", "-D", "warnings"]);
    guest.env("TALLY_LDELF", paths::out().join("ldelf.bin"));
    guest.env("TALLY_TA_PUBKEY", DevKey::modulus_path());

    Ok(vec![
        Check {
            name: "lint: rustfmt",
            command: format,
        },
        Check {
            name: "lint: clippy on the host",
            command: host,
        },
        Check {
            name: "lint: clippy for the guest",
            command: guest,
        },
    ])
}
