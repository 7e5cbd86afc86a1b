//! The account: `meminfo`, `pools`, `owners`, `threads`; and what changes it: `kill`, `reset`,
//! `oom`.
//!
//! **Invariant:** an account that does not add up makes the status 1.

use alloc::vec::Vec;
use tally_records::OwnerRow;
use tally_records::RegionRow;
use tally_records::TaDetail;

use alloc::string::String;

use tally_insight::answer;
use tally_insight::json::{List, One, Ta};
use tally_insight::openmetrics::Threads;
use tally_insight::schema::{Answer, Schema};
use tally_records::{MeminfoRow, PoolRow, PoolStats, pool_kind, state};
use teec::ErrorKind;

use super::{Command, Form, Nothing};
use crate::text::{Called, Count};
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_FAILED, STATUS_OK, client, text};
use tally_records::Selector;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "meminfo",
        forms: &[Form(
            "[--all]",
            "secure RAM by use, to the byte; unused rows too",
        )],
        run: |tool, words| tool.meminfo(words),
    },
    Command {
        name: "pools",
        forms: &[Form("", "every pool in full, TA heaps included")],
        run: |tool, words| tool.pools(words),
    },
    Command {
        name: "owners",
        forms: &[Form("", "who holds kernel heap and pages")],
        run: |tool, words| tool.owners(words),
    },
    Command {
        name: "threads",
        forms: &[Form("", "threads for calls; calls that got none")],
        run: |tool, words| tool.threads(words),
    },
    Command {
        name: "kill",
        forms: &[Form("UUID|NAME", "end a TA, busy or not")],
        run: |tool, words| tool.kill(words),
    },
    Command {
        name: "reset",
        forms: &[Form("", "restart maxima and failure figures")],
        run: |tool, words| tool.reset(words),
    },
    Command {
        name: "oom",
        forms: &[Form("", "the last out-of-memory report")],
        run: |tool, words| tool.oom(words),
    },
];

pub(super) const ANSWERS: &[Answer] = &[
    ("meminfo", Meminfo::schema),
    ("pools", List::<PoolRow>::schema),
    ("owners", List::<OwnerRow>::schema),
    ("threads", One::<Threads>::schema),
    ("kill", Killed::schema),
    ("reset", Nothing::schema),
    ("oom", Report::schema),
];

answer! {
    /// Secure RAM by use.
    struct Meminfo<'a> {
        #[serde(flatten)]
        rows: List<'a, MeminfoRow>,
        meminfo_sum: u64,
        secure_ram: u64,
        adds_up: bool,
        tables: Tables,
    }

    /// Memory that only describes memory, and its share of the secure RAM.
    struct Tables {
        pages: u64,
        heaps: u64,
        percent: f64,
    }

    /// A TA that was told to end.
    struct Killed {
        #[serde(flatten)]
        ta: Ta,
        instances_ended: u32,
        instances_ending: u32,
    }

    /// The last out-of-memory report.
    struct Report {
        report: Option<String>,
    }
}

/// How often the kernel is asked whether an instance that was told to end has ended.
const END_QUESTIONS: usize = 100;

impl Tool<'_, '_> {
    fn meminfo(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let all = match words {
            [] => false,
            ["--all" | "-v"] => true,
            _ => return Err(usage("meminfo takes --all or nothing")),
        };
        let secure_ram = client::secure_ram(self.context)?;
        let rows = client::rows::<MeminfoRow>(self.context, &Selector::ALL)?;
        let pools = client::rows::<PoolRow>(self.context, &Selector::ALL)?;
        let heaps = self.ta_heaps()?;
        let kernel_heap = PoolRow::find(&pools, pool_kind::KERNEL_HEAP);
        let tables = text::Tables::of(&rows, kernel_heap, &heaps);
        let sum = text::meminfo_sum(&rows);
        let adds_up = sum == secure_ram;
        let answer = Meminfo {
            rows: List(&rows, self.names),
            meminfo_sum: sum,
            secure_ram,
            adds_up,
            tables: Tables {
                pages: tables.pages,
                heaps: tables.heaps,
                percent: tables.per_myriad(secure_ram) as f64 / 100.0,
            },
        };
        self.tell(&answer, |out| {
            text::meminfo(out, secure_ram, &rows, all)?;
            text::tables(out, secure_ram, tables)
        })?;
        Ok(if adds_up { STATUS_OK } else { STATUS_FAILED })
    }

    /// The heaps of living TAs, each with the bytes of memory behind its addresses. A dead one's
    /// are freed.
    fn ta_heaps(&self) -> Result<Vec<(PoolStats, u64)>, Failure> {
        let regions = client::rows::<RegionRow>(self.context, &Selector::TAS)?;
        let tas = client::rows::<TaDetail>(self.context, &Selector::TAS)?;
        let heaps = tas.iter().filter(|ta| ta.regions > 0).map(|ta| {
            let of_heap = regions.iter().filter(|row| {
                let of_ta = (row.owner, row.instance) == (ta.uuid, ta.instance);
                of_ta && row.label.starts_with(b"heap\0")
            });
            (ta.heap, of_heap.map(|row| row.populated).sum())
        });
        Ok(heaps.collect())
    }

    fn pools(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let pools = client::rows::<PoolRow>(self.context, &Selector::ALL)?;
        let names = self.names;
        self.tell(&List(&pools, names), |out| text::pools(out, &pools, names))?;
        Ok(STATUS_OK)
    }

    fn owners(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let rows = client::rows::<OwnerRow>(self.context, &Selector::ALL)?;
        let names = self.names;
        self.tell(&List(&rows, names), |out| text::owners(out, &rows, names))?;
        Ok(STATUS_OK)
    }

    fn threads(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let threads = client::threads(self.context)?;
        let answer = One(&threads, self.names);
        self.tell(&answer, |out| text::threads(out, &threads))?;
        Ok(STATUS_OK)
    }

    fn reset(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        client::reset(self.context)?;
        self.tell(&Nothing {}, |_| Ok(()))?;
        Ok(STATUS_OK)
    }

    fn kill(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let [who] = words else {
            return Err(usage("kill which TA?"));
        };
        let who = Selector::ta(self.ta_named(who)?);
        let told = client::kill(self.context, who.uuid);
        let told = told.map_err(|error| self.about_ta(&who, error))?;
        let ending = self.still_ending(&who)?;
        let answer = Killed {
            ta: Ta::new(who.uuid, self.names),
            instances_ended: told.saturating_sub(ending),
            instances_ending: ending,
        };
        let instances = Count(told.into(), "instance");
        let name = Called(who.uuid, self.names);
        self.tell(&answer, |out| match ending {
            0 => writeln!(out, "ended {instances} of {name}"),
            n => writeln!(out, "told {instances} of {name} to end; {n} still busy"),
        })?;
        Ok(STATUS_OK)
    }

    /// How many instances have not ended yet: a busy one ends on its own thread, which is waited
    /// for, but not for ever.
    fn still_ending(&self, who: &Selector) -> Result<u32, Failure> {
        let mut busy = 0;
        for _ in 0..END_QUESTIONS {
            busy = match client::rows::<TaDetail>(self.context, who) {
                Ok(tas) => tas.iter().filter(|ta| ta.state != state::DEAD).count() as u32,
                Err(error) if error.kind() == Some(ErrorKind::ItemNotFound) => 0,
                Err(error) => return Err(error.into()),
            };
            if busy == 0 {
                break;
            }
        }
        Ok(busy)
    }

    fn oom(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let report = match client::last_oom(self.context) {
            Ok(report) => Some(report),
            Err(error) if error.kind() == Some(ErrorKind::NoData) => None,
            Err(error) => return Err(error.into()),
        };
        let said = report.as_deref();
        let said = said.unwrap_or("nothing has run out of memory");
        let lines = self.names.name_addresses(said.trim_end());
        self.tell(&Report { report }, |out| {
            lines.iter().try_for_each(|line| writeln!(out, "{line}"))
        })?;
        Ok(STATUS_OK)
    }
}
