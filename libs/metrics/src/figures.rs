//! The families of figures.
//!
//! **Invariant:** no two samples have the same name and labels; what has no name of its own has an
//! index; uses of secure RAM add up to all of it.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use tally_abi::TeeUuid;
use tally_records::{MeminfoRow, OwnerRow, PoolStats, TaDetail, state};

use crate::naming::{self, Names};
use crate::text::{Label, Text};

/// Names of all labels that families use.
pub const LABELS: &[&str] = &[
    "file",
    "reason",
    "mark",
    "use",
    "pool",
    "ta",
    "index",
    "uuid",
    "ta_instance",
    "kind",
    "owner",
    "function",
    "place",
    "stack",
];

/// The figures of one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures<'a> {
    /// Milliseconds since boot.
    pub uptime_ms: u64,
    /// Bytes of secure RAM.
    pub secure_ram: u64,
    /// Threads for calls, where that is known.
    pub threads: Option<Threads>,
    /// Secure RAM by use.
    pub meminfo: &'a [MeminfoRow],
    /// Pools.
    pub pools: &'a [PoolStats],
    /// Owners of kernel heap and pages.
    pub owners: &'a [OwnerRow],
    /// TA instances.
    pub tas: &'a [TaDetail],
    /// Call sites; those that read the same are added up.
    pub sites: &'a [Site],
}

/// Kernel threads, one for each call inside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads {
    /// How many there are.
    pub count: u32,
    /// How many serve a call.
    pub in_use: u32,
    /// Calls that were turned away for want of one.
    pub turned_away: u32,
}

/// A call site.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// The TA whose heap it is, nil for the kernel's.
    pub pool: TeeUuid,
    /// Function that allocates.
    pub function: String,
    /// `file:line`; empty when unknown.
    pub place: String,
    /// Live bytes.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// Allocations so far, if they are counted.
    pub allocations: Option<u64>,
}

/// Writes all families.
///
/// # Errors
/// The output's.
pub fn write(out: &mut Text<'_>, figures: &Figures<'_>, names: &dyn Names) -> fmt::Result {
    let uptime = "tally_uptime_seconds";
    out.family(uptime, "gauge", "seconds", "Time since boot")?;
    let (seconds, millis) = (figures.uptime_ms / 1000, figures.uptime_ms % 1000);
    out.sample(uptime, &[], format_args!("{seconds}.{millis:03}"))?;
    let ram = "tally_secure_ram_bytes";
    out.family(ram, "gauge", "bytes", "Secure RAM in all")?;
    out.sample(ram, &[], figures.secure_ram)?;
    let by_use = "tally_secure_memory_bytes";
    let help = "Secure RAM by use; adds up to all of it";
    out.family(by_use, "gauge", "bytes", help)?;
    for row in figures.meminfo {
        let labels = [("use", naming::printable(&row.label))];
        out.sample(by_use, &labels, row.bytes)?;
    }
    if let Some(threads) = figures.threads {
        families(out, THREADS, &[threads], &[Vec::new()])?;
    }
    pools(out, figures.pools, names)?;
    owners(out, figures.owners, names)?;
    tas(out, figures.tas, names)?;
    sites(out, figures.sites, names)
}

/// Name, type, unit, help, figure.
type Family<T> = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    fn(&T) -> u64,
);

const THREADS: &[Family<Threads>] = &[
    ("tally_threads", "gauge", "", "Threads for calls", |t| {
        t.count.into()
    }),
    (
        "tally_threads_in_use",
        "gauge",
        "",
        "Threads that serve a call, that of the scrape included",
        |t| t.in_use.into(),
    ),
    (
        "tally_calls_turned_away",
        "counter",
        "",
        "Calls that found no thread",
        |t| t.turned_away.into(),
    ),
];

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
        "tally_pool_promised_bytes",
        "gauge",
        "bytes",
        "Bytes allocated whose pages are promised and not taken yet",
        |p| p.promised,
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

fn pools(out: &mut Text<'_>, pools: &[PoolStats], names: &dyn Names) -> fmt::Result {
    let labels: Vec<_> = pools
        .iter()
        .enumerate()
        .map(|(n, pool)| {
            let ta = match pool.owner {
                owner if owner == TeeUuid::nil() => String::new(),
                owner => naming::ta(names, owner),
            };
            vec![
                ("pool", naming::printable(&pool.alloc.desc)),
                ("ta", ta),
                // Instances of one TA have pools of the same name.
                ("index", n.to_string()),
            ]
        })
        .collect();
    families(out, POOLS, pools, &labels)
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

fn tas(out: &mut Text<'_>, tas: &[TaDetail], names: &dyn Names) -> fmt::Result {
    let labels: Vec<_> = tas
        .iter()
        .enumerate()
        .map(|(n, ta)| {
            vec![
                ("ta", naming::ta(names, ta.uuid)),
                ("uuid", ta.uuid.to_string()),
                // `instance` is the scraper's.
                ("ta_instance", ta.instance.to_string()),
                ("index", n.to_string()),
            ]
        })
        .collect();
    families(out, TAS, tas, &labels)
}

fn families<T>(
    out: &mut Text<'_>,
    families: &[Family<T>],
    rows: &[T],
    labels: &[Vec<Label<'_>>],
) -> fmt::Result {
    for (name, kind, unit, help, figure) in families {
        out.family(name, kind, unit, help)?;
        let name = sample_name(name, kind);
        for (row, labels) in rows.iter().zip(labels) {
            out.sample(&name, labels, figure(row))?;
        }
    }
    Ok(())
}

/// What samples of a family are called.
fn sample_name(family: &str, kind: &str) -> String {
    let suffix = if kind == "counter" { "_total" } else { "" };
    format!("{family}{suffix}")
}

fn owners(out: &mut Text<'_>, owners: &[OwnerRow], names: &dyn Names) -> fmt::Result {
    let mut sums: BTreeMap<[String; 2], [u64; 3]> = BTreeMap::new();
    for row in owners {
        let owner = naming::owner(names, row.kind, &row.label, row.uuid);
        let key = [naming::kind_name(row.kind).to_owned(), owner];
        let sum = sums.entry(key).or_default();
        let figures = [row.heap_bytes, row.heap_blocks, row.pages];
        for (sum, figure) in sum.iter_mut().zip(figures) {
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
        out.family(name, "gauge", unit, help)?;
        for ([kind, owner], figures) in &sums {
            let labels = [("kind", kind.clone()), ("owner", owner.clone())];
            out.sample(name, &labels, figures[n])?;
        }
    }
    Ok(())
}

fn sites(out: &mut Text<'_>, sites: &[Site], names: &dyn Names) -> fmt::Result {
    let mut sums: BTreeMap<[String; 3], [Option<u64>; 3]> = BTreeMap::new();
    for site in sites {
        let pool = naming::program(names, site.pool);
        let key = [pool, site.function.clone(), site.place.clone()];
        let sum = sums.entry(key).or_default();
        let figures = [
            Some(site.live_bytes),
            Some(site.live_blocks),
            site.allocations,
        ];
        for (sum, figure) in sum.iter_mut().zip(figures) {
            if let Some(figure) = figure {
                *sum = Some(sum.unwrap_or(0).saturating_add(figure));
            }
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
        out.family(name, kind, unit, help)?;
        let name = sample_name(name, kind);
        for ([pool, function, place], figures) in &sums {
            let labels = [
                ("pool", pool.clone()),
                ("function", function.clone()),
                ("place", place.clone()),
            ];
            if let Some(figure) = figures[n] {
                out.sample(&name, &labels, figure)?;
            }
        }
    }
    Ok(())
}
