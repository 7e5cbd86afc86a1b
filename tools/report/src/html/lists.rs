//! The sections that are lists: TAs, call sites, failures, pools, regions.
//!
//! **Invariant:** each list has all its records; a section without records is left out or says so.

use super::Page;
use super::cards;
use super::sections::{close, open, session, stack_cell};
use super::table::{Cell, Table};
use crate::account::Account;
use crate::advice;
use crate::merged;
use crate::shown;
use tally_abi::TeeUuid;
use tally_metrics::advice::{Advice, What, declared_once};
use tally_metrics::naming::printable;
use tally_records::{SiteRow, snapshot::section};

/// Of a section that the writer left out.
const NOT_THERE: &str = "<p>The snapshot does not say.</p>";

/// Cards, commands, and TAs that have ended.
pub(super) fn tas(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let snapshot = &account.snapshot;
    open(
        "tas",
        "Trusted applications",
        "Figures are taken from outside, whatever the TA is doing.",
        out,
    );
    if snapshot.tas.is_empty() {
        out.push_str(if snapshot.has(section::TAS) {
            "<p>None was loaded.</p>"
        } else {
            NOT_THERE
        });
    }
    let advice = advice::of(snapshot);
    cards::write(account, &advice, out);
    sizes(account, &advice, out);
    Table {
        id: "commands",
        caption: "By command".into(),
        columns: vec![
            "TA",
            "entry",
            "calls",
            "failed",
            "allocations",
            "releases",
            "net bytes",
            "heap above entry",
            "deepest stack",
            "ticks",
        ],
        rows: snapshot
            .commands
            .iter()
            .map(|row| {
                // Nobody looked: that is not nothing.
                let detail = |figure: u64| match row.detailed {
                    0 => Cell::Empty,
                    _ => figure.into(),
                };
                vec![
                    account.ta(row.uuid).into(),
                    shown::entry_name(row.function, row.command).into(),
                    row.calls.into(),
                    row.failed.into(),
                    detail(row.allocations),
                    detail(row.releases),
                    Cell::Difference(row.net_bytes),
                    row.heap_above_entry.into(),
                    detail(row.stack_deepest),
                    row.ticks.into(),
                ]
            })
            .collect(),
        sums: &[],
        filter: false,
    }
    .write(out);
    history(account, &advice, out);
    unfreed(account, out);
    close(out);
}

/// What sizes are, and what they should be: those of `teestat advise`.
fn sizes(account: &Account, advice: &[Advice], out: &mut String) {
    let or_empty = |bytes: u64| {
        if bytes == 0 {
            Cell::Empty
        } else {
            bytes.into()
        }
    };
    Table {
        id: "sizes",
        caption: "Sizes, and what they should be".into(),
        columns: vec![
            "size",
            "of",
            "now",
            "most used",
            "refused",
            "set to",
            "setting",
        ],
        rows: advice
            .iter()
            .map(|one| {
                vec![
                    one.what.name().into(),
                    if one.uuid == TeeUuid::nil() {
                        Cell::Empty
                    } else {
                        account.ta(one.uuid).into()
                    },
                    one.now.into(),
                    one.most.into(),
                    one.refused.into(),
                    or_empty(one.set),
                    one.what.setting().into(),
                ]
            })
            .collect(),
        sums: &[],
        filter: false,
    }
    .write(out);
}

fn history(account: &Account, advice: &[Advice], out: &mut String) {
    Table {
        id: "history",
        caption: "TAs that have ended".into(),
        columns: vec![
            "TA",
            "ended",
            "died",
            "heap most",
            "heap size",
            "stack deepest",
            "stack size",
            "charged most",
            "blocks not freed",
            "bytes not freed",
            "blocks held at death",
            "bytes held at death",
            "refused",
            "advice",
        ],
        rows: account
            .snapshot
            .history
            .iter()
            .map(|row| {
                let sentences: Vec<String> = [What::Heap, What::Stack]
                    .into_iter()
                    .filter_map(|what| advice::find(advice, row.uuid, what))
                    .map(advice::sentence)
                    .collect();
                vec![
                    account.ta(row.uuid).into(),
                    row.ended.into(),
                    row.died.into(),
                    row.heap_max.into(),
                    declared_once(row).into(),
                    row.stack_max.into(),
                    row.stack_size.into(),
                    row.charged_max.into(),
                    row.unfreed_blocks.into(),
                    row.unfreed_bytes.into(),
                    row.held_blocks.into(),
                    row.held_bytes.into(),
                    row.refused.into(),
                    sentences.join(". ").into(),
                ]
            })
            .collect(),
        sums: &[],
        filter: false,
    }
    .write(out);
}

/// Where TAs that have ended had allocated what they had not freed.
fn unfreed(account: &Account, out: &mut String) {
    let rows = account.snapshot.unfreed.iter().zip(&account.unfreed);
    Table {
        id: "unfreed",
        caption: "What they had not freed".into(),
        columns: vec![
            "TA",
            "bytes",
            "blocks",
            "instances",
            "how they ended",
            "allocated in",
        ],
        rows: rows
            .map(|(row, stack)| {
                let end = if row.died == 0 { "in order" } else { "died" };
                vec![
                    account.ta(row.uuid).into(),
                    row.bytes.into(),
                    row.blocks.into(),
                    row.instances.into(),
                    end.into(),
                    stack_cell(stack),
                ]
            })
            .collect(),
        sums: &[1, 2],
        filter: false,
    }
    .write(out);
}

/// Call sites of all pools.
pub(super) fn call_sites(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    open(
        "sites",
        "Call sites",
        "Where heaps are allocated from: now, at most, and ever.",
        out,
    );
    if !account.snapshot.has(section::SITES) && account.snapshot.sites.is_empty() {
        out.push_str(NOT_THERE);
    }
    let mut rows = merged::sites(account);
    rows.sort_by_key(|(site, _)| std::cmp::Reverse(site.live_bytes));
    Table {
        id: "site-rows",
        caption: "Call sites".into(),
        columns: vec![
            "heap of",
            "live bytes",
            "live blocks",
            "allocations",
            "peak bytes",
            "allocated in",
        ],
        rows: rows
            .into_iter()
            .map(|(site, stack)| {
                vec![
                    account.program(site.pool).into(),
                    site.live_bytes.into(),
                    site.live_blocks.into(),
                    counted(&site, site.allocations),
                    counted(&site, site.peak_bytes),
                    stack_cell(stack),
                ]
            })
            .collect(),
        sums: &[1, 2, 3],
        filter: true,
    }
    .write(out);
    close(out);
}

/// A figure of a call site that only counting tells.
fn counted(site: &SiteRow, figure: u64) -> Cell {
    if site.is_counted() {
        figure.into()
    } else {
        Cell::Empty
    }
}

/// Refused allocations.
pub(super) fn failures(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    open(
        "failures",
        "Refused allocations",
        "Each with the pool that was short, and what that pool had then.",
        out,
    );
    let rows = account.snapshot.failures.iter().zip(&account.failures);
    let rows: Vec<_> = rows
        .map(|(row, stack)| {
            vec![
                row.number.into(),
                row.at_ms.into(),
                shown::failed_pool_name(row.pool).into(),
                account.owner(row.owner_kind, &row.label, row.owner).into(),
                row.size.into(),
                row.used.into(),
                row.pool_size.into(),
                row.largest_free.into(),
                stack_cell(stack),
            ]
        })
        .collect();
    if rows.is_empty() {
        out.push_str(if account.snapshot.has(section::FAILURES) {
            "<p>None is on record.</p>"
        } else {
            NOT_THERE
        });
    }
    Table {
        id: "failure-rows",
        caption: "Refused allocations".into(),
        columns: vec![
            "number",
            "at ms",
            "what was short",
            "owner",
            "bytes asked for",
            "in use",
            "size",
            "largest free",
            "asked for in",
        ],
        rows,
        sums: &[],
        filter: false,
    }
    .write(out);
    close(out);
}

/// Pools and their size classes.
pub(super) fn pools(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    open(
        "pools",
        "Pools and size classes",
        "What blocks of each size take, records and free room included.",
        out,
    );
    Table {
        id: "pool-rows",
        caption: "Pools".into(),
        columns: vec![
            "pool",
            "of",
            "allocated",
            "most",
            "size",
            "blocks",
            "largest free",
            "bookkeeping",
            "refused",
            "allocations",
            "releases",
        ],
        rows: account
            .snapshot
            .pools
            .iter()
            .map(|pool| {
                vec![
                    printable(&pool.alloc.desc).into(),
                    account.program(pool.owner).into(),
                    pool.alloc.allocated.into(),
                    pool.alloc.max_allocated.into(),
                    pool.alloc.size.into(),
                    pool.live_blocks.into(),
                    pool.largest_free.into(),
                    pool.metadata.into(),
                    pool.alloc.num_alloc_fail.into(),
                    pool.num_get.into(),
                    pool.num_release.into(),
                ]
            })
            .collect(),
        sums: &[],
        filter: false,
    }
    .write(out);
    Table {
        id: "classes",
        caption: "Size classes".into(),
        columns: vec![
            "heap of",
            "kind",
            "block bytes",
            "slabs",
            "blocks",
            "live",
            "kept",
            "bytes",
            "bytes asked for",
        ],
        rows: account
            .snapshot
            .classes
            .iter()
            .map(|class| {
                vec![
                    account.program(class.pool).into(),
                    shown::class_name(class.kind).into(),
                    match class.block_size {
                        0 => Cell::Empty,
                        size => size.into(),
                    },
                    class.slabs.into(),
                    class.blocks.into(),
                    class.live.into(),
                    class.kept.into(),
                    class.bytes.into(),
                    class.requested.into(),
                ]
            })
            .collect(),
        sums: &[],
        filter: false,
    }
    .write(out);
    close(out);
}

/// Regions of all address spaces.
pub(super) fn regions(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    if account.snapshot.regions.is_empty() {
        return;
    }
    open(
        "regions",
        "Regions",
        "Addresses are hidden unless the kernel was built to show them.",
        out,
    );
    let address = |value: u64| match value {
        0 => Cell::Empty,
        value => Cell::Html(format!("<code>{value:#x}</code>"), value.to_string()),
    };
    Table {
        id: "region-rows",
        caption: "Regions".into(),
        columns: vec![
            "of",
            "what for",
            "bytes",
            "populated",
            "protection",
            "va",
            "pa",
            "session",
        ],
        rows: account
            .snapshot
            .regions
            .iter()
            .map(|region| {
                vec![
                    account.program(region.owner).into(),
                    printable(&region.label).into(),
                    region.bytes.into(),
                    region.populated.into(),
                    shown::protection(region.prot).into(),
                    address(region.va),
                    address(region.pa),
                    session(region.session),
                ]
            })
            .collect(),
        sums: &[],
        filter: true,
    }
    .write(out);
    close(out);
}
