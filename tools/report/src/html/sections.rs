//! The sections of the page, in its order.
//!
//! **Invariant:** each list has all its records; a section without records is left out or says so.
//! **Knows nothing of:** how tables and pictures are written.

use super::Page;
use super::picture::{Part, Series, chart, colour, memory_map, treemap};
use super::table::{Cell, Table, escape};
use super::{cards, table};
use crate::account::{Account, kind_name};
use crate::flame::{self, Look};
use crate::growth::difference;
use crate::names::{Stack, function, place};
use crate::shown::{self, percent, rough, signed};
use crate::snapshot::{Snapshot, text};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tally_abi::TeeUuid;
use tally_symbols::short::useful;

/// What unused memory is called in `meminfo`.
pub(super) const FREE: &str = "free";
/// Anchors and names.
pub(super) const CONTENTS: &[(&str, &str)] = &[
    ("memory", "Memory"),
    ("owners", "Owners"),
    ("time", "Over time"),
    ("leaks", "Live blocks"),
    ("flame", "Flame graph"),
    ("tas", "TAs"),
    ("sites", "Call sites"),
    ("failures", "Failures"),
    ("pools", "Pools"),
    ("regions", "Regions"),
];

fn open(id: &str, title: &str, note: &str, out: &mut String) {
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2><p class=\"note\">{note}</p>"
    );
}

fn close(out: &mut String) {
    out.push_str("</section>\n");
}

/// Bytes that are nobody's.
pub(super) fn free_bytes(snapshot: &Snapshot) -> u64 {
    snapshot
        .meminfo
        .iter()
        .filter(|row| text(&row.label) == FREE)
        .fold(0, |sum, row| sum.saturating_add(row.bytes))
}

/// Secure RAM by use.
pub(super) fn memory(page: &Page<'_>, out: &mut String) {
    let snapshot = &page.last().snapshot;
    open(
        "memory",
        "Where the secure RAM is",
        "One square is one page of 4 KiB. Every page has exactly one use.",
        out,
    );
    let mut parts = Vec::new();
    let mut free = None;
    for row in &snapshot.meminfo {
        let name = text(&row.label);
        let bytes = row.bytes;
        if name == FREE {
            free = Some(Part {
                name,
                bytes,
                colour: "cfree".into(),
            });
        } else if bytes > 0 {
            let colour = colour(parts.len());
            parts.push(Part {
                name,
                bytes,
                colour,
            });
        }
    }
    parts.extend(free);
    out.push_str("<div class=\"side\">");
    out.push_str(&memory_map(&parts, "Secure RAM by use, a square a page"));
    let total = snapshot.meminfo_sum();
    Table {
        id: "uses",
        caption: "Secure RAM by use".into(),
        columns: vec!["use", "bytes", "share %"],
        rows: parts
            .iter()
            .map(|part| {
                vec![
                    keyed(&part.name, &part.colour),
                    part.bytes.into(),
                    share(part.bytes, total),
                ]
            })
            .collect(),
        sums: &[1],
        filter: false,
    }
    .write(out);
    out.push_str("</div>");
    close(out);
}

/// A name with a patch of its colour.
fn keyed(name: &str, colour: &str) -> Cell {
    let html = format!("<i class=\"key {colour}\"></i>{}", escape(name));
    Cell::Html(html, name.to_owned())
}

fn share(part: u64, whole: u64) -> Cell {
    let share = percent(part, whole);
    Cell::Html(format!("<span class=\"n\">{share}</span>"), share)
}

/// Pages and kernel heap by owner.
pub(super) fn owners(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let snapshot = &account.snapshot;
    open(
        "owners",
        "Who has it",
        "Areas are secure pages by owner; what belongs to nobody is free or the firmware's.",
        out,
    );
    let mut pages: BTreeMap<String, u64> = BTreeMap::new();
    for row in &snapshot.owners {
        let bytes = pages
            .entry(account.owner(row.kind, &row.label, row.uuid))
            .or_default();
        *bytes = bytes.saturating_add(u64::from(row.pages) * 4096);
    }
    let owned = pages.values().fold(0u64, |sum, n| sum.saturating_add(*n));
    let free = free_bytes(snapshot);
    let total = snapshot.meminfo_sum();
    let mut parts: Vec<Part> = pages
        .into_iter()
        .filter(|(_, bytes)| *bytes > 0)
        .enumerate()
        .map(|(n, (name, bytes))| Part {
            name,
            bytes,
            colour: colour(n),
        })
        .collect();
    parts.push(Part {
        name: FREE.to_owned(),
        bytes: free,
        colour: "cfree".into(),
    });
    parts.push(Part {
        name: "nobody's: firmware and what it keeps".to_owned(),
        bytes: total.saturating_sub(owned.saturating_add(free)),
        colour: "cother".into(),
    });
    out.push_str(&treemap(parts, "Secure pages by owner"));
    Table {
        id: "owner-rows",
        caption: "Owners".into(),
        columns: vec![
            "owner",
            "kind",
            "session",
            "pages",
            "kernel heap bytes",
            "kernel heap blocks",
        ],
        rows: snapshot
            .owners
            .iter()
            .map(|row| {
                vec![
                    account.owner(row.kind, &row.label, row.uuid).into(),
                    kind_name(row.kind).into(),
                    row.session.into(),
                    row.pages.into(),
                    row.heap_bytes.into(),
                    row.heap_blocks.into(),
                ]
            })
            .collect(),
        sums: &[3, 4, 5],
        filter: false,
    }
    .write(out);
    close(out);
}

/// Most charts that are drawn.
const MAX_CHARTS: usize = 24;

/// Growth over time, with several snapshots.
pub(super) fn over_time(page: &Page<'_>, out: &mut String) {
    if !page.several() {
        return;
    }
    open(
        "time",
        "Over time",
        "Each chart begins at zero; what grew most comes first.",
        out,
    );
    let mut lines: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for account in page.accounts {
        let snapshot = &account.snapshot;
        let at = snapshot.header.at_ms;
        let mut add = |name: String, bytes: u64| {
            let points = lines.entry(name).or_default();
            match points.last_mut() {
                // Instances of one TA are one line.
                Some((last, sum)) if *last == at => *sum = sum.saturating_add(bytes),
                _ => points.push((at, bytes)),
            }
        };
        let used = snapshot.meminfo_sum().saturating_sub(free_bytes(snapshot));
        add("Secure RAM in use".into(), used);
        for pool in &snapshot.pools {
            let name = if pool.owner == TeeUuid::nil() {
                text(&pool.alloc.desc)
            } else {
                format!("Heap of {}", account.ta(pool.owner))
            };
            add(name, pool.alloc.allocated.into());
        }
    }
    let growth = |points: &[(u64, u64)]| match points {
        [(_, first), .., (_, last)] => difference(*last, *first),
        _ => 0,
    };
    let mut series: Vec<Series> = lines
        .into_iter()
        .map(|(name, points)| Series { name, points })
        .collect();
    series.sort_by_key(|series| std::cmp::Reverse(growth(&series.points)));
    out.push_str("<div class=\"charts\">");
    for series in series.iter().take(MAX_CHARTS) {
        let by = growth(&series.points);
        let class = if by > 0 { "up" } else { "dim" };
        let last = series.points.last().map_or(0, |(_, n)| *n);
        let _ = write!(
            out,
            "<figure><figcaption>{} <strong>{}</strong> <span class=\"{class}\">{}</span>\
             </figcaption>{}</figure>",
            escape(&series.name),
            rough(last),
            signed(by),
            chart(series)
        );
    }
    out.push_str("</div>");
    close(out);
}

/// Live blocks, and what grew.
pub(super) fn leaks(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let note = if page.several() {
        "Live blocks by owner and call stack, from the first snapshot to the last; what grew most \
         comes first."
    } else {
        "Live blocks by owner and call stack. With several snapshots this table shows what grew."
    };
    open("leaks", "Live blocks and growth", note, out);
    let several = page.several();
    let mut columns = vec!["owner", "heap of", "bytes", "blocks"];
    if several {
        columns.extend(["growth bytes", "growth blocks"]);
    }
    columns.push("allocated in");
    let rows = page
        .changes
        .iter()
        .map(|change| {
            let mut row = vec![
                change.owner.clone().into(),
                account.program(change.image).into(),
                change.after.bytes.into(),
                change.after.blocks.into(),
            ];
            if several {
                row.push(Cell::Difference(change.bytes()));
                row.push(Cell::Difference(change.blocks()));
            }
            row.push(stack_cell(&change.stack));
            row
        })
        .collect();
    Table {
        id: "live",
        caption: "Live blocks".into(),
        columns,
        rows,
        sums: if several { &[2, 3, 4, 5] } else { &[2, 3] },
        filter: true,
    }
    .write(out);
    close(out);
}

/// The function that a person looks for, with the whole stack behind it.
fn stack_cell(stack: &Stack) -> Cell {
    let frames: Vec<_> = stack.frames().cloned().collect();
    let Some(first) = useful(&frames).or(frames.first()) else {
        return "no call stack".into();
    };
    let named = |frame: &tally_symbols::dwarf::Frame, inlined: bool| {
        let place = place(frame);
        let inlined = if inlined { " <em>inlined</em>" } else { "" };
        format!(
            "<span title=\"{}\"><code>{}</code></span> <span class=\"dim\">{}</span>{inlined}",
            table::escape(&frame.function),
            escape(&function(frame)),
            escape(&place)
        )
    };
    let mut html = format!("<details><summary>{}</summary><ol>", named(first, false));
    for call in &stack.calls {
        for (n, frame) in call.frames.iter().enumerate() {
            let inlined = n + 1 < call.frames.len();
            let _ = write!(html, "<li>{}</li>", named(frame, inlined));
        }
    }
    html.push_str("</ol></details>");
    Cell::Html(html, function(first))
}

/// The flame graph.
pub(super) fn flames(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let (folded, note) = if page.several() {
        (
            flame::folded_change(account, &page.changes),
            "Widths are live bytes of the last snapshot; red grew since the first, blue shrank. \
             Click or press Enter on a frame to zoom, on the lowest to go back.",
        )
    } else {
        (
            flame::folded(account),
            "Widths are live bytes. Click or press Enter on a frame to zoom, on the lowest to go \
             back.",
        )
    };
    open("flame", "Flame graph of live bytes", note, out);
    let look = Look {
        title: "",
        subtitle: "",
        embedded: true,
    };
    match flame::draw(&folded, &look).ok().as_deref().and_then(frames) {
        Some((inner, top, height)) => {
            let _ = write!(
                out,
                "<p class=\"filter\"><label>Search <input type=\"search\" data-flame></label> \
                 <output data-matched></output></p><div class=\"scroll\">\
                 <svg class=\"flame\" viewBox=\"0 {top} 1200 {height}\" \
                 xmlns:fg=\"http://github.com/jonhoo/inferno\" role=\"img\" \
                 aria-label=\"Flame graph of live bytes\">{inner}</svg></div>"
            );
        }
        None => out.push_str("<p>There is nothing to draw.</p>"),
    }
    close(out);
}

/// The frames alone of inferno's picture, the first pixel row that they need, and how many.
fn frames(svg: &str) -> Option<(&str, u32, u32)> {
    let begin = svg.find("<svg id=\"frames\"")?;
    let end = svg.rfind("</svg>")?;
    let inner = svg.get(begin..end)?;
    let rows = inner
        .split("<rect x=")
        .skip(1)
        .filter_map(|rect| rect.split(" y=\"").nth(1)?.split('"').next()?.parse().ok());
    let (mut top, mut bottom) = (u32::MAX, 0u32);
    for row in rows {
        top = top.min(row);
        bottom = bottom.max(row);
    }
    (top <= bottom).then_some((inner, top, bottom - top + 18))
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
        out.push_str("<p>None was loaded.</p>");
    }
    cards::write(account, out);
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
                vec![
                    account.ta(row.uuid).into(),
                    shown::entry_name(row.function, row.command).into(),
                    row.calls.into(),
                    row.failed.into(),
                    row.allocations.into(),
                    row.releases.into(),
                    Cell::Difference(row.net_bytes),
                    row.heap_above_entry.into(),
                    row.stack_deepest.into(),
                    row.ticks.into(),
                ]
            })
            .collect(),
        sums: &[],
        filter: false,
    }
    .write(out);
    history(account, out);
    close(out);
}

fn history(account: &Account, out: &mut String) {
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
            "advice",
        ],
        rows: account
            .snapshot
            .history
            .iter()
            .map(|row| {
                let [stack, heap] = crate::advice::ended(row);
                vec![
                    account.ta(row.uuid).into(),
                    row.ended.into(),
                    row.died.into(),
                    row.heap_max.into(),
                    row.heap_size.into(),
                    row.stack_max.into(),
                    row.stack_size.into(),
                    row.charged_max.into(),
                    row.unfreed_blocks.into(),
                    row.unfreed_bytes.into(),
                    format!("{}; {}", heap.text, stack.text).into(),
                ]
            })
            .collect(),
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
    let mut rows: Vec<_> = account.snapshot.sites.iter().zip(&account.sites).collect();
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
                    site.allocations.into(),
                    site.peak_bytes.into(),
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
        out.push_str("<p>None is on record.</p>");
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
                    text(&pool.alloc.desc).into(),
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
                    text(&region.label).into(),
                    region.bytes.into(),
                    region.populated.into(),
                    shown::protection(region.prot).into(),
                    address(region.va),
                    address(region.pa),
                    region.session.into(),
                ]
            })
            .collect(),
        sums: &[],
        filter: true,
    }
    .write(out);
    close(out);
}
