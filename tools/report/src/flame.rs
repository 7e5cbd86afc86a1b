//! Folded stacks and flame graphs, by inferno.
//!
//! A line of folded text is `pool;owner;outermost;...;innermost BYTES`; of a comparison,
//! `... BEFORE AFTER`. A graph of growth has two halves, what grew and what shrank, by the
//! difference.
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

/// The half of a graph of growth that grew. It is the first.
pub const GREW: &str = "grew";
/// The half that shrank.
pub const SHRANK: &str = "shrank";

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

/// What grew and what shrank, by how much: [`GREW`] and [`SHRANK`] are the outermost functions.
#[must_use]
pub fn folded_growth(account: &Account, changes: &[Change]) -> String {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for change in changes {
        let half = match change.bytes() {
            0 => continue,
            1.. => GREW,
            _ => SHRANK,
        };
        let line = line(account, change.image, &change.owner, &change.stack);
        let bytes = lines.entry(format!("{half};{line}")).or_default();
        *bytes = bytes.saturating_add(change.bytes().unsigned_abs());
    }
    text(lines.iter().map(|(line, bytes)| (line, [*bytes])))
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
#[derive(Default)]
pub struct Look<'a> {
    /// Above it.
    pub title: &'a str,
    /// Below the title.
    pub subtitle: &'a str,
    /// Part of a page that brings its own script.
    pub embedded: bool,
    /// Of [`folded_growth`]: red grew, blue shrank.
    pub growth: bool,
}

/// Draws folded text as SVG.
///
/// # Errors
/// Nothing is live, or more than 2^63 bytes.
pub fn draw(folded: &str, look: &Look<'_>) -> Result<String> {
    let last = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    ensure!(
        folded.lines().filter_map(last).any(|bytes| bytes > 0),
        "{}: there is no flame to draw",
        if look.growth {
            "nothing grew or shrank"
        } else {
            "nothing is live"
        }
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
    options.colors = Palette::Basic(if look.growth {
        BasicPalette::Red
    } else {
        BasicPalette::Mem
    });
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
    let svg = String::from_utf8(svg).context("the flame graph is not text")?;
    if !look.growth {
        return Ok(svg);
    }
    let half = |line: &&str| line.starts_with(GREW);
    let grew = folded.lines().filter(half).filter_map(last).sum();
    Ok(halves(&svg, grew))
}

/// Frames behind the first `grew` bytes in blue instead of red, those of both halves in grey.
fn halves(svg: &str, grew: u64) -> String {
    const FILL: &str = " fill=\"rgb(";
    let number = |text: &str, key: &str| -> Option<u64> {
        let (_, rest) = text.split_once(key)?;
        rest.split('"').next()?.parse().ok()
    };
    let frame = |part: &str| -> Option<String> {
        let (colour, rest) = part.split_once(')')?;
        let [red, green, blue] = colour.split(',').collect::<Vec<_>>()[..] else {
            return None;
        };
        let (begin, width) = (number(rest, "fg:x=\"")?, number(rest, "fg:w=\"")?);
        Some(match (begin >= grew, begin + width > grew) {
            (true, _) => format!("{blue},{green},{red}){rest}"),
            (false, true) => format!("190,190,190){rest}"),
            (false, false) => part.to_owned(),
        })
    };
    let mut parts = svg.split(FILL);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(FILL);
        out.push_str(&frame(part).unwrap_or_else(|| part.to_owned()));
    }
    out
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

    /// Widths were live bytes, and the deepest red was that of a block that had been freed.
    #[test]
    fn widths_of_a_graph_of_growth_are_the_growth() {
        let mut before = sample::machine(1);
        let mut live = before.live.iter_mut();
        let freed = live.find(|record| record.image == sample::SOUND).unwrap();
        freed.bytes += 1_000_000;
        let (before, after) = (Account::new(before, "", &NoSymbols), account(3));
        let changes = growth::between(&before, &after);
        let folded = folded_growth(&after, &changes);
        let grew = 2 * sample::LEAK_BYTES;
        assert_eq!(total(&folded), grew + 1_000_000);
        let look = Look {
            embedded: true,
            growth: true,
            ..Look::default()
        };
        let svg = draw(&folded, &look).unwrap();
        let frame = |name: &str| {
            let at = svg.find(&format!("<title>{name} (")).expect(name);
            let rect = &svg[at..];
            let field = |key: &str| rect.split_once(key).unwrap().1.split('"').next().unwrap();
            let fill = field("fill=\"rgb(").trim_end_matches(')');
            let fill: Vec<u8> = fill.split(',').map(|part| part.parse().unwrap()).collect();
            let width: u64 = field("fg:w=\"").parse().unwrap();
            (width, fill[0] > fill[2], fill[0] < fill[2])
        };
        assert_eq!(frame(GREW), (grew, true, false));
        assert_eq!(frame(SHRANK), (1_000_000, false, true));
        assert_eq!(frame("all"), (grew + 1_000_000, false, false));
        assert!(draw("", &look).is_err());
    }

    /// The reader is inferno's own: its total must be ours.
    #[test]
    fn inferno_reads_the_same_total() {
        let folded = folded(&account(3));
        let svg = draw(
            &folded,
            &Look {
                title: "t",
                ..Look::default()
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
            embedded: true,
            ..Look::default()
        };
        assert!(draw("", &look).is_err());
        assert!(draw("a;b 5 0\n", &look).is_err());
        assert!(draw(&format!("a {0}\nb {0}\n", u64::MAX), &look).is_err());
    }
}
