//! OpenMetrics text (github.com/prometheus/OpenMetrics, version 1.0).
//!
//! **Invariant:** every family has HELP, TYPE and, where its name ends with one, UNIT; no two
//! samples have the same name and labels; label values are escaped; the text ends with `# EOF`.
//! **Knows nothing of:** who scrapes it.

use crate::account::{Account, kind_name};
use crate::growth::Change;
use crate::names::{function, place};
use crate::snapshot::text;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use tally_abi::TeeUuid;
use tally_abi::pta::control::PoolStats;
use tally_abi::pta::inspect::{TaDetail, state};

/// A snapshot's figures.
#[must_use]
pub fn figures(account: &Account) -> String {
    let mut out = Text::default();
    let snapshot = &account.snapshot;
    out.family(
        "tally_snapshot",
        "info",
        "",
        "The snapshot behind these figures",
    );
    let header = &snapshot.header;
    let labels = [
        ("file", account.file.clone()),
        ("reason", crate::shown::reason(header.reason).to_owned()),
        ("mark", header.mark.to_string()),
    ];
    out.sample("tally_snapshot_info", &labels, 1);
    out.family(
        "tally_uptime_seconds",
        "gauge",
        "seconds",
        "Time since boot",
    );
    let (seconds, millis) = (header.at_ms / 1000, header.at_ms % 1000);
    out.sample(
        "tally_uptime_seconds",
        &[],
        format_args!("{seconds}.{millis:03}"),
    );
    let ram = "tally_secure_ram_bytes";
    out.family(ram, "gauge", "bytes", "Secure RAM in all");
    out.sample(ram, &[], header.secure_ram);
    let by_use = "tally_secure_memory_bytes";
    out.family(
        by_use,
        "gauge",
        "bytes",
        "Secure RAM by use; adds up to all of it",
    );
    for row in &snapshot.meminfo {
        out.sample(by_use, &[("use", text(&row.label))], row.bytes);
    }
    pools(&mut out, account);
    owners(&mut out, account);
    tas(&mut out, account);
    sites(&mut out, account);
    out.end()
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
    let mut out = Text::default();
    for (n, (name, unit, help)) in [
        ("tally_growth_bytes", "bytes", "Growth of live bytes"),
        ("tally_growth_blocks", "blocks", "Growth of live blocks"),
    ]
    .into_iter()
    .enumerate()
    {
        let help = format!("{help} between two snapshots, by pool, owner and call stack");
        out.family(name, "gauge", unit, &help);
        for ([pool, owner, stack], growth) in &sums {
            let labels = [
                ("pool", pool.clone()),
                ("owner", owner.clone()),
                ("stack", stack.clone()),
            ];
            out.sample(name, &labels, growth[n]);
        }
    }
    out.end()
}

/// Name, type, unit, help, figure.
type Family<T> = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    fn(&T) -> u64,
);

const POOLS: &[Family<PoolStats>] = &[
    (
        "tally_pool_allocated_bytes",
        "gauge",
        "bytes",
        "Bytes allocated",
        |p| p.alloc.allocated.into(),
    ),
    (
        "tally_pool_max_allocated_bytes",
        "gauge",
        "bytes",
        "Most bytes allocated at a time",
        |p| p.alloc.max_allocated.into(),
    ),
    (
        "tally_pool_size_bytes",
        "gauge",
        "bytes",
        "Size of the pool",
        |p| p.alloc.size.into(),
    ),
    (
        "tally_pool_largest_free_bytes",
        "gauge",
        "bytes",
        "Largest free chunk",
        |p| p.largest_free,
    ),
    (
        "tally_pool_metadata_bytes",
        "gauge",
        "bytes",
        "Bookkeeping of the pool",
        |p| p.metadata,
    ),
    (
        "tally_pool_tables_bytes",
        "gauge",
        "bytes",
        "Bookkeeping that the pool has whatever is allocated",
        |p| p.tables,
    ),
    (
        "tally_pool_records_bytes",
        "gauge",
        "bytes",
        "Records of blocks in the pool",
        |p| p.records,
    ),
    (
        "tally_pool_live_blocks",
        "gauge",
        "blocks",
        "Live blocks",
        |p| p.live_blocks,
    ),
    (
        "tally_pool_allocations",
        "counter",
        "",
        "Allocations that succeeded",
        |p| p.num_get,
    ),
    ("tally_pool_releases", "counter", "", "Releases", |p| {
        p.num_release
    }),
    (
        "tally_pool_failed_allocations",
        "counter",
        "",
        "Allocations that were refused",
        |p| p.alloc.num_alloc_fail.into(),
    ),
    (
        "tally_pool_inconsistent",
        "gauge",
        "",
        "1 if the pool's bookkeeping does not add up",
        |p| u64::from(p.inconsistent != 0),
    ),
];

fn pools(out: &mut Text, account: &Account) {
    let labels: Vec<_> = account
        .snapshot
        .pools
        .iter()
        .enumerate()
        .map(|(n, pool)| {
            vec![
                ("pool", text(&pool.alloc.desc)),
                ("ta", some(account, pool.owner)),
                // Instances of one TA have pools of the same name.
                ("index", n.to_string()),
            ]
        })
        .collect();
    families(out, POOLS, &account.snapshot.pools, &labels);
}

const TAS: &[Family<TaDetail>] = &[
    (
        "tally_ta_vss_bytes",
        "gauge",
        "bytes",
        "Addresses mapped or promised",
        |t| t.vss,
    ),
    (
        "tally_ta_rss_bytes",
        "gauge",
        "bytes",
        "Memory mapped, shared parts whole",
        |t| t.rss,
    ),
    (
        "tally_ta_pss_bytes",
        "gauge",
        "bytes",
        "Memory mapped, shared parts divided",
        |t| t.pss,
    ),
    (
        "tally_ta_uss_bytes",
        "gauge",
        "bytes",
        "Memory that its end would free",
        |t| t.uss,
    ),
    (
        "tally_ta_charged_bytes",
        "gauge",
        "bytes",
        "Secure memory charged to its quota",
        |t| t.charged,
    ),
    (
        "tally_ta_quota_bytes",
        "gauge",
        "bytes",
        "Most secure memory it may have",
        |t| t.quota,
    ),
    (
        "tally_ta_stack_bytes",
        "gauge",
        "bytes",
        "Stack as reserved",
        |t| t.stack,
    ),
    (
        "tally_ta_stack_deepest_bytes",
        "gauge",
        "bytes",
        "Deepest use of the stack",
        |t| t.stack_deepest,
    ),
    (
        "tally_ta_heap_committed_bytes",
        "gauge",
        "bytes",
        "Heap pages taken",
        |t| t.heap_committed,
    ),
    (
        "tally_ta_heap_reserved_bytes",
        "gauge",
        "bytes",
        "Heap addresses reserved",
        |t| t.heap_reserved,
    ),
    (
        "tally_ta_page_table_bytes",
        "gauge",
        "bytes",
        "Page tables",
        |t| t.tables,
    ),
    (
        "tally_ta_kernel_heap_bytes",
        "gauge",
        "bytes",
        "Kernel heap on its behalf",
        |t| t.kernel_heap,
    ),
    (
        "tally_ta_shared_bytes",
        "gauge",
        "bytes",
        "Normal-world memory mapped",
        |t| t.shared,
    ),
    ("tally_ta_sessions", "gauge", "", "Open sessions", |t| {
        t.sessions.into()
    }),
    (
        "tally_ta_busy",
        "gauge",
        "",
        "1 while it runs a command",
        |t| u64::from(t.state == state::BUSY),
    ),
    (
        "tally_ta_dead",
        "gauge",
        "",
        "1 after it panicked, crashed or was killed",
        |t| u64::from(t.state == state::DEAD),
    ),
];

fn tas(out: &mut Text, account: &Account) {
    let labels: Vec<_> = account
        .snapshot
        .tas
        .iter()
        .enumerate()
        .map(|(n, ta)| {
            vec![
                ("ta", account.ta(ta.uuid)),
                ("uuid", ta.uuid.to_string()),
                ("instance", ta.instance.to_string()),
                ("index", n.to_string()),
            ]
        })
        .collect();
    families(out, TAS, &account.snapshot.tas, &labels);
}

fn families<T>(out: &mut Text, families: &[Family<T>], rows: &[T], labels: &[Vec<(&str, String)>]) {
    for (name, kind, unit, help, figure) in families {
        out.family(name, kind, unit, help);
        let suffix = if *kind == "counter" { "_total" } else { "" };
        for (row, labels) in rows.iter().zip(labels) {
            out.sample(&format!("{name}{suffix}"), labels, figure(row));
        }
    }
}

fn owners(out: &mut Text, account: &Account) {
    let mut sums: BTreeMap<[String; 2], [u64; 3]> = BTreeMap::new();
    for row in &account.snapshot.owners {
        let owner = account.owner(row.kind, &row.label, row.uuid);
        let sum = sums
            .entry([kind_name(row.kind).to_owned(), owner])
            .or_default();
        for (sum, figure) in sum
            .iter_mut()
            .zip([row.heap_bytes, row.heap_blocks, row.pages])
        {
            *sum = sum.saturating_add(figure.into());
        }
    }
    for (n, (name, unit, help)) in [
        (
            "tally_owner_kernel_heap_bytes",
            "bytes",
            "Kernel heap by owner",
        ),
        (
            "tally_owner_kernel_heap_blocks",
            "blocks",
            "Kernel heap blocks by owner",
        ),
        ("tally_owner_secure_pages", "pages", "Secure pages by owner"),
    ]
    .into_iter()
    .enumerate()
    {
        out.family(name, "gauge", unit, help);
        for ([kind, owner], figures) in &sums {
            let labels = [("kind", kind.clone()), ("owner", owner.clone())];
            out.sample(name, &labels, figures[n]);
        }
    }
}

fn sites(out: &mut Text, account: &Account) {
    let mut sums: BTreeMap<[String; 3], [u64; 3]> = BTreeMap::new();
    for (site, stack) in account.snapshot.sites.iter().zip(&account.sites) {
        let innermost = stack.shown().first().map(|shown| shown.frame);
        let key = [
            account.program(site.pool),
            innermost.map_or_else(|| "no call stack".to_owned(), function),
            innermost.map(place).unwrap_or_default(),
        ];
        let sum = sums.entry(key).or_default();
        for (sum, figure) in
            sum.iter_mut()
                .zip([site.live_bytes, site.live_blocks, site.allocations])
        {
            *sum = sum.saturating_add(figure);
        }
    }
    for (n, (name, kind, unit, help)) in [
        (
            "tally_site_live_bytes",
            "gauge",
            "bytes",
            "Live bytes by call site",
        ),
        (
            "tally_site_live_blocks",
            "gauge",
            "blocks",
            "Live blocks by call site",
        ),
        (
            "tally_site_allocations",
            "counter",
            "",
            "Allocations by call site",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        out.family(name, kind, unit, help);
        let suffix = if kind == "counter" { "_total" } else { "" };
        for ([pool, function, place], figures) in &sums {
            let labels = [
                ("pool", pool.clone()),
                ("function", function.clone()),
                ("place", place.clone()),
            ];
            out.sample(&format!("{name}{suffix}"), &labels, figures[n]);
        }
    }
}

/// A TA's name; empty for nil.
fn some(account: &Account, uuid: TeeUuid) -> String {
    if uuid == TeeUuid::nil() {
        String::new()
    } else {
        account.ta(uuid)
    }
}

#[derive(Default)]
struct Text(String);

// Writing to a string does not fail.
impl Text {
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {}", escaped(help));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, String)], value: impl Display) {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let begin = if n == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{begin}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn end(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
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
