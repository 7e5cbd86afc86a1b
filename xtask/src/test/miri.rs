//! The crates with unsafe code, and the kernel's core, under Miri.
//!
//! Miri runs a process on one CPU, whatever a test's own threads do: processes share the tests.
//!
//! **Invariant:** the shares of a package are all of its tests.
//! **Knows nothing of:** what the tests check.

use super::results::Results;
use super::{Known, succeeds};
use crate::{setup, tool, ui};
use std::process::Command;
use std::time::{Duration, Instant};

/// Packages, and how many processes share their tests.
const PACKAGES: &[(&str, usize)] = &[("tally-ledger", 3), ("tally-core", 1)];

/// Some tests of a package, quick enough for every day.
struct Quick {
    name: &'static str,
    package: &'static str,
    tests: &'static [&'static str],
}

const QUICK: &[Quick] = &[Quick {
    name: "miri: tally-ledger, what takes seconds",
    package: "tally-ledger",
    tests: &[
        "tests::a_block_is_credited_and_debited_to_its_recorded_owner",
        "tests::a_pool_is_opened_where_it_stands_and_once",
        "tests::a_wild_pointer_is_not_a_block",
        "tests::all_alignments_up_to_a_page_are_served",
        "tests::growing_joins_the_new_memory_to_the_old",
        "tests::light::light_tracking_names_return_addresses_across_a_window_of_code",
        "tests::outside::a_slab_whose_front_was_overwritten_gives_no_block_twice",
        "tests::outside::an_alarm_rings_once_when_more_is_live",
        "tests::outside::every_byte_of_a_large_block_is_found",
        "tests::outside::pools_without_guard_bytes_let_all_of_a_block_be_used",
    ],
}];

/// A test, and how to run it.
struct Share {
    name: String,
    package: &'static str,
    number: usize,
    of: usize,
}

fn shares() -> impl Iterator<Item = Share> {
    PACKAGES.iter().flat_map(|&(package, of)| {
        (1..=of).map(move |number| Share {
            name: match of {
                1 => format!("miri: {package}"),
                _ => format!("miri: {package}, {number} of {of}"),
            },
            package,
            number,
            of,
        })
    })
}

/// Names of all of them.
pub(super) fn names() -> impl Iterator<Item = Known> {
    let quick = QUICK.iter().map(|quick| Known::short(quick.name));
    quick.chain(shares().map(|share| Known::long(share.name)))
}

/// Runs what is wanted, all at a time.
pub(super) fn run(results: &mut Results) {
    let quick = QUICK.iter().filter(|quick| results.wants(quick.name));
    let quick: Vec<&Quick> = quick.collect();
    let shares: Vec<Share> = shares()
        .filter(|share| results.wants(&share.name))
        .collect();
    if quick.is_empty() && shares.is_empty() {
        return;
    }
    if let Err(err) = setup::ensure(setup::Part::Miri) {
        return results.skip_group("miri", &format!("{err:#}").replace('\n', " "));
    }
    ui::step("Testing", "under Miri");
    let ran = std::thread::scope(|scope| {
        let quick = quick.iter().map(|quick| {
            let run = || timed(|| some(quick.package, quick.tests));
            (quick.name.to_owned(), scope.spawn(run))
        });
        let mut runs: Vec<_> = quick.collect();
        for share in &shares {
            let run = || timed(|| share.run());
            runs.push((share.name.clone(), scope.spawn(run)));
        }
        let ended = runs.into_iter().map(|(name, run)| (name, run.join()));
        ended.collect::<Vec<_>>()
    });
    for (name, ended) in ran {
        match ended {
            Ok((time, result)) => results.record(&name, Some(time), result.into()),
            Err(_) => results.fail(&name, "the runner itself panicked"),
        }
    }
}

fn timed(run: impl FnOnce() -> Result<(), String>) -> (Duration, Result<(), String>) {
    let start = Instant::now();
    let result = run();
    (start.elapsed(), result)
}

fn miri(package: &str) -> Command {
    let mut cargo = tool::cargo_nightly();
    cargo.args(["miri", "test", "--quiet", "-p", package, "--lib", "--"]);
    cargo.env(
        "MIRIFLAGS",
        "-Zmiri-strict-provenance -Zmiri-disable-isolation",
    );
    cargo
}

fn some(package: &str, tests: &[&str]) -> Result<(), String> {
    succeeds(miri(package).arg("--exact").args(tests))
}

impl Share {
    fn run(&self) -> Result<(), String> {
        if self.of == 1 {
            return succeeds(&mut miri(self.package));
        }
        let list = tool::captured(miri(self.package).args(["--list", "--format=terse"]));
        let (_, list) = list.map_err(|err| format!("{err:#}"))?;
        let names = every(&list, self.number, self.of);
        if names.is_empty() {
            return Err(format!("no test to share was found:\n{list}"));
        }
        succeeds(miri(self.package).arg("--exact").args(names))
    }
}

/// Of libtest's terse list every `of`th test, beginning with the one of this number.
fn every(list: &str, number: usize, of: usize) -> Vec<&str> {
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    names.skip(number - 1).step_by(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_tests_are_there() {
        let members = crate::test::sources::members().unwrap();
        for quick in QUICK {
            let mut packages = members.iter();
            let member = packages.find(|member| member.package == quick.package);
            for test in quick.tests {
                assert!(
                    member.unwrap().tests.iter().any(|name| name == test),
                    "{test}"
                );
            }
        }
    }

    #[test]
    fn shares_of_a_list_are_all_of_it() {
        let list = "warning: slow\na::one: test\na::two: test\nb: test\nc: benchmark\n";
        assert_eq!(every(list, 1, 2), ["a::one", "b"]);
        assert_eq!(every(list, 2, 2), ["a::two"]);
    }
}
