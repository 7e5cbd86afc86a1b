//! Looking into TAs and the kernel: `ta -v`, `maps`, `status`, `failures`, `history`.
//!
//! **Invariant:** a TA that is not loaded is answered with those that are.

use alloc::vec::Vec;
use tally_records::PoolRow;

use tally_insight::advice::{Advice, advise};
use tally_insight::answer;
use tally_insight::json::{List, Rows};
use tally_insight::merged;
use tally_insight::schema::{Answer, Schema};
use tally_records::{FailureRow, HistoryRow, RegionRow, SessionRow, TaDetail, UnfreedRow};
use teec::ErrorKind;

use super::{Command, Form};
use crate::client;
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_OK, text};
use tally_records::Selector;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "maps",
        forms: &[Form(
            "[kernel|UUID|NAME]",
            "regions of memory: the kernel's and every TA's, or one's",
        )],
        run: |tool, words| tool.maps(words),
    },
    Command {
        name: "status",
        forms: &[Form(
            "UUID|NAME",
            "a TA's status, here and on the secure console",
        )],
        run: |tool, words| tool.status(words),
    },
    Command {
        name: "failures",
        forms: &[Form("", "the last refused allocations, of every pool")],
        run: |tool, words| tool.failures(words),
    },
    Command {
        name: "history",
        forms: &[Form("", "what TAs used that have ended")],
        run: |tool, words| tool.history(words),
    },
    Command {
        name: "advise",
        forms: &[Form(
            "",
            "sizes as they are, the most that was used, what to set",
        )],
        run: |tool, words| tool.advise(words),
    },
];

pub(super) const ANSWERS: &[Answer] = &[
    ("ta -v", List::<TaDetail>::schema),
    ("maps", List::<RegionRow>::schema),
    ("status", Status::schema),
    ("failures", Failures::schema),
    ("history", History::schema),
    ("advise", List::<Advice>::schema),
];

answer! {
    /// Refused allocations.
    struct Failures<'a> {
        #[serde(flatten)]
        rows: List<'a, FailureRow>,
        forgotten: u64,
    }

    /// What TAs used that have ended, and what they had not freed.
    struct History<'a> {
        #[serde(flatten)]
        rows: List<'a, HistoryRow>,
        dropped: u32,
        unfreed: Rows<'a, UnfreedRow>,
        unfreed_dropped: u32,
    }

    /// The status of all instances of a TA.
    struct Status<'a> {
        arch: &'static str,
        #[serde(flatten)]
        tas: List<'a, TaDetail>,
        #[serde(flatten)]
        sessions: List<'a, SessionRow>,
        #[serde(flatten)]
        regions: List<'a, RegionRow>,
    }
}

impl Tool<'_, '_> {
    fn advise(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let pools = crate::client::rows::<PoolRow>(self.context, &Selector::ALL)?;
        let tas = client::rows::<TaDetail>(self.context, &Selector::TAS)?;
        let (history, _) = client::listed::<HistoryRow>(self.context, &Selector::ALL)?;
        let (advice, names) = (advise(&pools, &tas, &history), self.names);
        self.tell(&List(&advice, names), |out| {
            text::advice(out, &advice, names)
        })?;
        Ok(STATUS_OK)
    }

    fn failures(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let rows = client::rows::<FailureRow>(self.context, &Selector::ALL)?;
        let names = self.names;
        let answer = Failures {
            rows: List(&rows, names),
            forgotten: text::failures::forgotten(&rows),
        };
        self.tell(&answer, |out| text::failures::failures(out, &rows, names))?;
        Ok(STATUS_OK)
    }

    fn history(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let (rows, dropped) = client::listed::<HistoryRow>(self.context, &Selector::ALL)?;
        let (sites, unfreed_dropped) = client::listed::<UnfreedRow>(self.context, &Selector::ALL)?;
        let names = self.names;
        let places = merged::unfreed(names, &sites);
        let unfreed: Vec<UnfreedRow> = places.iter().map(|(row, _)| *row).collect();
        let answer = History {
            rows: List(&rows, names),
            dropped,
            unfreed: Rows(&unfreed, names),
            unfreed_dropped,
        };
        self.tell(&answer, |out| {
            text::history::history(out, &rows, dropped, &places, names)
        })?;
        Ok(STATUS_OK)
    }

    /// `ta -v` and `ta UUID|NAME`.
    pub(super) fn ta_whole(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let who = match words {
            ["-v"] => Selector::TAS,
            [who] => self.ta_subject(who)?,
            _ => return Err(usage("ta takes -v or the name of one TA")),
        };
        let tas = client::rows::<TaDetail>(self.context, &who)
            .map_err(|error| self.about_ta(&who, error))?;
        if tas.is_empty() && who != Selector::TAS {
            return Err(self.not_there(&who));
        }
        let names = self.names;
        self.tell(&List(&tas, names), |out| {
            text::inspect::tas(out, &tas, names)
        })?;
        Ok(STATUS_OK)
    }

    fn maps(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let mut whose: Vec<Selector> = Vec::new();
        match words {
            [] => {
                whose.push(Selector::KERNEL);
                for ta in client::rows::<TaDetail>(self.context, &Selector::TAS)? {
                    whose.push(Selector::instance(ta.uuid, ta.instance));
                }
            }
            [who] => whose.push(self.subject(who)?),
            _ => return Err(usage("maps of whom?")),
        }
        let mut rows = Vec::new();
        for who in &whose {
            match client::rows::<RegionRow>(self.context, who) {
                Ok(regions) => rows.extend(regions),
                // One of all that has ended meanwhile.
                Err(_) if words.is_empty() && *who != Selector::KERNEL => {}
                Err(error) => return Err(self.about_ta(who, error)),
            }
        }
        let names = self.names;
        self.tell(&List(&rows, names), |out| {
            text::inspect::regions(out, &rows, names)
        })?;
        Ok(STATUS_OK)
    }

    fn status(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let [who] = words else {
            return Err(usage("status of which TA?"));
        };
        let uuid = self.ta_named(who)?;
        let who = Selector::ta(uuid);
        let told = |tool: &Self, error| tool.about_ta(&who, error);
        client::status_to_console(self.context, uuid).map_err(|error| told(self, error))?;
        let tas =
            client::rows::<TaDetail>(self.context, &who).map_err(|error| told(self, error))?;
        let (mut all_sessions, mut all_regions) = (Vec::new(), Vec::new());
        for ta in &tas {
            let who = Selector::instance(ta.uuid, ta.instance);
            let sessions = client::rows::<SessionRow>(self.context, &who);
            all_sessions.extend(sessions.map_err(|error| told(self, error))?);
            match client::rows::<RegionRow>(self.context, &who) {
                // It is dead, and has no memory.
                Err(error) if error.kind() == Some(ErrorKind::TargetDead) => {}
                regions => all_regions.extend(regions.map_err(|error| told(self, error))?),
            }
        }
        let names = self.names;
        let answer = Status {
            arch: "aarch64",
            tas: List(&tas, names),
            sessions: List(&all_sessions, names),
            regions: List(&all_regions, names),
        };
        self.tell(&answer, |out| {
            text::inspect::status(out, &tas, &all_sessions, &all_regions)
        })?;
        Ok(STATUS_OK)
    }
}
