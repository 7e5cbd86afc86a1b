//! The crates with unsafe code, and the kernel's core, under Miri.
//!
//! Miri runs a process on one CPU, whatever a test's own threads do: several processes share the tests.
//!
//! **Invariant:** with `--long` every test of a package is run once.

use super::results::Results;
use super::{Known, succeeds};
use crate::{setup, tool, ui};
use std::time::{Duration, Instant};

/// Tests of the heap that take two thirds of its time, in two shares.
const SLOW: [&[&str]; 2] = [
    &[
        "tests::a_large_pool_stays_sound_under_many_actions",
        "tests::a_resized_block_keeps_its_contents",
        "tests::damaged_memory_is_inconsistent_or_readable_but_never_a_panic",
        "tests::outside::writing_past_a_block_is_found_when_it_is_freed",
    ],
    &[
        "tests::a_full_site_table_counts_the_rest_at_site_zero",
        "tests::light::the_biggest_sites_say_of_how_many_blocks_they_are",
        "tests::random_actions_agree_with_the_model",
    ],
];

/// One process.
struct Share {
    name: &'static str,
    package: &'static str,
    /// Its tests; all but [`SLOW`] when there are none.
    tests: &'static [&'static str],
}

const SHARES: &[Share] = &[
    Share {
        name: "miri: tally-ledger, all but its slow tests",
        package: "tally-ledger",
        tests: &[],
    },
    Share {
        name: "miri: tally-bget",
        package: "tally-bget",
        tests: &[],
    },
    Share {
        name: "miri: tally-core",
        package: "tally-core",
        tests: &[],
    },
    Share {
        name: "miri: tally-mem",
        package: "tally-mem",
        tests: &[],
    },
    Share {
        name: "miri: tally-account",
        package: "tally-account",
        tests: &[],
    },
    Share {
        name: "miri: tally-ledger, slow tests, 1 of 2",
        package: "tally-ledger",
        tests: SLOW[0],
    },
    Share {
        name: "miri: tally-ledger, slow tests, 2 of 2",
        package: "tally-ledger",
        tests: SLOW[1],
    },
];

/// Names of all of them.
pub(super) fn names() -> impl Iterator<Item = Known> {
    SHARES.iter().map(|share| Known {
        name: share.name.to_owned(),
        long: !share.tests.is_empty(),
    })
}

/// Runs what is wanted, all at a time.
pub(super) fn run(results: &mut Results) {
    let shares = SHARES.iter().filter(|share| results.wants(share.name));
    let shares: Vec<&Share> = shares.collect();
    if shares.is_empty() {
        return;
    }
    if let Err(err) = setup::ensure(setup::Part::Miri) {
        return results.skip_group("miri", &format!("{err:#}").replace('\n', " "));
    }
    ui::step("Testing", "under Miri");
    let running = ui::running(&format!("{} processes under Miri", shares.len()));
    let ended = std::thread::scope(|scope| {
        let runs = shares.iter().map(|share| scope.spawn(|| share.run()));
        let runs: Vec<_> = runs.collect();
        let ended = runs.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.collect::<Vec<_>>()
    });
    drop(running);
    for (share, ended) in shares.into_iter().zip(ended) {
        match ended {
            Ok((time, result)) => results.record(share.name, Some(time), result.into()),
            Err(_) => results.fail(share.name, "the runner itself panicked"),
        }
    }
}

impl Share {
    fn run(&self) -> (Duration, Result<(), String>) {
        let start = Instant::now();
        let mut cargo = tool::cargo_nightly();
        cargo.args(["miri", "test", "--quiet", "-p", self.package, "--lib"]);
        cargo.args(["--", "--exact"]).args(self.tests);
        if self.tests.is_empty() {
            let slow = SLOW.into_iter().flatten();
            cargo.args(slow.flat_map(|test| ["--skip", test]));
        }
        cargo.env(
            "MIRIFLAGS",
            "-Zmiri-strict-provenance -Zmiri-disable-isolation",
        );
        let result = succeeds(&mut cargo);
        (start.elapsed(), result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::sources;

    /// One that is not there would be left out, and nobody would notice.
    #[test]
    fn slow_tests_are_there() {
        let members = sources::members().unwrap();
        for share in SHARES {
            let mut packages = members.iter();
            let member = packages.find(|member| member.package == share.package);
            for test in share.tests {
                assert!(
                    member.unwrap().tests.iter().any(|name| name == test),
                    "{test}"
                );
            }
        }
    }
}
