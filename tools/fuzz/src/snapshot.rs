//! Snapshots from anywhere: read, and made into every format.
//!
//! **Invariant:** what is read is consistent with the file's length; no format panics on what was
//! read.

use tally_insight::account::Account;
use tally_insight::account::NoSymbols;
use tally_insight::answers::Whole;
use tally_insight::snapshot::Snapshot;
use tally_insight::{growth, json, openmetrics, sample};
use tally_report::flame::Look;
use tally_report::{flame, html, listing, pprof};

/// Reads a snapshot and reports it, alone and compared with a sound one.
pub(crate) fn run(data: &[u8]) {
    let Ok(snapshot) = Snapshot::parse(data) else {
        return;
    };
    let least = snapshot.live.len() * 8 + snapshot.meminfo.len() * 8 + snapshot.tas.len() * 8;
    assert!(least <= data.len(), "more records than bytes for them");
    let read = Account::new(snapshot, "fuzzed", &NoSymbols);
    let sound = Account::new(sample::machine(1), "sound", &NoSymbols);
    let changes = growth::between(&sound, &read);
    let look = Look {
        embedded: true,
        ..Look::default()
    };
    // Damaged figures may be refused, not more.
    let _ = flame::draw(&flame::folded(&read), &look);
    let _ = flame::draw(&flame::folded_change(&read, &changes), &look);
    let growth = Look {
        growth: true,
        ..look
    };
    let _ = flame::draw(&flame::folded_growth(&read, &changes), &growth);
    assert!(pprof::profile(&read).is_ok());
    assert!(pprof::change(&sound, &read, &changes).is_ok());
    assert!(openmetrics::figures(&read).ends_with("# EOF\n"));
    assert!(openmetrics::change(&read, &changes).ends_with("# EOF\n"));
    assert!(json::text(&Whole(&read)).is_ok());
    assert!(!listing::changes(&sound, &read, &changes).is_empty());
    let page = html::page(&[sound, read]);
    // The page's own script is the only one.
    assert!(page.is_some_and(|page| page.matches("<script").count() == 1));
}

/// Snapshots of a machine that leaks.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    (0..3)
        .map(|cycle| sample::machine(cycle).to_bytes())
        .collect()
}
