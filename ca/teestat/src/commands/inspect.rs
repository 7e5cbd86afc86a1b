//! Looking into TAs and the kernel: `ta -v`, `maps`, `status`, `failures`, `history`.
//!
//! **Invariant:** a TA that is not loaded is answered with those that are.

use alloc::vec::Vec;

use tally_metrics::advice::advise;
use teec::ErrorKind;

use super::{Command, Form};
use crate::client::inspect::{self as client, Subject};
use crate::tool::{Failure, Tool, usage};
use crate::unfreed::Unfreed;
use crate::{STATUS_OK, json, text};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "maps",
        forms: &[Form(
            "[kernel|UUID|NAME]",
            "regions of memory: the kernel's and every TA's, or one's",
        )],
        words: super::A_TA,
        run: |tool, words| tool.maps(words),
    },
    Command {
        name: "status",
        forms: &[Form(
            "UUID|NAME",
            "a TA's status, here and on the secure console",
        )],
        words: super::A_TA,
        run: |tool, words| tool.status(words),
    },
    Command {
        name: "failures",
        forms: &[Form("", "the last refused allocations, of every pool")],
        words: &[],
        run: |tool, words| tool.failures(words),
    },
    Command {
        name: "history",
        forms: &[Form("", "what TAs used that have ended")],
        words: &[],
        run: |tool, words| tool.history(words),
    },
    Command {
        name: "advise",
        forms: &[Form(
            "",
            "sizes as they are, the most that was used, what to set",
        )],
        words: &[],
        run: |tool, words| tool.advise(words),
    },
];

impl Tool<'_, '_> {
    fn advise(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let pools = crate::client::pools(self.context)?;
        let tas = client::tas(self.context, &Subject::NOBODY)?;
        let (history, _) = client::history(self.context)?;
        let advice = advise(&pools, &tas, &history);
        if self.as_json {
            json::inspect::advice(self.out, &advice, self.names)?;
        } else {
            text::advice(self.out, &advice, self.names)?;
        }
        Ok(STATUS_OK)
    }

    fn failures(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let rows = client::failures(self.context)?;
        let mut named = Vec::new();
        for row in rows {
            let stack = self.name_frames(row.image, &row.frames);
            let tops = row.top.iter().take(row.tops as usize);
            let tops = tops
                .map(|top| self.name_frames(row.image, &top.frames))
                .map(|names| names.into_iter().next().unwrap_or_default())
                .collect();
            named.push((row, stack, tops));
        }
        if self.as_json {
            json::inspect::failures(self.out, &named, self.names)?;
        } else {
            text::failures::failures(self.out, &named, self.names)?;
        }
        Ok(STATUS_OK)
    }

    fn history(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let (rows, dropped) = client::history(self.context)?;
        let (sites, sites_dropped) = client::unfreed(self.context)?;
        let unfreed = Unfreed::of(&sites, sites_dropped, |row| {
            self.name_frames(row.uuid, &row.frames)
        });
        if self.as_json {
            json::history::history(self.out, &rows, dropped, &unfreed, self.names)?;
        } else {
            text::history::history(self.out, &rows, dropped, &unfreed, self.names)?;
        }
        Ok(STATUS_OK)
    }

    /// `ta -v` and `ta UUID|NAME`.
    pub(super) fn ta_whole(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let who = match words {
            ["-v"] => Subject::NOBODY,
            [who] => self.ta_subject(who)?,
            _ => return Err(usage("ta takes -v or the name of one TA")),
        };
        let tas = client::tas(self.context, &who).map_err(|error| self.about_ta(&who, error))?;
        if tas.is_empty() && who != Subject::NOBODY {
            return Err(self.not_there(&who));
        }
        if self.as_json {
            json::inspect::tas(self.out, &tas, self.names)?;
        } else {
            text::inspect::tas(self.out, &tas, self.names)?;
        }
        Ok(STATUS_OK)
    }

    fn maps(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let mut whose: Vec<Subject> = Vec::new();
        match words {
            [] => {
                whose.push(Subject::NOBODY);
                for ta in client::tas(self.context, &Subject::NOBODY)? {
                    whose.push(Subject::instance(ta.uuid, ta.instance));
                }
            }
            [who] => whose.push(self.subject(who)?),
            _ => return Err(usage("maps of whom?")),
        }
        let mut rows = Vec::new();
        for who in &whose {
            match client::regions(self.context, who) {
                Ok(regions) => rows.extend(regions),
                // One of all that has ended meanwhile.
                Err(_) if words.is_empty() && *who != Subject::NOBODY => {}
                Err(error) => return Err(self.about_ta(who, error)),
            }
        }
        if self.as_json {
            json::inspect::regions(self.out, &rows, self.names)?;
        } else {
            text::inspect::regions(self.out, &rows, self.names)?;
        }
        Ok(STATUS_OK)
    }

    fn status(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let [who] = words else {
            return Err(usage("status of which TA?"));
        };
        let uuid = self.ta_named(who)?;
        let who = Subject::ta(uuid);
        let told = |tool: &Self, error| tool.about_ta(&who, error);
        client::status_to_console(self.context, uuid).map_err(|error| told(self, error))?;
        let tas = client::tas(self.context, &who).map_err(|error| told(self, error))?;
        let mut first = true;
        for ta in &tas {
            let who = Subject::instance(ta.uuid, ta.instance);
            let sessions = client::sessions(self.context, &who);
            let sessions = sessions.map_err(|error| told(self, error))?;
            let regions = match client::regions(self.context, &who) {
                // It is dead, and has no memory.
                Err(error) if error.kind() == Some(ErrorKind::TargetDead) => Vec::new(),
                regions => regions.map_err(|error| told(self, error))?,
            };
            if self.as_json {
                self.out.write_str(if first { "{\"tas\":[" } else { "," })?;
                json::inspect::status(self.out, ta, &sessions, &regions, self.names)?;
            } else {
                if !first {
                    writeln!(self.out)?;
                }
                text::inspect::status(self.out, ta, &sessions, &regions)?;
            }
            first = false;
        }
        if self.as_json {
            writeln!(self.out, "]}}")?;
        }
        Ok(STATUS_OK)
    }
}
