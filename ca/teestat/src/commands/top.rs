//! `top`: every TA and what it takes, again and again.
//!
//! **Invariant:** no TA is entered; where the output is no terminal, rounds follow each other as
//! plain text.
//! **Knows nothing of:** keys and clocks; a [`crate::Terminal`] does.

use alloc::format;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_abi::pta::control::PoolStats;
use tally_abi::pta::memleak::owner_kind;

use super::{Command, Form};
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_OK, client, json, text};

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
    words: &["--sort", "-n", "-d", "heap", "rss", "kernel", "name"],
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

/// One TA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) uuid: TeeUuid,
    /// Tells instances of one TA apart; 0 where they are not told apart.
    pub(crate) instance: u32,
    pub(crate) state: &'static str,
    pub(crate) sessions: u32,
    /// Heap bytes allocated.
    pub(crate) heap: u64,
    /// Most that ever were.
    pub(crate) peak: u64,
    /// Secure memory that it has.
    pub(crate) rss: u64,
    /// Kernel heap bytes on its behalf.
    pub(crate) kernel: u64,
}

/// One round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// Secure RAM that can be had, and what of it is taken.
    pub(crate) ram: (u64, u64),
    /// Kernel heap, and what of it is taken.
    pub(crate) kernel_heap: (u64, u64),
    pub(crate) rows: Vec<Row>,
}

impl Round {
    /// By how many bytes a TA's heap grew since the round before; `None` if it was not there.
    pub(crate) fn growth_of(&self, row: &Row) -> Option<i64> {
        let key = |r: &Row| (r.uuid, r.instance);
        let before = self.rows.iter().find(|other| key(other) == key(row))?;
        Some(row.heap as i64 - before.heap as i64)
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
            "`{word}` is no number from {least} to {most}"
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
            if self.as_json {
                json::top::round(self.out, &round, &before, self.names)?;
            } else {
                text::top::round(self.out, &round, &before, self.names)?;
            }
            before = round;
        }
        Ok(STATUS_OK)
    }

    fn round(&self) -> Result<Round, Failure> {
        let pools = client::pools(self.context)?;
        let owners = client::owners(self.context)?;
        let loaded = client::ta_stats(self.context)?;
        let taken = |index: usize| {
            let pool: Option<&PoolStats> = pools.get(index);
            pool.map_or((0, 0), |pool| {
                (u64::from(pool.alloc.size), u64::from(pool.alloc.allocated))
            })
        };
        let mut rows: Vec<Row> = Vec::new();
        for ta in &loaded {
            let at = rows.iter().position(|row| row.uuid == ta.uuid);
            let at = at.unwrap_or_else(|| {
                rows.push(Row {
                    uuid: ta.uuid,
                    state: "loaded",
                    ..Row::default()
                });
                rows.len() - 1
            });
            let row = &mut rows[at];
            row.sessions += ta.sess_num;
            row.heap += u64::from(ta.heap.allocated);
            row.peak += u64::from(ta.heap.max_allocated);
            if ta.panicked != 0 {
                row.state = "dead";
            }
        }
        for row in &mut rows {
            let own = owners.iter().filter(|owner| {
                owner.uuid == row.uuid
                    && [owner_kind::TA, owner_kind::SESSION].contains(&owner.kind)
            });
            for owner in own {
                row.rss += u64::from(owner.pages) * 4096;
                row.kernel += u64::from(owner.heap_bytes);
            }
        }
        Ok(Round {
            kernel_heap: taken(0),
            ram: taken(1),
            rows,
        })
    }

    fn sort(&self, round: &mut Round, by: Sort) {
        let name = |row: &Row| (self.names.name_of(row.uuid), row.uuid, row.instance);
        round.rows.sort_by_key(|row| name(row));
        let figure = |row: &Row| match by {
            Sort::Heap => row.heap,
            Sort::Rss => row.rss,
            Sort::Kernel => row.kernel,
            Sort::Name => 0,
        };
        // Stable: equal ones stay in the order of their names.
        round.rows.sort_by_key(|row| core::cmp::Reverse(figure(row)));
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
            assert!(matches!(options(words), Err(Failure::Usage(_))), "{words:?}");
        }
    }

    #[test]
    fn growth_is_that_of_the_same_instance() {
        let row = |instance, heap| Row {
            instance,
            heap,
            ..Row::default()
        };
        let before = Round {
            rows: Vec::from([row(1, 100), row(2, 500)]),
            ..Round::default()
        };
        assert_eq!(before.growth_of(&row(2, 450)), Some(-50));
        assert_eq!(before.growth_of(&row(1, 100)), Some(0));
        assert_eq!(before.growth_of(&row(3, 7)), None);
    }
}
