//! `watch`: a snapshot at the very moment that something happens to a TA.
//!
//! **Invariant:** a number that names nothing is answered with those that do.
//! **Knows nothing of:** how the moment is noticed.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use tally_abi::pta::watch::{SnapshotRow, trigger};

use super::{Command, Form};
use crate::client::{self, ClientError};
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_OK, json, text};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "watch",
    forms: &[
        Form(
            "UUID|NAME --on entry:COMMAND|exit:COMMAND|heap>BYTES|fail",
            "take a snapshot at that very moment, once",
        ),
        Form("list", "watchpoints, and the snapshots they took"),
        Form("show N", "what a snapshot says, in short"),
        Form("save N FILE", "a snapshot into a file"),
        Form("drop N", "forget a snapshot, or disarm a watchpoint"),
    ],
    words: super::A_TA,
    run: |tool, words| tool.watch(words),
}];

/// What a watchpoint waits for, as it is said: trigger and value.
fn condition(said: &str) -> Option<(u32, u32)> {
    if said == "fail" {
        return Some((trigger::FAILURE, 0));
    }
    let (kind, value) = match said.split_once(':') {
        Some(("entry", value)) => (trigger::ENTRY, value),
        Some(("exit", value)) => (trigger::EXIT, value),
        _ => (trigger::HEAP, said.strip_prefix("heap>")?),
    };
    Some((kind, value.parse().ok()?))
}

impl Tool<'_, '_> {
    fn watch(&mut self, words: &[&str]) -> Result<u8, Failure> {
        match words {
            ["list"] => {
                let rows = client::snapshots(self.context)?;
                if self.as_json {
                    json::snapshots(self.out, &rows, self.names)?;
                } else {
                    text::snapshots(self.out, &rows, self.names)?;
                }
            }
            ["show", number] => {
                let number = self.taken(number)?;
                self.show_snapshot(number)?;
            }
            ["save", number, path] => {
                let number = self.taken(number)?;
                let bytes = self.save_snapshot(number, path)?;
                self.saved(path, bytes)?;
            }
            ["drop", number] => {
                let number = self.numbered(number)?.number;
                client::drop_snapshot(self.context, number)?;
                if self.as_json {
                    writeln!(self.out, "{{\"dropped\":{number}}}")?;
                }
            }
            [who, "--on", said] => {
                let uuid = self.ta_named(who)?;
                let (kind, value) = condition(said).ok_or_else(|| {
                    usage(&alloc::format!(
                        "`{said}` is none of entry:COMMAND, exit:COMMAND, heap>BYTES and fail"
                    ))
                })?;
                let number = client::arm(self.context, uuid, kind, value)?;
                if self.as_json {
                    writeln!(self.out, "{{\"number\":{number}}}")?;
                } else {
                    writeln!(self.out, "watch {number}")?;
                }
            }
            _ => return Err(usage("watch what?")),
        }
        Ok(STATUS_OK)
    }

    /// The row of this number.
    fn numbered(&self, said: &str) -> Result<SnapshotRow, Failure> {
        let rows = client::snapshots(self.context)?;
        let number: Option<u32> = said.parse().ok();
        if let Some(row) = rows.iter().find(|row| Some(row.number) == number) {
            return Ok(*row);
        }
        let mut why = alloc::format!("there is no snapshot `{said}`");
        for (n, row) in rows.iter().enumerate() {
            let before = if n == 0 { "; there are " } else { ", " };
            // A string takes everything.
            let _ = write!(why, "{before}{}", row.number);
        }
        if rows.is_empty() {
            why.push_str(", nor any other");
        }
        Err(Failure::Said(why))
    }

    /// The number of a snapshot that can be read.
    fn taken(&self, said: &str) -> Result<u32, Failure> {
        let row = self.numbered(said)?;
        if row.state == tally_abi::pta::watch::state::TAKEN {
            return Ok(row.number);
        }
        Err(Failure::Said(alloc::format!(
            "snapshot {} is not taken: it is {}",
            row.number,
            text::snapshot_state(row.state)
        )))
    }

    fn show_snapshot(&mut self, number: u32) -> Result<(), Failure> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut room = true;
        client::read_snapshot(self.context, number, |piece| {
            room = bytes.try_reserve(piece.len()).is_ok();
            if room {
                bytes.extend_from_slice(piece);
            }
            room
        })?;
        if !room {
            return Err(ClientError::NoMemory.into());
        }
        let Some(snapshot) = text::Snapshot::parse(&bytes) else {
            return Err(Failure::Said(String::from(
                "the snapshot is not understood",
            )));
        };
        if self.as_json {
            json::snapshot(self.out, &snapshot, self.names)?;
        } else {
            text::snapshot(self.out, &snapshot, self.names)?;
            let subject = snapshot.header.subject;
            for record in snapshot.leaks().filter(|record| record.owner == subject) {
                writeln!(
                    self.out,
                    "\n{} bytes in {} blocks",
                    record.bytes, record.blocks
                )?;
                let stack = self.name_frames(record.image, &record.frames);
                for (depth, name) in stack.iter().enumerate() {
                    writeln!(self.out, "  #{depth} {name}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_understood_or_refused() {
        assert_eq!(condition("entry:7"), Some((trigger::ENTRY, 7)));
        assert_eq!(condition("exit:0"), Some((trigger::EXIT, 0)));
        assert_eq!(condition("heap>65536"), Some((trigger::HEAP, 65536)));
        assert_eq!(condition("fail"), Some((trigger::FAILURE, 0)));
        for said in [
            "", "entry", "entry:", "entry:x", "heap", "heap>", "heap<1", "fail:1",
        ] {
            assert_eq!(condition(said), None, "{said}");
        }
    }
}
