//! The account: `meminfo`, `pools`, `owners`, `threads`; and what changes it: `kill`, `reset`, `oom`.
//!
//! **Invariant:** an account that does not add up makes the status 1.

use alloc::vec::Vec;

use tally_records::{PoolStats, state};
use teec::ErrorKind;

use super::{Command, Form};
use crate::client::inspect::Subject;
use crate::instances::instances_of;
use crate::text::{Count, Named};
use crate::tool::{Failure, Tool, is_gone, usage};
use crate::{STATUS_FAILED, STATUS_OK, client, json, text};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "meminfo",
        forms: &[Form(
            "[--all]",
            "secure RAM by use, to the byte; unused rows too",
        )],
        words: &["--all"],
        run: |tool, words| tool.meminfo(words),
    },
    Command {
        name: "pools",
        forms: &[Form("", "every pool in full, TA heaps included")],
        words: &[],
        run: |tool, words| tool.pools(words),
    },
    Command {
        name: "owners",
        forms: &[Form("", "who holds kernel heap and pages")],
        words: &[],
        run: |tool, words| tool.owners(words),
    },
    Command {
        name: "threads",
        forms: &[Form("", "threads for calls; calls that got none")],
        words: &[],
        run: |tool, words| tool.threads(words),
    },
    Command {
        name: "kill",
        forms: &[Form("UUID|NAME", "end a TA, busy or not")],
        words: super::A_TA,
        run: |tool, words| tool.kill(words),
    },
    Command {
        name: "reset",
        forms: &[Form("", "restart maxima and failure figures")],
        words: &[],
        run: |tool, words| tool.reset(words),
    },
    Command {
        name: "oom",
        forms: &[Form("", "the last out-of-memory report")],
        words: &[],
        run: |tool, words| tool.oom(words),
    },
];

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
        let rows = client::meminfo(self.context)?;
        let pools = client::pools(self.context)?;
        let heaps = self.ta_heaps()?;
        let tables = text::Tables::of(&rows, pools.first(), &heaps);
        let adds_up = if self.as_json {
            json::meminfo(self.out, secure_ram, &rows, tables)?
        } else {
            let adds_up = text::meminfo(self.out, secure_ram, &rows, all)?;
            text::tables(self.out, secure_ram, tables)?;
            adds_up
        };
        Ok(if adds_up { STATUS_OK } else { STATUS_FAILED })
    }

    /// The heaps of living TAs, each with the bytes of memory behind its addresses. A dead one's are freed.
    fn ta_heaps(&self) -> Result<Vec<(PoolStats, u64)>, Failure> {
        let mut heaps = Vec::new();
        for ta in client::inspect::tas(self.context, &Subject::NOBODY)? {
            let who = Subject::instance(ta.uuid, ta.instance);
            match client::inspect::regions(self.context, &who) {
                Ok(regions) => {
                    let of_heap = regions
                        .iter()
                        .filter(|row| row.label.starts_with(b"heap\0"));
                    heaps.push((ta.heap, of_heap.map(|row| row.populated).sum()));
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(heaps)
    }

    fn pools(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let pools = client::pools(self.context)?;
        let tas = client::inspect::tas(self.context, &Subject::NOBODY)?;
        let instances = instances_of(&pools, &tas);
        if self.as_json {
            json::pools(self.out, &pools, &instances, self.names)?;
        } else {
            text::pools(self.out, &pools, &instances, self.names)?;
        }
        Ok(STATUS_OK)
    }

    fn owners(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let rows = client::owners(self.context)?;
        if self.as_json {
            json::owners(self.out, &rows, self.names)?;
        } else {
            text::owners(self.out, &rows, self.names)?;
        }
        Ok(STATUS_OK)
    }

    fn threads(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let threads = client::threads(self.context)?;
        if self.as_json {
            json::threads(self.out, &threads)?;
        } else {
            text::threads(self.out, &threads)?;
        }
        Ok(STATUS_OK)
    }

    fn reset(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        client::reset(self.context)?;
        if self.as_json {
            writeln!(self.out, "{{}}")?;
        }
        Ok(STATUS_OK)
    }

    fn kill(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let [who] = words else {
            return Err(usage("kill which TA?"));
        };
        let who = Subject::ta(self.ta_named(who)?);
        let told = client::kill(self.context, who.uuid());
        let told = told.map_err(|error| self.about_ta(&who, error))?;
        let ending = self.still_ending(&who)?;
        let uuid = who.uuid();
        if self.as_json {
            let ended = told.saturating_sub(ending);
            writeln!(
                self.out,
                "{{\"uuid\":\"{uuid}\",\"ended\":{ended},\"ending\":{ending}}}"
            )?;
            return Ok(STATUS_OK);
        }
        let instances = Count(told.into(), "instance");
        let name = Named(uuid, self.names);
        match ending {
            0 => writeln!(self.out, "ended {instances} of {name}")?,
            n => writeln!(
                self.out,
                "told {instances} of {name} to end; {n} still busy"
            )?,
        }
        Ok(STATUS_OK)
    }

    /// How many instances have not ended yet: a busy one ends on its own thread, which is waited for, but
    /// not for ever.
    fn still_ending(&self, who: &Subject) -> Result<u32, Failure> {
        let mut busy = 0;
        for _ in 0..END_QUESTIONS {
            busy = match client::inspect::tas(self.context, who) {
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
        if self.as_json {
            json::oom(self.out, report.as_deref())?;
        } else {
            let report = report.as_deref().unwrap_or("nothing has run out of memory");
            for line in self.name_addresses(report.trim_end()) {
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(STATUS_OK)
    }
}
