//! The sections that are lists: TAs, call sites, failures, pools, regions.
//!
//! **Invariant:** each list has all its records; a section without records is left out or says so.

use super::Page;
use super::cards;
use super::sections::{close, open};
use super::table::{Table, cells, headings};
use tally_insight::account::Account;
use tally_insight::advice::{self, ByTa, What};
use tally_insight::merged;
use tally_records::{FailureRow, HistoryRow, Record, SiteRow, StorageRow, TaDetail};

/// Of a section without records: it has none, or the writer left it out.
fn none<T: Record>(account: &Account, said: &str, out: &mut String) {
    let is_there = account.snapshot.has::<T>();
    out.push_str(if is_there {
        said
    } else {
        "<p>The snapshot does not say.</p>"
    });
}

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
        none::<TaDetail>(account, "<p>None was loaded.</p>", out);
    }
    let advice = advice::of(snapshot);
    let by_ta = advice::by_ta(&advice);
    cards::write(account, &by_ta, out);
    let sizes = ["what", "uuid", "now", "most", "refused", "set", "setting"];
    let caption = "Sizes, and what they should be";
    Table::of("sizes", caption, &sizes, &advice, account).write(out);
    let of_commands = [
        "uuid",
        "function",
        "command",
        "calls",
        "failed",
        "allocations",
        "releases",
        "net_bytes",
        "heap_above_entry",
        "stack_deepest",
        "ticks",
    ];
    let commands = &snapshot.commands;
    Table::of("commands", "By command", &of_commands, commands, account).write(out);
    history(account, &by_ta, out);
    let unfreed = merged::unfreed(account, &snapshot.unfreed);
    let rows = unfreed.iter().map(|(row, _)| row);
    let keys = ["uuid", "bytes", "blocks", "instances", "died", "stack"];
    Table::of("unfreed", "What they had not freed", &keys, rows, account)
        .summing(&[1, 2])
        .write(out);
    close(out);
}

fn history(account: &Account, by_ta: &ByTa<'_>, out: &mut String) {
    let keys = [
        "uuid",
        "ended",
        "died",
        "heap_max",
        "heap_declared",
        "stack_max",
        "stack_size",
        "charged_max",
        "unfreed_blocks",
        "unfreed_bytes",
        "held_blocks",
        "held_bytes",
        "refused",
        "unclosed",
    ];
    let row = |row: &HistoryRow| {
        let sizes = [What::Heap, What::Stack].into_iter();
        let found = sizes.filter_map(|what| by_ta.get(&(row.uuid, what)));
        let sentences: Vec<String> = found.map(|advice| advice::sentence(advice)).collect();
        let mut cells = cells(row, &keys, account);
        cells.push(sentences.join(". ").into());
        cells
    };
    let mut columns = headings::<HistoryRow>(&keys);
    columns.push("advice".to_owned());
    Table {
        id: "history",
        caption: "TAs that have ended".into(),
        columns,
        rows: account.snapshot.history.iter().map(row).collect(),
        sums: &[],
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
    if account.snapshot.sites.is_empty() {
        none::<SiteRow>(account, "", out);
    }
    let mut rows = merged::sites(account, &account.snapshot.sites);
    rows.sort_by_key(|(site, _)| std::cmp::Reverse(site.live_bytes));
    let rows = rows.iter().map(|(site, _)| site);
    let keys = [
        "uuid",
        "live_bytes",
        "live_blocks",
        "allocations",
        "peak_bytes",
        "stack",
    ];
    let table = Table::of("site-rows", "Call sites", &keys, rows, account);
    Table {
        sums: &[1, 2, 3],
        filter: true,
        ..table
    }
    .write(out);
    close(out);
}

/// Trusted storage: its caches, and what TAs have of it.
pub(super) fn storage(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let snapshot = &account.snapshot;
    open(
        "storage",
        "Trusted storage",
        "What is kept in secure RAM so that the supplicant need not be asked, and who asked.",
        out,
    );
    if snapshot.storage.is_empty() {
        none::<StorageRow>(account, "<p>No TA has used it.</p>", out);
    }
    let keys = [
        "cache",
        "entries",
        "limit",
        "bytes",
        "bytes_max",
        "hits",
        "misses",
        "hit_rate",
        "evicted",
    ];
    Table::of("caches", "Caches", &keys, &snapshot.caches, account).write(out);
    let keys = [
        "uuid", "objects", "handles", "bytes", "calls", "failed", "requests", "read", "written",
        "corrupt", "ticks",
    ];
    Table::of("storage-rows", "By TA", &keys, &snapshot.storage, account).write(out);
    close(out);
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
    let rows = &account.snapshot.failures;
    if rows.is_empty() {
        none::<FailureRow>(account, "<p>None is on record.</p>", out);
    }
    let keys = [
        "number",
        "at_ms",
        "pool",
        "kind",
        "uuid",
        "session",
        "size",
        "used",
        "pool_size",
        "largest_free",
        "stack",
    ];
    Table::of("failure-rows", "Refused allocations", &keys, rows, account).write(out);
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
    let keys = [
        "kind",
        "uuid",
        "instance",
        "allocated",
        "max_allocated",
        "promised",
        "size",
        "live_blocks",
        "largest_free",
        "metadata",
        "refused",
        "allocations",
        "releases",
        "strategy",
        "tracking",
        "consistency",
    ];
    let pools = &account.snapshot.pools;
    Table::of("pool-rows", "Pools", &keys, pools, account).write(out);
    let keys = [
        "uuid",
        "kind",
        "block_size",
        "slabs",
        "blocks",
        "live",
        "kept",
        "bytes",
        "requested",
    ];
    let classes = &account.snapshot.classes;
    Table::of("classes", "Size classes", &keys, classes, account).write(out);
    close(out);
}

/// Regions of all address spaces.
pub(super) fn regions(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let rows = &account.snapshot.regions;
    if rows.is_empty() {
        return;
    }
    open(
        "regions",
        "Regions",
        "Addresses are hidden unless the kernel was built to show them.",
        out,
    );
    let keys = [
        "uuid",
        "what",
        "bytes",
        "populated",
        "prot",
        "va",
        "pa",
        "session",
    ];
    let table = Table::of("region-rows", "Regions", &keys, rows, account);
    Table {
        filter: true,
        ..table
    }
    .write(out);
    close(out);
}
