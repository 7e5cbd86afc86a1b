//! The sections of the page, in its order.
//!
//! **Invariant:** each list has all its records; a section without records is left out or says so.

use super::Page;
use super::picture::{Part, Series, chart, colour, memory_map, treemap};
use super::table::{Cell, Table, cells, escape, headings, stack_cell};
use crate::flame::{self, Look};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tally_insight::account::Account;
use tally_insight::growth::{Amount, difference};
use tally_insight::names::{owner, printable};
use tally_insight::numbers::{counted, percent, rough, signed};
use tally_insight::snapshot::Snapshot;
use tally_records::{OwnerRow, pool_kind, word};

/// What unused memory is called in `meminfo`.
const FREE: &str = "free";
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

pub(super) fn open(id: &str, title: &str, note: &str, out: &mut String) {
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2><p class=\"note\">{note}</p>"
    );
}

pub(super) fn close(out: &mut String) {
    out.push_str("</section>\n");
}

/// Bytes that are nobody's.
pub(super) fn free_bytes(snapshot: &Snapshot) -> u64 {
    snapshot
        .meminfo
        .iter()
        .filter(|row| printable(&row.label) == FREE)
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
        let name = printable(&row.label);
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
        columns: ["use", "bytes", "share %"].map(String::from).to_vec(),
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
    Cell::Decimal(percent(part, whole))
}

/// Pages and kernel heap by owner.
pub(super) fn owners(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let snapshot = &account.snapshot;
    open(
        "owners",
        "Who has it",
        "Areas are secure pages in use, by owner.",
        out,
    );
    let mut pages: BTreeMap<String, u64> = BTreeMap::new();
    for row in &snapshot.owners {
        let bytes = pages.entry(owner_of(account, row)).or_default();
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
        name: "nobody's: the firmware".to_owned(),
        bytes: total.saturating_sub(owned.saturating_add(free)),
        colour: "cother".into(),
    });
    // Its letters can be read on a narrow screen too, where it is wider than the screen.
    let map = treemap(parts, "Secure pages by owner");
    let _ = write!(out, "<div class=\"scroll\">{map}</div>");
    let keys = ["kind", "session", "pages", "heap_bytes", "heap_blocks"];
    let mut columns = vec!["owner".to_owned()];
    columns.extend(headings::<OwnerRow>(&keys));
    let row = |row: &OwnerRow| {
        let mut all = vec![owner_of(account, row).into()];
        all.extend(cells(row, &keys, account));
        all
    };
    Table {
        id: "owner-rows",
        caption: "Owners".into(),
        columns,
        rows: snapshot.owners.iter().map(row).collect(),
        sums: &[3, 4, 5],
        filter: false,
    }
    .write(out);
    close(out);
}

fn owner_of(account: &Account, row: &OwnerRow) -> String {
    owner(account, row.kind, &row.label, row.uuid)
}

/// Most charts that are drawn.
const MAX_CHARTS: usize = 24;

/// Growth over time, with several snapshots.
pub(super) fn over_time(page: &Page<'_>, out: &mut String) {
    if !page.has_time() {
        return;
    }
    open(
        "time",
        "Over time",
        "A point a snapshot, from zero up; the dashed line is the most that there ever was between them. \
         What grew most comes first.",
        out,
    );
    let mut series = series(page.accounts);
    let growth = |series: &Series| match &series.points[..] {
        [(_, first), .., (_, last)] => difference(*last, *first),
        _ => 0,
    };
    series.sort_by_key(|series| std::cmp::Reverse(growth(series)));
    out.push_str("<div class=\"charts\">");
    for series in series.iter().take(MAX_CHARTS) {
        let by = growth(series);
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

/// What is drawn over time, by name: a point a snapshot. A heap that a snapshot does not have was
/// nothing then.
fn series(accounts: &[Account]) -> Vec<Series> {
    let mut lines: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for (n, account) in accounts.iter().enumerate() {
        let snapshot = &account.snapshot;
        // Instances of one TA are one line. Two snapshots are two points, if of the same
        // millisecond.
        let mut add = |name: String, bytes: u64, most: Option<u64>| {
            let empty = || vec![Line::default(); accounts.len()];
            let line = &mut lines.entry(name).or_insert_with(empty)[n];
            line.bytes = line.bytes.saturating_add(bytes);
            line.most.extend(most);
        };
        let used = snapshot.meminfo_sum().saturating_sub(free_bytes(snapshot));
        add("Secure RAM in use".into(), used, None);
        for row in &snapshot.pools {
            let name = match row.kind {
                pool_kind::TA_HEAP => format!("Heap of {}", account.ta(row.pool.owner)),
                kind => word(pool_kind::WORDS, kind).to_owned(),
            };
            let alloc = &row.pool.alloc;
            add(
                name,
                alloc.allocated.into(),
                Some(alloc.max_allocated.into()),
            );
        }
    }
    let times = || accounts.iter().map(|account| account.snapshot.header.at_ms);
    let lines = lines.into_iter().map(|(name, points)| Series {
        name,
        // The maxima of several pools were not at one time.
        peak: match points.iter().all(|line| line.most.len() <= 1) {
            true => points
                .iter()
                .filter_map(|line| line.most.first().copied())
                .max(),
            false => None,
        },
        points: times().zip(points.iter().map(|line| line.bytes)).collect(),
    });
    lines.collect()
}

/// What one snapshot says of a [`Series`]: bytes of all pools of its name, the maximum of each.
#[derive(Clone, Default)]
struct Line {
    bytes: u64,
    most: Vec<u64>,
}

/// Live blocks, and what grew.
pub(super) fn leaks(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let left_out = account.snapshot.left_out();
    let note = if page.several() && !page.has_time() {
        "Live blocks by owner and call stack: those of the last snapshot, and the difference from the first, which is \
         of another boot; the largest comes first."
    } else if page.several() {
        "Live blocks by owner and call stack, from the first snapshot to the last; what grew most \
         comes first."
    } else {
        "Live blocks by owner and call stack. With several snapshots this table shows what grew."
    };
    open("leaks", "Live blocks and growth", note, out);
    if left_out != Amount::default() {
        let _ = write!(
            out,
            "<p class=\"note\">Left out here: {} in {} of the kernel heap, which statistics and calls \
             under way have. The call sites have them.</p>",
            counted(left_out.bytes, "byte"),
            counted(left_out.blocks, "block")
        );
    }
    let several = page.several();
    let mut columns = vec!["owner", "heap of", "bytes", "blocks"];
    if several {
        columns.extend(if page.has_time() {
            ["growth bytes", "growth blocks"]
        } else {
            ["difference bytes", "difference blocks"]
        });
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
        columns: columns.into_iter().map(String::from).collect(),
        rows,
        sums: if several { &[2, 3, 4, 5] } else { &[2, 3] },
        filter: true,
    }
    .write(out);
    close(out);
}

/// The flame graphs: what is live and, of several snapshots, what changed.
pub(super) fn flames(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    open(
        "flame",
        "Flame graphs",
        "Click or press Enter on a frame to zoom, on the lowest or Escape to go back.",
        out,
    );
    if page.several() {
        flame(
            "growth",
            "Growth",
            "Widths are bytes, from the first snapshot to the last: red grew, blue shrank.",
            &flame::folded_growth(account, &page.changes),
            out,
        );
    }
    flame(
        "live",
        "Live bytes",
        "Widths are bytes of live blocks.",
        &flame::folded(account),
        out,
    );
    close(out);
}

/// One graph, that of `what`.
fn flame(what: &str, title: &str, note: &str, folded: &str, out: &mut String) {
    let look = Look {
        embedded: true,
        growth: what == "growth",
        ..Look::default()
    };
    let _ = write!(out, "<h4>{title}</h4><p class=\"note\">{note}</p>");
    match flame::draw(folded, &look).ok().as_deref().and_then(frames) {
        Some((inner, top, height)) => {
            // Two of a page would have one id.
            let inner = inner.replacen(" id=\"frames\"", "", 1);
            let _ = write!(
                out,
                "<p class=\"filter\"><label>Search <input type=\"search\" \
                 data-flame=\"flame-{what}\"></label> <output></output></p><div class=\"scroll\">\
                 <svg class=\"flame\" id=\"flame-{what}\" viewBox=\"0 {top} 1200 {height}\" \
                 xmlns:fg=\"http://github.com/jonhoo/inferno\" role=\"img\" \
                 aria-label=\"Flame graph: {title}\">{inner}</svg></div>"
            );
        }
        None => out.push_str("<p>There is nothing to draw.</p>"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tally_insight::account::NoSymbols;
    use tally_insight::sample;

    /// Snapshots of the same millisecond were added up: the secure RAM in use was drawn twice as
    /// high.
    #[test]
    fn snapshots_of_the_same_moment_are_two_points() {
        let account = || Account::new(sample::machine(2), "", &NoSymbols);
        let one = series(&[account()]);
        let two = series(&[account(), account()]);
        assert_eq!(one.len(), two.len());
        for (one, two) in one.iter().zip(&two) {
            let [point] = one.points[..] else {
                panic!("{} has {} points", one.name, one.points.len());
            };
            assert_eq!(two.points, [point, point], "{}", one.name);
        }
    }

    #[test]
    fn instances_of_one_ta_are_one_line() {
        let mut snapshot = sample::machine(2);
        let twin = snapshot.pools[2];
        snapshot.pools.push(twin);
        let drawn = series(&[Account::new(snapshot, "", &NoSymbols)]);
        let name = format!("Heap of {}", sample::LEAKER);
        let line = drawn.iter().find(|line| line.name == name).unwrap();
        assert_eq!(line.points[0].1, 2 * u64::from(twin.pool.alloc.allocated));
    }
}
