//! `snapshot`: the whole account at one moment, as one file.
//!
//! **Invariant:** what cannot be written whole is said; the kernel keeps no snapshot either way.

use alloc::string::String;

use tally_insight::answer;
use tally_insight::schema::{Answer, Schema};

use super::{Command, Form};
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_OK, client};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "snapshot",
    forms: &[Form(
        "FILE",
        "the whole account at this moment, into a file",
    )],
    run: |tool, words| tool.snapshot(words),
}];

pub(super) const ANSWERS: &[Answer] = &[("snapshot", Saved::schema)];

answer! {
    /// A snapshot in a file.
    pub(super) struct Saved<'a> {
        file: &'a str,
        bytes: usize,
    }
}

impl Tool<'_, '_> {
    fn snapshot(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let path = match words {
            [path] => *path,
            [] => return Err(usage("which file?")),
            [_, more @ ..] => {
                super::no_more(more)?;
                return Err(usage("one file"));
            }
        };
        let taken = client::take_snapshot(self.context);
        let (number, _) = taken.map_err(|error| self.no_place(error))?;
        let saved = self.save_snapshot(number, path);
        let dropped = client::drop_snapshot(self.context, number);
        let bytes = saved?;
        dropped?;
        self.saved(path, bytes)?;
        Ok(STATUS_OK)
    }

    /// Says that a snapshot is in a file.
    pub(super) fn saved(&mut self, path: &str, bytes: usize) -> Result<(), Failure> {
        let saved = Saved { file: path, bytes };
        self.tell(&saved, |out| writeln!(out, "{bytes} bytes in {path}"))
    }

    /// Writes snapshot `number` into a file; its bytes.
    pub(super) fn save_snapshot(&self, number: u32, path: &str) -> Result<usize, Failure> {
        let mut file = self.files.create(path).map_err(Failure::Said)?;
        let mut failed: Option<String> = None;
        let bytes = client::read_snapshot(self.context, number, |piece| {
            failed = file.write(piece).err();
            failed.is_none()
        })?;
        match failed {
            None => Ok(bytes),
            Some(why) => Err(Failure::Said(why)),
        }
    }
}
