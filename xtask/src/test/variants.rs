//! Builds that differ from the usual one, each with what it must show in QEMU, and builds that there must not be.
//!
//! **Invariant:** a build is judged by its guest's status and by what both consoles say.

use super::guest::tail;
use super::results::Results;
use crate::images::{self, Config, Heaps};
use crate::paths::{self, GUEST_TARGET};
use crate::qemu::{Ending, Run};
use crate::tool;
use anyhow::{Result, ensure};
use std::path::Path;
use std::time::Duration;

/// One build and its test.
struct Variant {
    name: &'static str,
    label: &'static str,
    config: Config,
    /// What the guest's shell is told.
    command: &'static str,
    /// The guest's status.
    status: u8,
    /// What the normal console must have.
    normal: &'static [&'static str],
    /// What the secure console must have.
    secure: &'static [&'static str],
}

/// The tests of pools, leaks and refusals, and what they have left.
const ASK_HEAPS: &str =
    "selftest heap pool leak scan kernel alloc fail; teestat pools; teestat pool check";

fn all() -> [Variant; 8] {
    // Of no use but this.
    let other_key = paths::root().join("xtask/src/test/rsa4096.pem");
    [
        Variant {
            name: "qemu: writes past a block's end are named on the secure console",
            label: "guarded",
            config: Config {
                heaps: Heaps {
                    debug_heap: true,
                    ..Heaps::default()
                },
                ..Config::default()
            },
            command: "selftest \"past a block's end\"",
            status: 0,
            normal: &[],
            // When the block is freed, and when the TA ends.
            secure: &[
                "heap overrun: byte 28 of a block of 28 bytes was written; it was allocated at",
                "wrote past the end of a block: byte 28 of 28, allocated at",
            ],
        },
        Variant {
            name: "qemu: TAs with light heaps pass every test and name their leaks",
            label: "light",
            config: Config {
                heaps: Heaps {
                    light_heap: true,
                    ..Heaps::default()
                },
                ..Config::default()
            },
            command: "selftest; open heap; invoke 1 leak 10 28; teestat pools; teestat allocinfo heap",
            status: 0,
            normal: &[
                " passed, 0 failed",
                "tracking light",
                // Allocations and peak are not counted.
                "       280          10           -          -  leak_in_this_function tas/heap/src/",
            ],
            secure: &[],
        },
        Variant {
            // Each was the alloc crate's: the linker script knew one mangling.
            name: "qemu: light heaps of TAs with v0 symbols name whoever allocates",
            label: "v0-symbols",
            config: Config {
                heaps: Heaps {
                    light_heap: true,
                    v0_symbols: true,
                    ..Heaps::default()
                },
                ..Config::default()
            },
            command: "open heap; invoke 1 leak 10 28; invoke 1 keep 1 100; teestat allocinfo heap",
            status: 0,
            normal: &[
                "       280          10           -          -  leak_in_this_function tas/heap/src/",
                "filled tas/heap/src/",
            ],
            secure: &[],
        },
        Variant {
            name: "qemu: a kernel without statistics serves TAs and tells nothing",
            label: "plain",
            config: Config {
                kernel_no_default_features: true,
                ..Config::default()
            },
            command: "open heap; invoke 1 alloc 3000; invoke 1 hog 4096; hello inc 1 2; teestat alloc",
            // The last command alone fails.
            status: 1,
            normal: &[
                "a = 2 b = 4",
                "there is no stats pTA: this kernel was built without statistics",
            ],
            secure: &[],
        },
        Variant {
            name: "qemu: the kernel heap by first fit",
            label: "first-fit",
            config: Config::with(&["first-fit", "test-hooks"]),
            command: ASK_HEAPS,
            status: 0,
            normal: &[
                "passed  a scan finds what the kernel lost",
                " passed, 0 failed",
                "strategy first fit",
                "the pool is sound",
            ],
            secure: &[],
        },
        Variant {
            name: "qemu: the kernel heap by best fit",
            label: "best-fit",
            config: Config::with(&["best-fit", "test-hooks"]),
            command: ASK_HEAPS,
            status: 0,
            normal: &[
                "passed  a scan finds what the kernel lost",
                " passed, 0 failed",
                "strategy best fit",
                "the pool is sound",
            ],
            secure: &[],
        },
        Variant {
            name: "qemu: TAs that another key of 4096 bits signed are trusted when it is given",
            label: "keys",
            config: Config {
                ta_key: vec![other_key.clone()],
                sign_with: Some(other_key),
                ..Config::default()
            },
            command: "hello inc 1 2",
            status: 0,
            normal: &["a = 2 b = 4"],
            secure: &[],
        },
        Variant {
            name: "qemu: half of the secure RAM is told and adds up in meminfo",
            label: "half-ram",
            config: Config {
                half_ram: true,
                ..Config::default()
            },
            command: "open heap; invoke 1 alloc 100000; teestat meminfo --json; selftest meminfo",
            status: 0,
            normal: &[
                "\"meminfo_sum\":8388608,",
                "\"secure_ram\":8388608,",
                "\"adds_up\":true",
                "\n1 passed, 0 failed",
            ],
            secure: &[],
        },
    ]
}

const KEYLESS: &str = "build: a kernel's image without a sound key is refused";

const WITHOUT_SVE: &str = "qemu: floating-point registers survive cryptography in the kernel where no firmware keeps them";

/// Names of their tests.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    all()
        .into_iter()
        .map(|variant| variant.name)
        .chain([WITHOUT_SVE, KEYLESS])
}

/// Builds and tests them as far as they are wanted.
pub(super) fn run(results: &mut Results, silence: Duration) {
    for variant in all() {
        results.check(variant.name, || variant.test(silence));
    }
    results.check(WITHOUT_SVE, || {
        without_sve(silence).map_err(|err| format!("{err:#}"))
    });
    results.check(KEYLESS, || keyless().map_err(|err| format!("{err:#}")));
}

/// Where the CPU has SVE our firmware keeps all of it and V besides, so that nobody would see what the kernel does not.
fn without_sve(silence: Duration) -> Result<()> {
    let images = images::build(&Config::with(&["test-hooks"]))?;
    let command = "selftest \"survive cryptography\"";
    let mut run = Run::captured(&images, "without-sve", command, silence);
    run.extra = ["-cpu", "max,sve=off,sme=off"].map(Into::into).to_vec();
    let outcome = run.start()?;
    let end = tail(&outcome.normal, 30);
    ensure!(
        outcome.ending == Ending::Exit(0),
        "{:?}\n{end}",
        outcome.ending
    );
    ensure!(outcome.normal.contains("\n1 passed, 0 failed"), "{end}");
    Ok(())
}

/// An image for the field trusts one key, or is none.
fn keyless() -> Result<()> {
    let dir = paths::out().join("keyless");
    std::fs::create_dir_all(&dir)?;
    let mut even = [0xc5; 256];
    even[255] = 0xc4;
    let bad: [(&str, &[u8]); 3] = [("short", &[0xc5; 255]), ("even", &even), ("empty", &[])];
    for (name, modulus) in bad {
        let file = dir.join(name);
        std::fs::write(&file, modulus)?;
        refused(Some(&file), "TALLY_TA_KEYS: ")?;
    }
    refused(None, "TALLY_TA_KEYS is not set")
}

/// That an image with this key is not built, for this reason. No other build has the same features, so that
/// none is built anew for this one's sake.
fn refused(key: Option<&Path>, why: &str) -> Result<()> {
    let mut cargo = tool::cargo();
    cargo.args([
        "build",
        "--release",
        "--quiet",
        "-p",
        "tally-kernel",
        "--features",
        "addresses",
    ]);
    cargo.args(["--target", GUEST_TARGET]);
    cargo.env("TALLY_LDELF", paths::out().join("ldelf.bin"));
    match key {
        Some(key) => cargo.env("TALLY_TA_KEYS", key),
        None => cargo.env_remove("TALLY_TA_KEYS"),
    };
    let (built, said) = tool::captured(&mut cargo)?;
    ensure!(!built, "an image with the key {key:?} was built");
    ensure!(said.contains(why), "with the key {key:?}: {said}");
    Ok(())
}

impl Variant {
    fn test(&self, silence: Duration) -> std::result::Result<(), String> {
        let told = || {
            let images = images::build(&self.config)?;
            Run::captured(&images, self.label, self.command, silence).start()
        };
        let outcome = told().map_err(|err| format!("{err:#}"))?;
        let consoles = [
            (self.normal, &outcome.normal),
            (self.secure, &outcome.secure),
        ];
        for (expected, said) in consoles {
            if let Some(missing) = expected.iter().find(|text| !said.contains(**text)) {
                let failed = said.lines().filter(|line| line.starts_with("failed "));
                let failed: String = failed.map(|line| format!("{line}\n")).collect();
                return Err(format!("not told: {missing}\n{failed}{}", tail(said, 30)));
            }
        }
        if outcome.ending != Ending::Exit(self.status) {
            let end = tail(&outcome.normal, 30);
            return Err(format!("ended with {:?}\n{end}", outcome.ending));
        }
        Ok(())
    }
}
