//! `ledger`: what each command of a TA costs.
//!
//! **Invariant:** figures that nobody asked to be kept are shown as not kept, not as zero.

use alloc::string::String;
use tally_records::Selector;

use tally_abi::TeeUuid;
use tally_abi::pta::audit::ledger;
use tally_insight::answer;
use tally_insight::json::{List, Ta};
use tally_insight::schema::{Answer, Schema};
use tally_records::CommandRow;
use teec::ErrorKind;

use super::{Command, Form};
use crate::text::Called;
use crate::tool::{Failure, Tool, named_once, usage};
use crate::{STATUS_OK, client, text};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "ledger",
    forms: &[
        Form(
            "UUID|NAME",
            "per command: calls, growth, peak heap, ticks; in detail also allocations and stack",
        ),
        Form(
            "UUID|NAME --detail",
            "look at this TA in detail from now on",
        ),
        Form("UUID|NAME --plain", "no more"),
        Form("UUID|NAME --clear", "begin anew"),
    ],
    run: |tool, words| tool.ledger(words),
}];

pub(super) const ANSWERS: &[Answer] = &[
    ("ledger", Ledger::schema),
    ("ledger --detail", Looked::schema),
];

answer! {
    /// How closely a TA is looked at from now on.
    struct Looked {
        #[serde(flatten)]
        ta: Ta,
        ledger: u32,
        loaded: bool,
    }

    /// What its commands cost.
    struct Ledger<'a> {
        #[serde(flatten)]
        rows: List<'a, CommandRow>,
        dropped: u32,
    }
}

impl Tool<'_, '_> {
    fn ledger(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let (who, option) = match words {
            [who] => (*who, None),
            [who, option] => (*who, Some(*option)),
            [] => return Err(usage("which TA?")),
            [_, _, more @ ..] => {
                super::no_more(more)?;
                return Err(usage("which TA?"));
            }
        };
        let uuid = self.ta_named(who)?;
        let what = match option {
            None => return self.ledger_of(uuid),
            Some("--detail") => ledger::DETAIL,
            Some("--plain") => ledger::PLAIN,
            Some("--clear") => ledger::CLEAR,
            Some(word) => {
                return Err(usage(&alloc::format!(
                    "`{word}` is not understood here; --detail, --plain and --clear are"
                )));
            }
        };
        client::set_ledger(self.context, uuid, what).map_err(|error| match error.kind() {
            Some(ErrorKind::OutOfMemory) => Failure::Said(String::from(
                "as many TAs as can be are looked at in detail already; `teestat ledger TA --plain` makes room",
            )),
            _ => error.into(),
        })?;
        let loaded = client::ta_stats(self.context)?;
        let is_loaded = loaded.iter().any(|ta| ta.uuid == uuid);
        let answer = Looked {
            ta: Ta::new(uuid, self.names),
            ledger: what,
            loaded: is_loaded,
        };
        let name = Called(uuid, self.names);
        self.tell(&answer, |out| match is_loaded {
            true => Ok(()),
            false => writeln!(out, "{name} is not loaded now"),
        })?;
        Ok(STATUS_OK)
    }

    fn ledger_of(&mut self, uuid: TeeUuid) -> Result<u8, Failure> {
        let of = Selector::ta(uuid);
        let (rows, dropped) = client::listed::<CommandRow>(self.context, &of)?;
        if rows.is_empty() {
            let called = client::rows::<CommandRow>(self.context, &Selector::ALL)?;
            let mut said = alloc::format!(
                "{} was not called yet, or not since its ledger was cleared",
                Called(uuid, self.names)
            );
            let others = called.iter().map(|row| row.uuid);
            let others = named_once(others.filter(|other| *other != uuid), self.names);
            if !others.is_empty() {
                said.push_str("; called were: ");
                said.push_str(&others.join(", "));
            }
            return Err(Failure::Said(said));
        }
        let names = self.names;
        let answer = Ledger {
            rows: List(&rows, names),
            dropped,
        };
        self.tell(&answer, |out| text::commands(out, &rows, dropped, names))?;
        Ok(STATUS_OK)
    }
}
