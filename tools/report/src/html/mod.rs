//! The report as one HTML page that needs nothing but itself.
//!
//! **Invariant:** the page fetches nothing (its own policy forbids it) and is whole without its
//! script, which only sorts, filters, zooms and changes colours; text is escaped.

mod cards;
mod lists;
mod picture;
mod sections;
mod table;

use crate::shown;
use std::fmt::Write as _;
use table::escape;
use tally_insight::account::Account;
use tally_insight::findings::{doubts, several_boots};
use tally_insight::growth::{self, Change};
use tally_insight::numbers::{counted, rough, signed, thousands};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the page is made of.
pub(crate) struct Page<'a> {
    /// Snapshots, oldest first, those of several boots as they were given; at least one.
    accounts: &'a [Account],
    /// From the first to the last, if there are several.
    changes: Vec<Change>,
}

impl Page<'_> {
    /// The snapshot that is shown whole.
    fn last(&self) -> &Account {
        &self.accounts[self.accounts.len() - 1]
    }

    fn several(&self) -> bool {
        self.accounts.len() > 1
    }

    /// Whether there are several moments of one clock.
    fn has_time(&self) -> bool {
        self.several() && !several_boots(self.accounts.iter().map(|account| &account.snapshot))
    }
}

/// Makes the page of these snapshots, oldest first. `None` of none.
#[must_use]
pub fn page(accounts: &[Account]) -> Option<String> {
    let last = accounts.last()?;
    // One snapshot alone is compared with itself: its live blocks, no growth.
    let page = Page {
        accounts,
        changes: growth::between(&accounts[0], last),
    };
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
         <title>Tally report: {}</title><style>\n{STYLE}</style></head><body>\n",
        escape(&last.file)
    );
    head(&page, &mut out);
    out.push_str("<main>");
    sections::memory(&page, &mut out);
    sections::owners(&page, &mut out);
    sections::over_time(&page, &mut out);
    sections::leaks(&page, &mut out);
    sections::flames(&page, &mut out);
    lists::tas(&page, &mut out);
    lists::call_sites(&page, &mut out);
    lists::storage(&page, &mut out);
    lists::failures(&page, &mut out);
    lists::pools(&page, &mut out);
    lists::regions(&page, &mut out);
    let _ = write!(
        out,
        "</main><footer><p>Made by <code>cargo xtask report</code>. Figures are the snapshot's, to \
         the byte.</p></footer><script>\n{SCRIPT}</script></body></html>\n"
    );
    Some(out)
}

fn head(page: &Page<'_>, out: &mut String) {
    let account = page.last();
    let header = &account.snapshot.header;
    let _ = write!(
        out,
        "<header><div><h1>Tally report</h1><p class=\"dim\">{}, {} ms after boot: {}</p></div>\
         <button type=\"button\" id=\"theme\" hidden>Dark or light</button></header>\
         <nav aria-label=\"Sections\"><ul>",
        escape(&account.file),
        thousands(header.at_ms),
        escape(&shown::occasion(account))
    );
    for (id, name) in sections::CONTENTS {
        if *id == "time" && !page.has_time() {
            continue;
        }
        let _ = write!(out, "<li><a href=\"#{id}\">{name}</a></li>");
    }
    out.push_str("</ul></nav>");
    for doubt in doubts(page.accounts) {
        warn(&doubt, out);
    }
    out.push_str("<dl class=\"tiles\">");
    tiles(page, out);
    out.push_str("</dl>");
}

fn warn(text: &str, out: &mut String) {
    let text = escape(text);
    let _ = write!(out, "<p class=\"warn\" role=\"alert\">{text}</p>");
}

fn tiles(page: &Page<'_>, out: &mut String) {
    let snapshot = &page.last().snapshot;
    let free = sections::free_bytes(snapshot);
    let sum = |values: &mut dyn Iterator<Item = u64>| values.fold(0u64, u64::saturating_add);
    let live = sum(&mut snapshot.live.iter().map(|record| record.bytes));
    let blocks = sum(&mut snapshot.live.iter().map(|record| record.blocks.into()));
    let ram = snapshot.header.secure_ram;
    let used = snapshot.meminfo_sum().saturating_sub(free);
    let mut tile = |name: &str, value: String, note: String| {
        let _ = write!(
            out,
            "<div class=\"tile\"><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>"
        );
    };
    tile(
        "Secure RAM",
        rough(ram),
        format!("{} bytes", thousands(ram)),
    );
    tile("In use", rough(used), format!("{} bytes", thousands(used)));
    tile("Free", rough(free), format!("{} bytes", thousands(free)));
    tile(
        "Live heap blocks",
        thousands(blocks),
        format!("{} bytes", thousands(live)),
    );
    if page.several() {
        let bytes = page
            .changes
            .iter()
            .map(Change::bytes)
            .fold(0, i64::saturating_add);
        let intervals = page.accounts.len() as u64 - 1;
        if page.has_time() {
            tile(
                "Growth of live bytes",
                signed(bytes),
                format!("over {}", counted(intervals, "interval")),
            );
        } else {
            // Of two boots nothing grew from one to the other.
            let first = escape(&page.accounts[0].file);
            tile(
                "Difference of live bytes",
                signed(bytes),
                format!("from {first}"),
            );
        }
    }
    let refused = sum(&mut snapshot
        .pools
        .iter()
        .map(|row| row.pool.alloc.num_alloc_fail.into()));
    tile(
        "Refused allocations",
        thousands(refused),
        "since the last reset".to_owned(),
    );
}

#[cfg(test)]
mod tests;
