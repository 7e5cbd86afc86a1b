//! `watch`: a snapshot at the very moment that something happens to a TA.
//!
//! **Invariant:** a number that names nothing is answered with those that do.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use tally_records::Selector;

use tally_abi::TeeUuid;
use tally_abi::pta::watch::SLOTS;
use tally_insight::answer;
use tally_insight::json::{List, One};
use tally_insight::merged;
use tally_insight::schema::{Answer, Schema};
use tally_insight::snapshot::Snapshot;
use tally_records::snapshot::Header;
use tally_records::{SnapshotRow, snapshot_state, trigger, word};
use teec::ErrorKind;

use super::snapshot::Saved;
use super::{Command, Form};
use crate::STATUS_OK;
use crate::client::{self, ClientError};
use crate::size;
use crate::text;
use crate::text::Called;
use crate::tool::{Failure, Tool, usage};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "watch",
    forms: &[
        Form(
            "UUID|NAME --on entry:N|exit:N|heap>BYTES|fail",
            "take a snapshot at that very moment, once; N: a command's number; \
             BYTES as 64k or 4M; write 'heap>BYTES' in quotes where `>` would redirect",
        ),
        Form("list", "watchpoints, and the snapshots they took"),
        Form("show N", "what a snapshot says, in short"),
        Form("save N FILE", "a snapshot into a file"),
        Form("drop N", "forget a snapshot, or disarm a watchpoint"),
    ],
    run: |tool, words| tool.watch(words),
}];

/// What a watchpoint waits for, as it is said: trigger and value; or what is wrong with it.
fn condition(said: &str) -> Result<(u32, u32), String> {
    let number = |what: &str, value: &str| match size(value).map(u32::try_from) {
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => Err(format!(
            "`{value}` in `{said}` is above {}, the largest",
            u32::MAX
        )),
        None => Err(format!("`{value}` in `{said}` is no number: {what}")),
    };
    let command = "a command is told by its number";
    match said.split_once([':', '>']) {
        None if said == "fail" => Ok((trigger::FAILURE, 0)),
        Some(("entry", value)) if said.contains(':') => {
            Ok((trigger::ENTRY, number(command, value)?))
        }
        Some(("exit", value)) if said.contains(':') => Ok((trigger::EXIT, number(command, value)?)),
        Some(("heap", value)) if said.contains('>') => {
            Ok((trigger::HEAP, number("bytes of heap", value)?))
        }
        None if said == "heap" => Err(String::from(
            "`heap` lacks its bytes: 'heap>BYTES', in quotes where `>` would redirect",
        )),
        _ => Err(format!(
            "`{said}` is none of entry:N, exit:N, heap>BYTES and fail"
        )),
    }
}

/// What words that are no whole command lack.
fn what_is_missing(words: &[&str]) -> String {
    match words {
        [] => String::from("a TA with --on, or list, show, save or drop?"),
        [what @ ("show" | "save" | "drop")] => {
            format!("{what} which snapshot? `teestat watch list` has their numbers")
        }
        ["save", _] => String::from("into which file?"),
        [_] | [_, "--on"] => String::from("--on what? entry:N, exit:N, heap>BYTES or fail"),
        [_, "--on", _, word, ..]
        | ["list", word, ..]
        | ["show" | "drop", _, word, ..]
        | ["save", _, _, word, ..]
        | [_, word, ..] => format!("`{word}` is not understood here"),
    }
}

/// Where a snapshot is in its life.
fn state_word(row: &SnapshotRow) -> &'static str {
    word(snapshot_state::WORDS, row.state)
}

pub(super) const ANSWERS: &[Answer] = &[
    ("watch --on", Armed::schema),
    ("watch list", List::<SnapshotRow>::schema),
    ("watch show", Shown::schema),
    ("watch save", Saved::schema),
    ("watch drop", Dropped::schema),
];

answer! {
    /// A watchpoint that was armed.
    struct Armed {
        number: u32,
        loaded: bool,
    }

    /// A snapshot that was forgotten.
    struct Dropped {
        dropped: u32,
    }

    /// What a snapshot says, in short.
    struct Shown<'a> {
        #[serde(flatten)]
        header: One<'a, Header>,
        sections: Vec<Section>,
    }

    struct Section {
        section: &'static str,
        records: usize,
    }
}

/// There is nothing with this number; says which numbers there are, and what has them.
fn no_such(said: &str, rows: &[SnapshotRow]) -> String {
    let there: Vec<String> = rows
        .iter()
        .map(|row| format!("{} ({})", row.number, state_word(row)))
        .collect();
    let there = match there.len() {
        0 => String::from("there are none"),
        1 => format!("there is {}", there[0]),
        _ => format!("there are {}", there.join(", ")),
    };
    format!("there is neither a snapshot nor a watchpoint `{said}`; {there}")
}

impl Tool<'_, '_> {
    fn watch(&mut self, words: &[&str]) -> Result<u8, Failure> {
        match words {
            ["list"] => {
                let rows = client::rows::<SnapshotRow>(self.context, &Selector::ALL)?;
                let names = self.names;
                self.tell(&List(&rows, names), |out| {
                    text::snapshots(out, &rows, names)
                })?;
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
                self.tell(&Dropped { dropped: number }, |_| Ok(()))?;
            }
            [who, "--on", said] => {
                let uuid = self.ta_named(who)?;
                let (kind, value) = condition(said).map_err(Failure::Usage)?;
                let number = client::arm(self.context, uuid, kind, value);
                let number = number.map_err(|error| self.no_place(error))?;
                self.armed(number, uuid)?;
            }
            _ => return Err(usage(&what_is_missing(words))),
        }
        Ok(STATUS_OK)
    }

    /// Says that a watchpoint is armed, and whether its TA has still to come.
    fn armed(&mut self, number: u32, uuid: TeeUuid) -> Result<(), Failure> {
        let loaded = client::ta_stats(self.context)?;
        let is_loaded = loaded.iter().any(|ta| ta.uuid == uuid && ta.panicked == 0);
        let armed = Armed {
            number,
            loaded: is_loaded,
        };
        let name = Called(uuid, self.names);
        self.tell(&armed, |out| match is_loaded {
            true => writeln!(out, "watch {number}"),
            false => writeln!(out, "watch {number}, for when {name} is loaded"),
        })
    }

    /// Why there is no new snapshot or watchpoint: no place, or no memory.
    pub(super) fn no_place(&self, error: ClientError) -> Failure {
        if error.kind() != Some(ErrorKind::OutOfMemory) {
            return error.into();
        }
        match client::rows::<SnapshotRow>(self.context, &Selector::ALL) {
            Ok(rows) if rows.len() >= SLOTS => {
                let numbers: Vec<String> =
                    rows.iter().map(|row| format!("{}", row.number)).collect();
                Failure::Said(format!(
                    "all {SLOTS} places for snapshots and watchpoints are taken, by {}; `teestat watch \
                     drop N` frees one",
                    numbers.join(", ")
                ))
            }
            _ => error.into(),
        }
    }

    /// The row of this number.
    fn numbered(&self, said: &str) -> Result<SnapshotRow, Failure> {
        let rows = client::rows::<SnapshotRow>(self.context, &Selector::ALL)?;
        let number: Option<u32> = said.parse().ok();
        if let Some(row) = rows.iter().find(|row| Some(row.number) == number) {
            return Ok(*row);
        }
        Err(Failure::Said(no_such(said, &rows)))
    }

    /// The number of a snapshot that can be read.
    fn taken(&self, said: &str) -> Result<u32, Failure> {
        let row = self.numbered(said)?;
        if row.state == snapshot_state::TAKEN {
            return Ok(row.number);
        }
        Err(Failure::Said(format!(
            "watchpoint {} has no snapshot: it is {}",
            row.number,
            state_word(&row)
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
        let Ok(snapshot) = Snapshot::parse(&bytes) else {
            return Err(Failure::Said(String::from(
                "the snapshot is not understood",
            )));
        };
        let names = self.names;
        let counts = snapshot.counts().into_iter();
        let sections = counts.map(|(section, records)| Section { section, records });
        let answer = Shown {
            header: One(&snapshot.header, names),
            sections: sections.collect(),
        };
        let subject = snapshot.header.subject;
        let mut held = snapshot.live.clone();
        held.retain(|record| record.owner == subject);
        // Whichever session it was.
        held.iter_mut().for_each(|record| record.session = 0);
        let held = merged::live(names, &held);
        self.tell(&answer, |out| text::snapshot(out, &snapshot, &held, names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_understood_or_refused() {
        assert_eq!(condition("entry:7"), Ok((trigger::ENTRY, 7)));
        assert_eq!(condition("exit:0"), Ok((trigger::EXIT, 0)));
        assert_eq!(condition("heap>65536"), Ok((trigger::HEAP, 65536)));
        assert_eq!(condition("heap>64k"), condition("heap>65536"));
        assert_eq!(condition("fail"), Ok((trigger::FAILURE, 0)));
        for said in [
            "", "entry", "entry:", "entry:x", "entry>1", "heap", "heap>", "heap:1", "heap<1",
            "heap>4G", "fail:1",
        ] {
            assert!(condition(said).is_err(), "{said}");
        }
    }

    #[test]
    fn a_condition_that_is_none_is_told_why() {
        let why = |said| condition(said).err().unwrap_or_default();
        assert!(why("entry:alloc").contains("a command is told by its number"));
        // Bug: it was called no number.
        assert!(why("heap>4294967296").ends_with("is above 4294967295, the largest"));
        // What a shell leaves of an unquoted `heap>10`.
        assert!(why("heap").contains("in quotes"));
    }

    #[test]
    fn a_number_that_is_none_is_answered_with_what_the_others_are() {
        let row = |number, state| SnapshotRow {
            number,
            state,
            ..SnapshotRow::default()
        };
        let rows = [row(2, snapshot_state::ARMED), row(5, snapshot_state::TAKEN)];
        let why = |rows| no_such("77", rows);
        assert_eq!(
            why(&rows),
            "there is neither a snapshot nor a watchpoint `77`; there are 2 (armed), 5 (taken)"
        );
        assert!(why(&rows[1..]).ends_with("; there is 5 (taken)"));
        assert!(why(&[]).ends_with("`77`; there are none"));
    }

    #[test]
    fn what_a_command_lacks_is_named() {
        assert!(what_is_missing(&["show"]).starts_with("show which snapshot?"));
        assert!(what_is_missing(&["heap"]).starts_with("--on what?"));
        assert!(what_is_missing(&["save", "1"]).contains("file"));
        assert!(what_is_missing(&["drop", "1", "2"]).contains("`2`"));
    }
}
