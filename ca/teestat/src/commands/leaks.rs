//! `leaks`: marks, what was allocated between them and is still there, and what nothing points to.
//!
//! **Invariant:** groups that read the same are one group; an unknown mark or TA is answered with
//! those that there are.

use alloc::format;
use alloc::vec::Vec;
use tally_records::TaDetail;

use tally_abi::TeeUuid;
use tally_insight::answer;
use tally_insight::cycles::{Growth, Place};
use tally_insight::growth::Amount;
use tally_insight::json::{List, One, Rows, Ta};
use tally_insight::merged;
use tally_insight::names::{Names, Stack};
use tally_insight::schema::{Answer, Schema};
use tally_records::{EndedRow, LeakRecord, MarkRow, ScanRow, SuspectRow, consistency, state};
use teec::ErrorKind;

use super::{Command, Form};
use crate::client::leaks as calls;
use crate::marks::Marks;
use crate::text::Count;
use crate::tool::{Failure, Tool, is_gone, usage};
use crate::{STATUS_OK, client, text};
use tally_records::Selector;

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "leaks",
    forms: &[
        Form(
            "mark [NAME]",
            "set a mark and print its number (scans take numbers, too)",
        ),
        Form("marks", "the marks that are set"),
        Form(
            "diff [A [B]]",
            "what was allocated since mark A (the last one), before mark B, and is still there; \
             per cycle if there are marks between",
        ),
        Form("list", "every live block, by owner and call stack"),
        Form(
            "scan [kernel|UUID|NAME]",
            "look for blocks that nothing points to",
        ),
        Form(
            "show [kernel|UUID|NAME]",
            "what scans found that is still there",
        ),
        Form(
            "clear [kernel|UUID|NAME]",
            "hide what was found so far, to see what comes",
        ),
        Form(
            "ta UUID|NAME",
            "a TA's live blocks, and those nothing points to",
        ),
    ],
    run: |tool, words| tool.leaks(words),
}];

pub(super) const ANSWERS: &[Answer] = &[
    ("leaks mark", Marked::schema),
    ("leaks marks", Known::schema),
    ("leaks diff", Grown::schema),
    ("leaks list", Grown::schema),
    ("leaks scan", List::<ScanRow>::schema),
    ("leaks show", List::<SuspectRow>::schema),
    ("leaks clear", Cleared::schema),
    ("leaks ta", OfTa::schema),
];

answer! {
    /// A mark that was set.
    struct Marked<'a> {
        mark: u32,
        name: &'a str,
    }

    /// The marks that are set.
    struct Known<'a> {
        #[serde(flatten)]
        marks: List<'a, MarkRow>,
        dropped: u32,
    }

    /// What is live, or grew between two marks.
    struct Grown<'a> {
        leaks: Vec<Leak<'a>>,
        mark: u32,
        until: u32,
        cycles: usize,
        total: Amount,
        ended: Rows<'a, EndedRow>,
        ended_dropped: u32,
        inconsistent: Vec<Unreadable>,
        left_out: Amount,
    }

    /// An owner and a call stack, and what they leave.
    struct Leak<'a> {
        #[serde(flatten)]
        record: One<'a, LeakRecord>,
        bytes_before: u64,
        cycles: &'a [Amount],
        steady: bool,
    }

    /// An instance of whose heap nothing can be told.
    struct Unreadable {
        #[serde(flatten)]
        ta: Ta,
        instance: u32,
    }
}

impl<'a> Grown<'a> {
    fn new(growth: &'a Growth, names: &'a dyn Names) -> Self {
        let number = |mark: &Option<MarkRow>| mark.map_or(0, |mark| mark.number);
        let leak = |place: &'a Place| Leak {
            record: One(&place.record, names),
            bytes_before: place.before.bytes,
            cycles: &place.cycles,
            steady: place.steady().is_some(),
        };
        let unreadable = growth.unreadable.iter().map(|(uuid, instance)| Unreadable {
            ta: Ta::new(*uuid, names),
            instance: *instance,
        });
        Self {
            leaks: growth.places.iter().map(leak).collect(),
            mark: number(&growth.from),
            until: number(&growth.until),
            cycles: growth.cycles,
            total: growth.total(),
            ended: Rows(&growth.ended, names),
            ended_dropped: growth.ended_dropped,
            inconsistent: unreadable.collect(),
            left_out: growth.left_out,
        }
    }
}

answer! {
    /// All of a TA.
    struct OfTa<'a> {
        #[serde(flatten)]
        live: Grown<'a>,
        #[serde(flatten)]
        scans: List<'a, ScanRow>,
        #[serde(flatten)]
        suspects: List<'a, SuspectRow>,
    }

    /// Blocks that were hidden.
    struct Cleared {
        cleared: u32,
    }
}

/// Complains about the first of words that a command does not take.
fn too_much(words: &[&str]) -> Failure {
    let word = words.first().copied().unwrap_or_default();
    usage(&format!("`{word}` is too much"))
}

impl Tool<'_, '_> {
    fn leaks(&mut self, words: &[&str]) -> Result<u8, Failure> {
        match words {
            ["mark"] => self.mark(""),
            ["mark", name] => self.mark(name),
            ["mark", _, word, ..] => Err(usage(&format!(
                "a mark's name is one word; `{word}` is too much"
            ))),
            ["marks"] => self.marks(),
            ["list"] => self.live(),
            ["diff"] => {
                let marks = self.known_marks()?;
                let from = *marks.last().map_err(Failure::Said)?;
                self.diff(&marks, from, None)
            }
            ["diff", from] => {
                let marks = self.known_marks()?;
                let from = *marks.named(from).map_err(Failure::Said)?;
                self.diff(&marks, from, None)
            }
            ["diff", from, until] => {
                let marks = self.known_marks()?;
                let from = *marks.named(from).map_err(Failure::Said)?;
                let until = *marks.named(until).map_err(Failure::Said)?;
                if until.number <= from.number {
                    return Err(usage("the second mark must be younger than the first"));
                }
                self.diff(&marks, from, Some(until))
            }
            ["scan", which @ ..] => {
                let heaps = self.heaps(which)?;
                self.scan(&heaps)
            }
            ["show", which @ ..] => {
                let heaps = self.heaps(which)?;
                self.show(&heaps)
            }
            ["clear", which @ ..] => {
                let heaps = self.heaps(which)?;
                self.clear(&heaps)
            }
            ["ta", who] => {
                let uuid = self.ta_named(who)?;
                self.leaks_of(uuid)
            }
            ["ta"] => Err(usage("leaks of which TA?")),
            ["marks" | "list" | "ta", more @ ..] => {
                let taken = usize::from(words[0] == "ta");
                Err(too_much(&more[taken..]))
            }
            ["diff", _, _, more @ ..] => Err(too_much(more)),
            [] => Err(usage(
                "leaks mark, marks, diff, list, scan, show, clear or ta?",
            )),
            [word, ..] => Err(usage(&format!(
                "`{word}` is none of mark, marks, diff, list, scan, show, clear and ta"
            ))),
        }
    }

    fn mark(&mut self, name: &str) -> Result<u8, Failure> {
        if name.starts_with('-') {
            return Err(usage(&format!(
                "`{name}` is no option here, and no mark's name begins with `-`"
            )));
        }
        if name.parse::<u32>().is_ok() {
            return Err(usage(&format!(
                "`{name}` is no name for a mark: numbers are those that marks have by themselves"
            )));
        }
        let number = match calls::mark(self.context, name) {
            Ok(number) => number,
            Err(error) if error.kind() == Some(ErrorKind::BadParameters) => {
                return Err(Failure::Usage(format!(
                    "`{name}` is no name for a mark: at most 15 visible ASCII characters"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        self.memory.last_mark = Some(number);
        let mark = Marked { mark: number, name };
        self.tell(&mark, |out| match name {
            "" => writeln!(out, "mark {number}"),
            name => writeln!(out, "mark {number} `{name}`"),
        })?;
        Ok(STATUS_OK)
    }

    fn known_marks(&self) -> Result<Marks, Failure> {
        let (marks, dropped) = client::listed::<MarkRow>(self.context, &Selector::ALL)?;
        Ok(Marks(marks, dropped))
    }

    fn marks(&mut self) -> Result<u8, Failure> {
        let (marks, dropped) = client::listed::<MarkRow>(self.context, &Selector::ALL)?;
        let answer = Known {
            marks: List(&marks, self.names),
            dropped,
        };
        self.tell(&answer, |out| text::leaks::marks(out, &marks, dropped))?;
        Ok(STATUS_OK)
    }

    /// Every live block, of all TAs and the kernel.
    fn live(&mut self) -> Result<u8, Failure> {
        let mut growth = self.growth(&[], (None, None), &Selector::ALL)?;
        let of_kernel = growth.of_image(TeeUuid::nil());
        growth.left_out = self.left_out(of_kernel)?;
        self.print_growth(&growth)?;
        Ok(STATUS_OK)
    }

    fn diff(
        &mut self,
        marks: &Marks,
        from: MarkRow,
        until: Option<MarkRow>,
    ) -> Result<u8, Failure> {
        let end = until.map_or(0, |mark| mark.number);
        let cycles = marks.between(from.number, end);
        let mut growth = self.growth(&cycles, (Some(from), until), &Selector::ALL)?;
        let since = Selector::ALL.since(from.number);
        let (ended, dropped) = client::listed::<EndedRow>(self.context, &since)?;
        growth.ended = ended;
        growth.ended.retain(|row| end == 0 || row.mark < end);
        growth.ended_dropped = dropped;
        self.print_growth(&growth)?;
        Ok(STATUS_OK)
    }

    /// Asks for what is live, once, and puts it into cycles by the marks that blocks carry.
    fn growth(
        &self,
        cycles: &[u32],
        (from, until): (Option<MarkRow>, Option<MarkRow>),
        of: &Selector,
    ) -> Result<Growth, Failure> {
        let mut growth = Growth {
            from,
            until,
            cycles: cycles.len().max(1),
            ..Growth::default()
        };
        let end = until.map_or(u32::MAX, |mark| mark.number);
        let first = from.map_or(0, |mark| mark.number);
        for record in calls::live(self.context, of)? {
            if record.mark >= end {
                continue;
            }
            let begun = cycles.iter().filter(|begin| **begin <= record.mark).count();
            let cycle = (record.mark >= first).then(|| begun.saturating_sub(1));
            growth.add(record, Stack::of(self.names, &record), cycle);
        }
        growth.sort();
        growth.unreadable = self.unreadable(of)?;
        Ok(growth)
    }

    /// Instances whose heaps cannot be read, of one TA or of all.
    fn unreadable(&self, of: &Selector) -> Result<Vec<(TeeUuid, u32)>, Failure> {
        let mut tas = match client::rows::<TaDetail>(self.context, of) {
            Err(error) if is_gone(&error) => Vec::new(),
            tas => tas?,
        };
        tas.retain(|ta| {
            ta.heap.inconsistent == consistency::INCONSISTENT && ta.state != state::DEAD
        });
        Ok(tas.iter().map(|ta| (ta.uuid, ta.instance)).collect())
    }

    fn print_growth(&mut self, growth: &Growth) -> Result<(), Failure> {
        let names = self.names;
        self.tell(&Grown::new(growth, names), |out| {
            text::leaks::growth(out, growth, names)
        })
    }

    /// The heaps that are meant: one, or the kernel's and those of all loaded TAs.
    fn heaps(&self, which: &[&str]) -> Result<Selector, Failure> {
        match which {
            [] => Ok(Selector::ALL),
            ["kernel"] => Ok(Selector::KERNEL),
            [who] => self.ta_named(who).map(Selector::ta),
            [_, word, ..] => Err(usage(&format!("`{word}` is not understood here"))),
        }
    }

    fn scanned(&self, of: &Selector) -> Result<Vec<ScanRow>, Failure> {
        calls::scan(self.context, of).map_err(|error| self.about_ta(of, error))
    }

    fn found(&self, of: &Selector) -> Result<merged::Rows<SuspectRow>, Failure> {
        let rows = client::rows::<SuspectRow>(self.context, of);
        let rows = rows.map_err(|error| self.about_ta(of, error))?;
        Ok(merged::suspects(self.names, &rows))
    }

    fn scan(&mut self, of: &Selector) -> Result<u8, Failure> {
        let rows = self.scanned(of)?;
        let names = self.names;
        self.tell(&List(&rows, names), |out| {
            text::leaks::scans(out, &rows, names)?;
            match &rows[..] {
                [] => text::leaks::no_heap(out, of.uuid, names),
                _ => Ok(()),
            }
        })?;
        Ok(STATUS_OK)
    }

    fn show(&mut self, of: &Selector) -> Result<u8, Failure> {
        let found = self.found(of)?;
        let names = self.names;
        let rows: Vec<SuspectRow> = found.iter().map(|(row, _)| *row).collect();
        self.tell(&List(&rows, names), |out| {
            text::leaks::suspects(out, &found, names)
        })?;
        Ok(STATUS_OK)
    }

    fn clear(&mut self, of: &Selector) -> Result<u8, Failure> {
        let cleared = calls::clear(self.context, of);
        let cleared = cleared.map_err(|error| self.about_ta(of, error))?;
        let hidden = Count(cleared.into(), "block");
        self.tell(&Cleared { cleared }, |out| writeln!(out, "{hidden} hidden"))?;
        Ok(STATUS_OK)
    }

    /// `leaks ta`: all live blocks, a scan, and what it found.
    fn leaks_of(&mut self, uuid: TeeUuid) -> Result<u8, Failure> {
        let of = Selector::ta(uuid);
        let growth = self.growth(&[], (None, None), &of);
        let growth = match growth {
            Err(Failure::Client(error)) if is_gone(&error) => {
                return Err(self.not_there(&of));
            }
            growth => growth?,
        };
        let rows = self.scanned(&of)?;
        let found = self.found(&of)?;
        let names = self.names;
        let suspects: Vec<SuspectRow> = found.iter().map(|(row, _)| *row).collect();
        let answer = OfTa {
            live: Grown::new(&growth, names),
            scans: List(&rows, names),
            suspects: List(&suspects, names),
        };
        self.tell(&answer, |out| {
            text::leaks::ta(out, &growth, &rows, &found, names)
        })?;
        Ok(STATUS_OK)
    }
}
