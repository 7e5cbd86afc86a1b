//! One card a TA: what it is doing, what it has, and what its sizes should be.
//!
//! **Invariant:** every figure of [`TaDetail`] is on the card, to the byte.

use super::table::escape;
use crate::shown;
use std::fmt::Write as _;
use tally_insight::account::Account;
use tally_insight::advice::{self, Advice, ByTa, Verdict, What};
use tally_insight::names::entry;
use tally_insight::numbers::{counted, percent, rough, thousands};
use tally_records::{Described, Row, Shape, TaDetail, Unit, Value, cause, state, value, word};

/// The cards of all TAs.
pub(super) fn write(account: &Account, by_ta: &ByTa<'_>, out: &mut String) {
    out.push_str("<div class=\"cards\">");
    for ta in &account.snapshot.tas {
        card(account, ta, by_ta, out);
    }
    out.push_str("</div>");
}

// Writing to a string does not fail.
fn card(account: &Account, ta: &TaDetail, by_ta: &ByTa<'_>, out: &mut String) {
    let state = word(state::WORDS, ta.state);
    let doing = if ta.state == state::DEAD && ta.cause != cause::NONE {
        format!("{state}: {}", word(cause::WORDS, ta.cause))
    } else if ta.state == state::BUSY {
        let since = account
            .snapshot
            .header
            .at_ms
            .saturating_sub(ta.busy_since_ms);
        format!(
            "busy in {} of session {} for {} ms",
            entry(ta.function, ta.command),
            shown::session(ta.session),
            thousands(since)
        )
    } else {
        state.to_owned()
    };
    let _ = write!(
        out,
        "<article class=\"card\"><h3>{} <span class=\"badge {state}\">{}</span></h3>\
         <p class=\"dim\"><code>{}</code> instance {}{}, {}, loaded at {} ms</p>",
        escape(&account.ta(ta.uuid)),
        escape(&doing),
        ta.uuid,
        ta.instance,
        image(ta.image_id),
        counted(ta.sessions.into(), "session"),
        thousands(ta.loaded_ms)
    );
    let whole = ta.vss.max(ta.rss).max(1);
    for key in ["vss", "rss", "pss", "uss"] {
        let help = TaDetail::TABLE.field(key).map_or("", |field| field.help());
        if let Value::Number(bytes) = value(ta, key) {
            meter(&key.to_uppercase(), help, bytes, whole, "c2", out);
        }
    }
    out.push_str("<h4>Heap</h4>");
    heap(ta, out);
    let advice = |what| by_ta.get(&(ta.uuid, what)).copied();
    write_advice(advice(What::Heap), out);
    out.push_str("<h4>Stack</h4>");
    if ta.state == state::DEAD {
        freed(
            &format!("deepest use {}", counted(ta.stack_deepest, "byte")),
            out,
        );
    } else {
        meter(
            "deepest",
            "deepest use so far",
            ta.stack_deepest,
            ta.stack,
            "c6",
            out,
        );
    }
    write_advice(advice(What::Stack), out);
    figures(ta, out);
    out.push_str("</article>");
}

/// Which build of a TA it is, where that is known.
fn image(id: u64) -> String {
    match id {
        0 => String::new(),
        id => format!(" of image <code>{id:016x}</code>"),
    }
}

fn heap(ta: &TaDetail, out: &mut String) {
    let heap = &ta.heap.alloc;
    if ta.state == state::DEAD {
        // What is left of it are figures: there is nothing that could be in pieces.
        let last = format!(
            "it held {} in {}, at most {}; {} refused",
            counted(heap.allocated.into(), "byte"),
            counted(ta.heap.live_blocks, "block"),
            thousands(heap.max_allocated.into()),
            thousands(heap.num_alloc_fail.into())
        );
        freed(&last, out);
        return;
    }
    let size = u64::from(heap.size);
    for (name, help, bytes) in [
        ("in use", "allocated now", heap.allocated),
        ("most", "most allocated at a time", heap.max_allocated),
    ] {
        meter(name, help, bytes.into(), size, "c4", out);
    }
    let free = u64::from(heap.size.saturating_sub(heap.allocated));
    let broken = free.saturating_sub(ta.heap.largest_free);
    let _ = write!(
        out,
        "<p class=\"dim\">{}; largest free chunk {} of {} free ({} % in smaller pieces); \
         {} refused</p>",
        counted(ta.heap.live_blocks, "block"),
        thousands(ta.heap.largest_free),
        thousands(free),
        percent(broken, free),
        thousands(heap.num_alloc_fail.into())
    );
    if ta.heap.inconsistent != 0 {
        out.push_str("<p class=\"warn\">the heap's own bookkeeping does not add up</p>");
    }
}

/// What a dead TA no longer has.
fn freed(last: &str, out: &mut String) {
    let _ = write!(out, "<p class=\"dim\">Freed when it died; {last}</p>");
}

fn figures(ta: &TaDetail, out: &mut String) {
    out.push_str("<details><summary>All figures</summary><dl>");
    amounts(ta, "", out);
    out.push_str("</dl></details>");
}

/// Everything of a record that is an amount.
fn amounts(row: &dyn Row, before: &str, out: &mut String) {
    for (n, field) in row.table().fields.iter().enumerate() {
        let name = format!("{before}{}", field.key.replace('_', " "));
        match (field.shape, row.value(n)) {
            (Shape::Number(unit), Value::Number(figure))
                if !matches!(unit, Unit::None | Unit::Hex | Unit::Ms) =>
            {
                let _ = write!(
                    out,
                    "<div><dt>{name}</dt><dd data-v=\"{figure}\">{}</dd></div>",
                    thousands(figure)
                );
            }
            (Shape::Flat(_), Value::Row(inner)) => amounts(inner, before, out),
            (_, Value::Row(inner)) => amounts(inner, &format!("{name} "), out),
            _ => {}
        }
    }
}

fn meter(name: &str, help: &str, bytes: u64, whole: u64, colour: &str, out: &mut String) {
    let share = percent(bytes.min(whole), whole);
    let _ = write!(
        out,
        "<div class=\"meter\" title=\"{help}: {}\"><span>{name}</span>\
         <i class=\"{colour}\"><b style=\"width:{share}%\"></b></i><span class=\"n\">{}</span></div>",
        counted(bytes, "byte"),
        rough(bytes)
    );
}

fn write_advice(advice: Option<&Advice>, out: &mut String) {
    let Some(advice) = advice else { return };
    let class = match advice.verdict() {
        Verdict::Fits => "fits",
        Verdict::Raise => "raise",
        Verdict::Lower => "lower",
        Verdict::Unknown => "dim",
    };
    let _ = write!(
        out,
        "<p class=\"advice {class}\">{}</p>",
        escape(&advice::sentence(advice))
    );
}
