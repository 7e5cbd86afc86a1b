//! `ledger`: what each command of a TA costs.
//!
//! **Invariant:** figures that nobody asked to be kept are shown as not kept, not as zero.

use alloc::string::String;

use tally_abi::TeeUuid;
use tally_abi::pta::audit::ledger;
use teec::ErrorKind;

use super::{Command, Form};
use crate::text::Named;
use crate::tool::{Failure, Tool, named_once, usage};
use crate::{STATUS_OK, client, json, text};

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
    words: super::A_TA,
    run: |tool, words| tool.ledger(words),
}];

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
        if self.as_json {
            writeln!(
                self.out,
                "{{\"uuid\":\"{uuid}\",\"ledger\":{what},\"loaded\":{is_loaded}}}"
            )?;
        } else if !is_loaded {
            writeln!(self.out, "{} is not loaded now", Named(uuid, self.names))?;
        }
        Ok(STATUS_OK)
    }

    fn ledger_of(&mut self, uuid: TeeUuid) -> Result<u8, Failure> {
        let rows = client::commands(self.context, uuid)?;
        let dropped = client::audit_totals(self.context)?.commands_dropped;
        if rows.is_empty() {
            let called = client::commands(self.context, TeeUuid::nil())?;
            let mut said = alloc::format!(
                "{} was not called yet, or not since its ledger was cleared",
                Named(uuid, self.names)
            );
            let others = called.iter().map(|row| row.uuid);
            let others = named_once(others.filter(|other| *other != uuid), self.names);
            if !others.is_empty() {
                said.push_str("; called were: ");
                said.push_str(&others.join(", "));
            }
            return Err(Failure::Said(said));
        }
        if self.as_json {
            json::commands(self.out, &rows, dropped, self.names)?;
        } else {
            text::commands(self.out, &rows, dropped, self.names)?;
        }
        Ok(STATUS_OK)
    }
}
