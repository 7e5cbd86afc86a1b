//! The list of tests, and how one is run.
//!
//! **Invariant:** a test that leaves something behind fails, and the next one starts from what is.

mod calls;
mod cpus;
mod driver;
mod moment;
mod paired;
mod processes;
mod serve;

use std::path::Path;
use std::time::Instant;

use teec::Context;

use crate::account::Account;
use crate::bench::{self, Outcome};
use crate::results::{Results, Verdict};

struct Test {
    name: &'static str,
    run: fn() -> Outcome,
    /// A program that xtask cannot make on every machine.
    needs: Option<&'static str>,
}

impl Test {
    fn verdict(&self) -> Verdict {
        if let Some(path) = self.needs.filter(|path| !Path::new(path).exists()) {
            return Verdict::Skipped(format!("{path} was not made: no C compiler for AArch64"));
        }
        match checked(self.run) {
            Ok(()) => Verdict::Passed,
            Err(why) => Verdict::Failed(why),
        }
    }
}

const fn test(name: &'static str, run: fn() -> Outcome) -> Test {
    Test {
        name,
        run,
        needs: None,
    }
}

static TESTS: &[Test] = &[
    test(
        "the driver probes without a warning",
        driver::probes_quietly,
    ),
    test("teestat prints pools and TAs", calls::teestat_prints),
    test(
        "nothing has leaked right after a mark",
        calls::nothing_leaks_by_asking,
    ),
    test(
        "a TA is loaded by the supplicant and answers",
        calls::hello_answers,
    ),
    test(
        "memory references go both ways",
        calls::memory_goes_both_ways,
    ),
    test("an unknown TA is not found", calls::unknown_ta_is_not_found),
    test("time is the normal world's", calls::time_is_linux_s),
    Test {
        name: "a C client over libteec",
        run: calls::c_client,
        needs: Some(calls::C_CLIENT),
    },
    test("a cancelled call ends at once", calls::cancellation),
    test(
        "sixty clients at once, and none is turned away",
        processes::nobody_is_turned_away,
    ),
    test(
        "a client killed while its call sleeps",
        processes::killed_asleep,
    ),
    test(
        "a client killed while its TA is busy for a while",
        processes::killed_while_busy,
    ),
    test(
        "a client killed while it waits for a TA",
        processes::killed_in_queue,
    ),
    test(
        "a client killed while its TA loops",
        processes::killed_in_loop,
    ),
    test(
        "the supplicant killed in the middle of a request",
        processes::supplicant_killed,
    ),
    test("Linux keeps its ticks while a TA loops", cpus::ticks_go_on),
    test("every CPU is in a TA of its own", cpus::all_in_tas),
    test("CPUs come and go while calls run", cpus::hotplug),
    test("figures are served over HTTP", serve::figures_are_served),
    test(
        "requests are answered as they deserve",
        serve::requests_are_answered_as_they_deserve,
    ),
    test(
        "meminfo adds up a thousand times while TAs are loaded",
        moment::meminfo_adds_up,
    ),
    test(
        "metrics over HTTP add up while TAs are loaded",
        moment::metrics_add_up,
    ),
    test(
        "metrics over HTTP add up while TAs are loaded, at length",
        moment::metrics_add_up_at_length,
    ),
    test(
        "snapshots add up a thousand times while TAs are loaded",
        moment::snapshots_add_up,
    ),
    test(
        "the random number generator is a device, and its driver reads it",
        driver::random_numbers,
    ),
    test(
        "every TA is opened, used, crashed and killed, and nothing grows",
        paired::soaked_alone,
    ),
    test(
        "every TA is opened, used, crashed and killed by four clients at once",
        paired::soaked,
    ),
    test("the driver is unloaded and loaded again", driver::reload),
    test("the kernel's log has no warning in the end", driver::quiet),
];

/// How the name of a test ends that runs for minutes.
const AT_LENGTH: &str = ", at length";

/// Runs the tests whose name is one of `filters` or contains one that is no name; without any, those that do not take long. Whether all went
/// well.
pub(crate) fn run(results: &str, filters: &[&str]) -> Result<bool, String> {
    let mut results = Results::open(results).map_err(|error| format!("{results}: {error}"))?;
    let mut well = true;
    // What Linux keeps for itself once it was needed is there before the first account.
    processes::many_clients()?;
    let shared = || paired::tests().map(|(name, _)| name);
    let names = || TESTS.iter().map(|test| test.name).chain(shared());
    let wanted = |name: &str| match filters {
        [] => !name.ends_with(AT_LENGTH),
        _ => filters.iter().any(|filter| {
            let is_whole = names().any(|name| name == *filter);
            name == *filter || !is_whole && name.contains(filter)
        }),
    };
    let mut run = |name: &'static str, test: &dyn Fn() -> Verdict| {
        if !wanted(name) {
            return Ok(());
        }
        let begun = Instant::now();
        let verdict = test();
        well &= !matches!(verdict, Verdict::Failed(_));
        let (word, detail) = (verdict.word(), verdict.detail());
        let colon = if detail.is_empty() { "" } else { ": " };
        println!("{word} {name}{colon}{detail}");
        let written = results.test(name, begun.elapsed(), &verdict);
        written.map_err(|error| format!("results: {error}"))
    };
    paired::connected(|bench| {
        bench.warm_up();
        paired::tests().try_for_each(|test| run(test.0, &|| paired::verdict(bench, test)))
    })??;
    for test in TESTS {
        run(test.name, &|| test.verdict())?;
    }
    results
        .close()
        .map_err(|error| format!("results: {error}"))?;
    Ok(well)
}

/// Runs a test between two accounts.
fn checked(run: fn() -> Outcome) -> Outcome {
    let before = account()?;
    run()?;
    before.same_as(&account()?)
}

fn account() -> Result<Account, String> {
    let transport = bench::connect()?;
    Account::take(&Context::new(&transport))
}
