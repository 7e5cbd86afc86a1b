//! `top`: every TA and what it takes, again and again.
//!
//! **Invariant:** no TA is entered; where the output is no terminal, rounds follow each other as
//! plain text.
//! **Knows nothing of:** keys and clocks; a [`crate::Terminal`] does.

use alloc::format;
use alloc::vec::Vec;

use tally_insight::answer;
use tally_insight::json::One;
use tally_insight::names::Names;
use tally_insight::schema::{Answer, Schema};
use tally_records::{PoolRow, TaDetail, pool_kind};

use super::{Command, Form};
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_OK, client, text};
use tally_records::Selector;

/// Seconds between rounds, unless said otherwise.
const SECONDS: u32 = 2;
/// Most seconds between rounds.
const MAX_SECONDS: u32 = 3600;

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "top",
    forms: &[Form(
        "[--sort heap|rss|kernel|name] [-n COUNT] [-d SECONDS]",
        "every TA and what it takes, again and again; `q` ends",
    )],
    run: |tool, words| tool.top(words),
}];

/// What the rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Heap bytes.
    Heap,
    /// Secure memory.
    Rss,
    /// Kernel heap on its behalf.
    Kernel,
    /// Name, else UUID.
    Name,
}

/// One round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// Memory for TAs, and what of it is taken.
    pub(crate) ta_memory: (u64, u64),
    /// Kernel heap, and what of it is taken.
    pub(crate) kernel_heap: (u64, u64),
    /// Every instance.
    pub(crate) tas: Vec<TaDetail>,
}

impl Round {
    /// By how many bytes a TA's heap has grown since this round; `None` if it was not there.
    pub(crate) fn growth_of(&self, ta: &TaDetail) -> Option<i64> {
        let key = |ta: &TaDetail| (ta.uuid, ta.instance);
        let before = self.tas.iter().find(|other| key(other) == key(ta))?;
        Some(i64::from(ta.heap.alloc.allocated) - i64::from(before.heap.alloc.allocated))
    }
}

pub(super) const ANSWERS: &[Answer] = &[("top", Told::schema)];

answer! {
    /// A round for programs.
    struct Told<'a> {
        tas: Vec<Ta<'a>>,
        ta_memory: u64,
        ta_memory_used: u64,
        kernel_heap: u64,
        kernel_heap_used: u64,
    }

    /// A TA, and by how many bytes its heap has grown since the last round; null if it was not there.
    struct Ta<'a> {
        #[serde(flatten)]
        ta: One<'a, TaDetail>,
        growth: Option<i64>,
    }
}

impl<'a> Told<'a> {
    fn new(round: &'a Round, before: &Round, names: &'a dyn Names) -> Self {
        let ta = |ta: &'a TaDetail| Ta {
            ta: One(ta, names),
            growth: before.growth_of(ta),
        };
        Self {
            tas: round.tas.iter().map(ta).collect(),
            ta_memory: round.ta_memory.0,
            ta_memory_used: round.ta_memory.1,
            kernel_heap: round.kernel_heap.0,
            kernel_heap_used: round.kernel_heap.1,
        }
    }
}

struct Options {
    sort: Sort,
    rounds: Option<u32>,
    seconds: u32,
}

fn options(words: &[&str]) -> Result<Options, Failure> {
    let mut options = Options {
        sort: Sort::Heap,
        rounds: None,
        seconds: SECONDS,
    };
    let number = |word: &str, least: u32, most: u32| match word.parse::<u32>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(usage(&format!(
            "`{word}` is not a number from {least} to {most}"
        ))),
    };
    let mut rest = words;
    loop {
        rest = match rest {
            [] => return Ok(options),
            ["--sort", by, rest @ ..] => {
                options.sort = match *by {
                    "heap" => Sort::Heap,
                    "rss" => Sort::Rss,
                    "kernel" => Sort::Kernel,
                    "name" => Sort::Name,
                    _ => return Err(usage("sort by heap, rss, kernel or name")),
                };
                rest
            }
            ["-n", count, rest @ ..] => {
                options.rounds = Some(number(count, 1, u32::MAX)?);
                rest
            }
            ["-d", seconds, rest @ ..] => {
                options.seconds = number(seconds, 1, MAX_SECONDS)?;
                rest
            }
            ["--sort" | "-n" | "-d"] => return Err(usage("a value is missing")),
            [word, ..] => return Err(usage(&format!("`{word}` is not understood here"))),
        };
    }
}

impl Tool<'_, '_> {
    fn top(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let options = options(words)?;
        let live = self.terminal.is_terminal() && !self.as_json;
        let rounds = options.rounds.unwrap_or(if live { u32::MAX } else { 1 });
        let mut before = Round::default();
        for n in 0..rounds {
            if n > 0 && self.terminal.pause(options.seconds.saturating_mul(1000)) {
                break;
            }
            let mut round = self.round()?;
            self.sort(&mut round, options.sort);
            if live {
                text::top::clear(self.out)?;
            } else if n > 0 && !self.as_json {
                writeln!(self.out)?;
            }
            let names = self.names;
            self.tell(&Told::new(&round, &before, names), |out| {
                text::top::round(out, &round, &before, names)
            })?;
            before = round;
        }
        Ok(STATUS_OK)
    }

    fn round(&self) -> Result<Round, Failure> {
        let pools = client::rows::<PoolRow>(self.context, &Selector::ALL)?;
        let taken = |kind| {
            PoolRow::find(&pools, kind).map_or((0, 0), |pool| {
                (pool.alloc.size.into(), pool.alloc.allocated.into())
            })
        };
        Ok(Round {
            kernel_heap: taken(pool_kind::KERNEL_HEAP),
            ta_memory: taken(pool_kind::TA_MEMORY),
            tas: client::rows::<TaDetail>(self.context, &Selector::TAS)?,
        })
    }

    fn sort(&self, round: &mut Round, by: Sort) {
        let name = |ta: &TaDetail| (self.names.name_of(ta.uuid), ta.uuid, ta.instance);
        round.tas.sort_by_key(|ta| name(ta));
        let figure = |ta: &TaDetail| match by {
            Sort::Heap => u64::from(ta.heap.alloc.allocated),
            Sort::Rss => ta.rss,
            Sort::Kernel => ta.kernel_heap,
            Sort::Name => 0,
        };
        // Stable: equal ones stay in the order of their names.
        round.tas.sort_by_key(|ta| core::cmp::Reverse(figure(ta)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_in_any_order() {
        let found = options(&["-d", "5", "--sort", "kernel", "-n", "3"]);
        let found = found.map(|o| (o.sort, o.rounds, o.seconds));
        assert_eq!(found.ok(), Some((Sort::Kernel, Some(3), 5)));
        let found = options(&[]).map(|o| (o.sort, o.rounds, o.seconds));
        assert_eq!(found.ok(), Some((Sort::Heap, None, SECONDS)));
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            &["--sort", "size"][..],
            &["--sort"],
            &["-n", "0"],
            &["-n", "many"],
            &["-d", "0"],
            &["-d", "100000"],
            &["heap"],
        ] {
            assert!(
                matches!(options(words), Err(Failure::Usage(_))),
                "{words:?}"
            );
        }
    }

    #[test]
    fn growth_is_that_of_the_same_instance() {
        let row = |instance, heap| {
            let mut ta = TaDetail {
                instance,
                ..TaDetail::default()
            };
            ta.heap.alloc.allocated = heap;
            ta
        };
        let before = Round {
            tas: Vec::from([row(1, 100), row(2, 500)]),
            ..Round::default()
        };
        assert_eq!(before.growth_of(&row(2, 450)), Some(-50));
        assert_eq!(before.growth_of(&row(1, 100)), Some(0));
        assert_eq!(before.growth_of(&row(3, 7)), None);
    }
}
