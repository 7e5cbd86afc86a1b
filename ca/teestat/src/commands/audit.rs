//! `audit`: what is mapped, registered or opened and not undone, and what was done in the wrong
//! order.
//!
//! **Invariant:** every call stack is named as far as names are known.

use tally_insight::answer;
use tally_insight::json::List;
use tally_insight::schema::{Answer, Schema};
use tally_records::EventRow;
use tally_records::HeldRow;
use tally_records::Selector;

use super::{Command, Form};
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_OK, client, text};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "audit",
    forms: &[
        Form(
            "",
            "what each session mapped, registered or opened and has not undone",
        ),
        Form(
            "--events",
            "what was done in the wrong order, by whom and where",
        ),
    ],
    run: |tool, words| tool.audit(words),
}];

pub(super) const ANSWERS: &[Answer] = &[
    ("audit", List::<HeldRow>::schema),
    ("audit --events", Events::schema),
];

answer! {
    /// What was done in the wrong order.
    struct Events<'a> {
        #[serde(flatten)]
        rows: List<'a, EventRow>,
        total: u32,
        dropped: u32,
        stacks_dropped: u32,
    }
}

impl Tool<'_, '_> {
    fn audit(&mut self, words: &[&str]) -> Result<u8, Failure> {
        match words {
            [] => self.audit_held(),
            ["--events"] => self.audit_events(),
            ["--events", more @ ..] => {
                super::no_more(more)?;
                self.audit_events()
            }
            [word, ..] => Err(usage(&alloc::format!(
                "`{word}` is not understood here; --events is"
            ))),
        }
    }

    fn audit_held(&mut self) -> Result<u8, Failure> {
        let rows = client::rows::<HeldRow>(self.context, &Selector::ALL)?;
        let names = self.names;
        self.tell(&List(&rows, names), |out| text::held(out, &rows, names))?;
        Ok(STATUS_OK)
    }

    fn audit_events(&mut self) -> Result<u8, Failure> {
        let totals = client::audit_totals(self.context)?;
        let rows = client::rows::<EventRow>(self.context, &Selector::ALL)?;
        let names = self.names;
        let answer = Events {
            rows: List(&rows, names),
            total: totals.events,
            dropped: totals.dropped,
            stacks_dropped: totals.stacks_dropped,
        };
        self.tell(&answer, |out| text::events(out, &totals, &rows, names))?;
        Ok(STATUS_OK)
    }
}
