//! `leaks`: marks, and what was allocated since and is still there.
//!
//! **Invariant:** groups that read the same are one group.
//! **Knows nothing of:** how blocks are recorded.

use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::pta::memleak::LeakRecord;

use super::{Command, Form};
use crate::tool::{Failure, Tool, usage};
use crate::{STATUS_OK, client, json, text};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "leaks",
    forms: &[
        Form("mark", "set a mark and print its number"),
        Form(
            "diff [MARK]",
            "what was allocated since the mark (the last one) and is still there",
        ),
        Form("list", "every live block, by owner and call stack"),
    ],
    words: &["mark", "diff", "list"],
    run: |tool, words| tool.leaks(words),
}];

impl Tool<'_, '_> {
    fn leaks(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let mark = match words {
            ["mark"] => {
                let mark = client::mark(self.context)?;
                self.memory.last_mark = Some(mark);
                if self.as_json {
                    writeln!(self.out, "{{\"mark\":{mark}}}")?;
                } else {
                    writeln!(self.out, "mark {mark}")?;
                }
                return Ok(STATUS_OK);
            }
            ["list"] => 0,
            ["diff"] => self.memory.last_mark.ok_or_else(|| {
                Failure::Said(String::from(
                    "no mark is set; `teestat leaks mark` sets one",
                ))
            })?,
            ["diff", mark] => mark.parse().map_err(|_| {
                Failure::Usage(alloc::format!("`{mark}` is not the number of a mark"))
            })?,
            _ => return Err(usage("leaks mark, diff or list?")),
        };
        let (records, stacks) = self.named_leaks(mark)?;
        if self.as_json {
            json::leaks(self.out, mark, &records, &stacks, self.names)?;
        } else {
            text::leaks(self.out, mark, &records, &stacks, self.names)?;
        }
        Ok(STATUS_OK)
    }

    /// Leaks with named stacks. Groups that read the same (a loop that the compiler unrolled has
    /// several call sites in one line) become one.
    fn named_leaks(&self, mark: u32) -> Result<(Vec<LeakRecord>, Vec<Vec<String>>), Failure> {
        let mut records: Vec<LeakRecord> = Vec::new();
        let mut stacks: Vec<Vec<String>> = Vec::new();
        for record in client::leaks(self.context, mark, 0)? {
            let stack = self.name_frames(record.image, &record.frames);
            let same = records.iter_mut().zip(&stacks).find(|(other, others)| {
                let key = |r: &LeakRecord| (r.owner_kind, r.session, r.owner, r.label, r.image);
                key(other) == key(&record) && **others == stack
            });
            if let Some((other, _)) = same {
                other.bytes = other.bytes.saturating_add(record.bytes);
                other.blocks = other.blocks.saturating_add(record.blocks);
                if other.block_size != record.block_size {
                    other.block_size = 0;
                }
            } else {
                records.push(record);
                stacks.push(stack);
            }
        }
        Ok((records, stacks))
    }
}
