//! A snapshot as OpenMetrics text.
//!
//! **Invariant:** families are those that the device writes itself (`tally_metrics`), and the
//! snapshot's own; no two samples have the same name and labels.

use crate::account::Account;
use crate::growth::Change;
use crate::names::{Stack, function, place};
use std::collections::BTreeMap;
use std::fmt;
use tally_metrics::figures::{self as families, Figures, Site};
use tally_metrics::text::Text;
use tally_records::SiteRow;

/// A snapshot's figures.
#[must_use]
pub fn figures(account: &Account) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_figures(Text::new(&mut text, &[]), account);
    text
}

fn write_figures(mut out: Text<'_>, account: &Account) -> fmt::Result {
    let snapshot = &account.snapshot;
    let header = &snapshot.header;
    let help = "The snapshot behind these figures";
    out.family("tally_snapshot", "info", "", help)?;
    let labels = [
        ("file", account.file.clone()),
        ("reason", crate::shown::reason(header.reason).to_owned()),
        ("mark", header.mark.to_string()),
    ];
    out.sample("tally_snapshot_info", &labels, 1)?;
    let sites: Vec<Site> = snapshot
        .sites
        .iter()
        .zip(&account.sites)
        .map(|(row, stack)| site(row, stack))
        .collect();
    let figures = Figures {
        uptime_ms: header.at_ms,
        secure_ram: header.secure_ram,
        // Snapshots have no such section.
        threads: None,
        meminfo: &snapshot.meminfo,
        pools: &snapshot.pools,
        owners: &snapshot.owners,
        tas: &snapshot.tas,
        sites: &sites,
    };
    families::write(&mut out, &figures, account)?;
    out.end()
}

fn site(row: &SiteRow, stack: &Stack) -> Site {
    let innermost = stack.shown().first().map(|shown| shown.frame);
    Site {
        pool: row.pool,
        function: innermost.map_or_else(|| "no call stack".to_owned(), function),
        place: innermost.map(place).unwrap_or_default(),
        live_bytes: row.live_bytes,
        live_blocks: row.live_blocks,
        allocations: row.is_counted().then_some(row.allocations),
    }
}

/// What grew between two snapshots.
#[must_use]
pub fn change(account: &Account, changes: &[Change]) -> String {
    let mut sums: BTreeMap<[String; 3], [i64; 2]> = BTreeMap::new();
    for change in changes {
        let stack = change.stack.shown();
        let stack: Vec<String> = stack.iter().map(|shown| function(shown.frame)).collect();
        let key = [
            account.program(change.image),
            change.owner.clone(),
            stack.join(" < "),
        ];
        let [bytes, blocks] = sums.entry(key).or_default();
        *bytes = bytes.saturating_add(change.bytes());
        *blocks = blocks.saturating_add(change.blocks());
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_change(Text::new(&mut text, &[]), &sums);
    text
}

fn write_change(mut out: Text<'_>, sums: &BTreeMap<[String; 3], [i64; 2]>) -> fmt::Result {
    for (n, (name, unit, help)) in [
        ("tally_growth_bytes", "bytes", "Growth of live bytes"),
        ("tally_growth_blocks", "blocks", "Growth of live blocks"),
    ]
    .into_iter()
    .enumerate()
    {
        let help = format!("{help} between two snapshots, by pool, owner and call stack");
        out.family(name, "gauge", unit, &help)?;
        for ([pool, owner, stack], growth) in sums {
            let labels = [
                ("pool", pool.clone()),
                ("owner", owner.clone()),
                ("stack", stack.clone()),
            ];
            out.sample(name, &labels, growth[n])?;
        }
    }
    out.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NoNames;
    use crate::sample;
    use std::collections::HashSet;

    #[test]
    fn samples_are_unique_and_uses_add_up() {
        let account = Account::new(sample::machine(2), "a \"b\"\n\\", &NoNames);
        let text = figures(&account);
        let mut seen = HashSet::new();
        let mut sum = 0;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(name), "{name} twice");
            if name.starts_with("tally_secure_memory_bytes") {
                sum += value.parse::<u64>().unwrap();
            }
        }
        assert_eq!(sum, account.snapshot.header.secure_ram);
        assert!(text.contains("file=\"a \\\"b\\\"\\n\\\\\""));
        assert!(text.ends_with("\n# EOF\n"));
    }
}
