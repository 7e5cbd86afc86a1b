//! Builds that differ from the usual one, each with what it must show in QEMU.
//!
//! **Invariant:** a build is judged by its guest's status and by what both consoles say.

use super::guest::{qemu_run, tail};
use super::results::Results;
use crate::images::{self, Config, Heaps};
use crate::qemu::Ending;
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

const ASK_HEAPS: &str = "selftest heap; teestat pools; teestat pool check";

fn all() -> [Variant; 6] {
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
            config: Config::with(&["first-fit"]),
            command: ASK_HEAPS,
            status: 0,
            normal: &["strategy first fit", "the pool is sound"],
            secure: &[],
        },
        Variant {
            name: "qemu: the kernel heap by best fit",
            label: "best-fit",
            config: Config::with(&["best-fit"]),
            command: ASK_HEAPS,
            status: 0,
            normal: &["strategy best fit", "the pool is sound"],
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

/// Names of their tests.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    all().into_iter().map(|variant| variant.name)
}

/// Builds and tests them as far as they are wanted.
pub(super) fn run(results: &mut Results, silence: Duration) {
    for variant in all() {
        results.check(variant.name, || variant.test(silence));
    }
}

impl Variant {
    fn test(&self, silence: Duration) -> Result<(), String> {
        let told = || {
            let images = images::build(&self.config)?;
            qemu_run(&images, self.label, self.command, silence, None).start()
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
