//! The tests that run on the bare machine as well, and their soak, by several clients at a time.
//!
//! **Invariant:** the secure world is asked by a connection of the test's own.

use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::Instant;

use tally_abi::TeeUuid;
use tally_abi::sites::Table;
use tally_insight::names::{Frame, PSEUDO};
use tally_paired::{Bench, Side, soak};
use teec::Context;
use teestat::{Files, Host, HostNames, NoFiles};

use crate::bench::{self, Outcome};
use crate::results::Verdict;

/// Where the supplicant looks for TAs; xtask puts their names and call sites beside them.
const TAS: &str = "/lib/optee_armtz";
/// Clients that soak at the same time.
const CLIENTS: u64 = 4;
/// Rounds of each.
const ROUNDS: u64 = 5;

/// Linux, as the shared tests see it.
struct Linux {
    began: Instant,
    /// Lines of UUID and short name.
    names: String,
}

impl Linux {
    fn known(&self) -> impl Iterator<Item = (&str, TeeUuid)> {
        let named = self.names.lines().filter_map(|line| {
            let (uuid, name) = line.split_once(' ')?;
            Some((name, uuid.parse().ok()?))
        });
        named.chain(PSEUDO)
    }
}

impl HostNames for Linux {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        let (name, _) = self.known().find(|(_, known)| *known == uuid)?;
        Some(name.to_owned())
    }

    fn uuid_of(&self, name: &str) -> Option<TeeUuid> {
        let (_, uuid) = self.known().find(|(known, _)| *known == name)?;
        Some(uuid)
    }

    fn site(&self, image: TeeUuid, offset: u64) -> Option<Frame> {
        let file = std::fs::read(Path::new(TAS).join(format!("{image}.sites"))).ok()?;
        Table::parse(&file)?.lookup(offset).map(Frame::from)
    }
}

impl Host for Linux {
    fn names(&self) -> &dyn HostNames {
        self
    }

    fn files(&self) -> &dyn Files {
        &NoFiles
    }
}

impl Side for Linux {
    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The driver keeps them.
    fn shared_count(&self) -> usize {
        0
    }

    fn say(&self, text: &str) {
        // What cannot be shown is in the results all the same.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

/// Runs what needs a connection and a side. An open connection would keep the driver from being unloaded.
pub(super) fn connected<R>(run: impl FnOnce(&Bench<'_>) -> R) -> Result<R, String> {
    let side = Linux {
        began: Instant::now(),
        names: bench::file(&format!("{TAS}/names"))?,
    };
    let transport = bench::connect()?;
    Ok(run(&Bench::new(Context::new(&transport), &side)))
}

/// The shared tests.
pub(super) fn tests() -> impl Iterator<Item = tally_paired::Test> {
    tally_paired::GROUPS.into_iter().flatten().copied()
}

/// Runs one of them.
pub(super) fn verdict(bench: &Bench<'_>, (_, test): tally_paired::Test) -> Verdict {
    let result = bench.check(|| test(bench));
    match (result, bench.take_skipped()) {
        (Err(why), _) => Verdict::Failed(why),
        (Ok(()), Some(why)) => Verdict::Skipped(why.into()),
        (Ok(()), None) => Verdict::Passed,
    }
}

/// Every TA opened, used, crashed and killed by clients that know nothing of each other.
pub(super) fn soaked() -> Outcome {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut seeds = (0..ROUNDS).map(|round| client * ROUNDS + round);
                    connected(|bench| seeds.try_for_each(|seed| soak::round(bench, seed)))?
                })
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| "a client panicked")?)
    })
}

/// The same alone, with the accounts compared after each round.
pub(super) fn soaked_alone() -> Outcome {
    connected(|bench| soak::run(bench, soak::Limit::Rounds(ROUNDS)))?
}
