//! `audit`: what is mapped, registered or opened and not undone, and what was done in the wrong order.
//!
//! **Invariant:** every call stack is named as far as names are known.

use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_records::Stack;

use super::{Command, Form};
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_OK, client, json, text};

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
    words: &["--events"],
    run: |tool, words| tool.audit(words),
}];

/// A call stack with names: the TA's frames, then the kernel's.
pub(crate) struct NamedStack {
    pub(crate) ta: Vec<String>,
    pub(crate) kernel: Vec<String>,
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
        let rows = client::held(self.context)?;
        let stacks: Vec<NamedStack> = rows
            .iter()
            .map(|row| self.name_stack(row.who.ta, &row.stack))
            .collect();
        if self.as_json {
            json::held(self.out, &rows, &stacks, self.names)?;
        } else {
            text::held(self.out, &rows, &stacks, self.names)?;
        }
        Ok(STATUS_OK)
    }

    fn audit_events(&mut self) -> Result<u8, Failure> {
        let totals = client::audit_totals(self.context)?;
        let rows = client::audit_events(self.context)?;
        let stacks: Vec<[NamedStack; 2]> = rows
            .iter()
            .map(|row| [&row.stack, &row.earlier].map(|stack| self.name_stack(row.who.ta, stack)))
            .collect();
        if self.as_json {
            json::events(self.out, &totals, &rows, &stacks, self.names)?;
        } else {
            text::events(self.out, &totals, &rows, &stacks, self.names)?;
        }
        Ok(STATUS_OK)
    }

    fn name_stack(&self, ta: TeeUuid, stack: &Stack) -> NamedStack {
        NamedStack {
            ta: self.name_frames(ta, &stack.ta),
            kernel: self.name_frames(TeeUuid::nil(), &stack.kernel),
        }
    }
}
