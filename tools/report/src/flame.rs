//! Folded stacks and flame graphs, by inferno.
//!
//! A line of folded text is `pool;owner;outermost;...;innermost BYTES`; of a comparison,
//! `... BEFORE AFTER`.
//!
//! **Invariant:** the lines' bytes add up to the snapshot's live bytes; no name can end a line or
//! pass for a number.

use crate::xml;
use anyhow::{Context as _, Result, ensure};
use inferno::flamegraph::color::{BackgroundColor, BasicPalette, Palette};
use inferno::flamegraph::{self, Options};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tally_abi::TeeUuid;
use tally_insight::account::Account;
use tally_insight::growth::Change;
use tally_insight::names::Stack;

/// Live bytes of a snapshot.
#[must_use]
pub fn folded(account: &Account) -> String {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for record in &account.snapshot.live {
        let stack = account.stack(record);
        let line = line(account, record.image, &account.owner_of(record), &stack);
        let bytes = lines.entry(line).or_default();
        *bytes = bytes.saturating_add(record.bytes);
    }
    text(lines.iter().map(|(line, bytes)| (line, [*bytes])))
}

/// Live bytes of two snapshots. `account` is either of them, for the names of TAs.
#[must_use]
pub fn folded_change(account: &Account, changes: &[Change]) -> String {
    let mut lines: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for change in changes {
        let line = line(account, change.image, &change.owner, &change.stack);
        let [before, after] = lines.entry(line).or_default();
        *before = before.saturating_add(change.before.bytes);
        *after = after.saturating_add(change.after.bytes);
    }
    text(lines.iter().map(|(line, bytes)| (line, *bytes)))
}

fn text<'a, const N: usize>(lines: impl Iterator<Item = (&'a String, [u64; N])>) -> String {
    let mut out = String::new();
    for (line, bytes) in lines {
        out.push_str(line);
        for number in bytes {
            // Writing to a string does not fail.
            let _ = write!(out, " {number}");
        }
        out.push('\n');
    }
    out
}

fn line(account: &Account, pool: TeeUuid, owner: &str, stack: &Stack) -> String {
    let pool = if pool == TeeUuid::nil() {
        "kernel heap".to_owned()
    } else {
        format!("heap of TA {}", account.ta(pool))
    };
    let mut parts = vec![plain(&pool), plain(owner)];
    for shown in stack.shown().iter().rev() {
        let name = plain(&shown.frame.function);
        parts.push(match &*shown.frame.place() {
            "" => name.replace(' ', "_"),
            place => format!("{name} ({})", plain(place)),
        });
    }
    if parts.len() == 2 {
        parts.push("no_call_stack".to_owned());
    }
    parts.join(";")
}

/// Without what means something in a line of folded text.
fn plain(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| match c {
            ';' => ',',
            c if c.is_control() => '?',
            c => c,
        })
        .collect();
    xml::chars(&name)
}

/// How a flame graph is to look.
pub struct Look<'a> {
    /// Above it.
    pub title: &'a str,
    /// Below the title.
    pub subtitle: &'a str,
    /// Part of a page that brings its own script.
    pub embedded: bool,
}

/// Draws folded text as SVG.
///
/// # Errors
/// Nothing is live, or more than 2^63 bytes.
pub fn draw(folded: &str, look: &Look<'_>) -> Result<String> {
    let last = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    ensure!(
        folded.lines().filter_map(last).any(|bytes| bytes > 0),
        "nothing is live: there is no flame to draw"
    );
    // inferno adds up without checks, the amounts before and after alike.
    let numbers = folded
        .lines()
        .flat_map(|line| line.rsplit(' ').map_while(|word| word.parse::<u64>().ok()));
    let sum = numbers.map(u128::from).sum::<u128>();
    ensure!(
        i64::try_from(sum).is_ok(),
        "more is live than any machine has: the snapshot is damaged"
    );
    let mut options = Options::default();
    options.title = xml::chars(look.title);
    options.subtitle = (!look.subtitle.is_empty()).then(|| xml::chars(look.subtitle));
    options.count_name = "bytes".to_owned();
    options.colors = Palette::Basic(BasicPalette::Mem);
    options.bgcolors = Some(BackgroundColor::Flat(inferno::flamegraph::color::Color {
        r: 255,
        g: 255,
        b: 255,
    }));
    // The same snapshots, the same picture.
    options.hash = true;
    options.deterministic = true;
    options.no_javascript = look.embedded;
    options.image_width = Some(1200);
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, folded.lines(), &mut svg)
        .context("cannot draw the flame graph")?;
    String::from_utf8(svg).context("the flame graph is not text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_insight::account::NoSymbols;
    use tally_insight::{growth, sample};

    fn account(cycle: u64) -> Account {
        Account::new(sample::machine(cycle), "", &NoSymbols)
    }

    fn total(text: &str) -> u64 {
        text.lines()
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    #[test]
    fn lines_add_up_to_the_live_bytes() {
        let account = account(3);
        let live: u64 = account.snapshot.live.iter().map(|r| r.bytes).sum();
        let folded = folded(&account);
        assert_eq!(total(&folded), live);
        let (before, after) = (&self::account(1), &account);
        let change = folded_change(after, &growth::between(before, after));
        assert_eq!(total(&change), live);
    }

    /// The reader is inferno's own: its total must be ours.
    #[test]
    fn inferno_reads_the_same_total() {
        let folded = folded(&account(3));
        let svg = draw(
            &folded,
            &Look {
                title: "t",
                subtitle: "",
                embedded: false,
            },
        )
        .unwrap();
        let mark = format!("total_samples=\"{}\"", total(&folded));
        assert!(svg.contains(&mark), "{mark} is not in the graph");
    }

    #[test]
    fn names_cannot_break_a_line() {
        assert_eq!(plain("[u8; 4]\nx"), "[u8, 4]?x");
        let mut account = account(0);
        for record in &mut account.snapshot.live {
            record.frames = [0; 8];
        }
        assert!(
            folded(&account)
                .lines()
                .all(|l| l.contains(";no_call_stack "))
        );
    }

    #[test]
    fn nothing_live_is_an_error() {
        let look = Look {
            title: "",
            subtitle: "",
            embedded: true,
        };
        assert!(draw("", &look).is_err());
        assert!(draw("a;b 5 0\n", &look).is_err());
        assert!(draw(&format!("a {0}\nb {0}\n", u64::MAX), &look).is_err());
    }
}
