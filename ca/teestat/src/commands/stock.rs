//! Commands of `xtest --stats`: `alloc`, `ta`, `memleak`, `pager`, `time`.
//!
//! **Invariant:** without options the text is xtest's, byte for byte.

use super::{Command, Form};
use crate::tool::{Failure, Tool};
use crate::{STATUS_OK, client, json, text};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "alloc",
        forms: &[Form("", "statistics of the kernel's pools")],
        words: &[],
        run: |tool, words| tool.alloc(words),
    },
    Command {
        name: "ta",
        forms: &[
            Form("", "loaded TAs: sessions and heaps"),
            Form("-v", "each loaded TA whole"),
            Form("UUID|NAME[#INSTANCE]", "one TA whole"),
        ],
        words: super::A_TA,
        run: |tool, words| tool.ta(words),
    },
    Command {
        name: "memleak",
        forms: &[Form(
            "",
            "list the kernel's live blocks on the secure console",
        )],
        words: &[],
        run: |tool, words| tool.memleak(words),
    },
    Command {
        name: "pager",
        forms: &[Form("", "pager statistics")],
        words: &[],
        run: |tool, words| tool.pager(words),
    },
    Command {
        name: "time",
        forms: &[Form("", "time of both worlds")],
        words: &[],
        run: |tool, words| tool.time(words),
    },
];

impl Tool<'_, '_> {
    fn alloc(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let stats = client::alloc_stats(self.context)?;
        if self.as_json {
            json::alloc(self.out, &stats)?;
        } else {
            text::alloc(self.out, &stats)?;
        }
        Ok(STATUS_OK)
    }

    fn ta(&mut self, words: &[&str]) -> Result<u8, Failure> {
        if !words.is_empty() {
            return self.ta_whole(words);
        }
        let stats = client::ta_stats(self.context)?;
        if self.as_json {
            json::ta(self.out, &stats, self.names)?;
        } else {
            text::ta(self.out, &stats)?;
        }
        Ok(STATUS_OK)
    }

    fn memleak(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        client::memleak_to_console(self.context)?;
        if self.as_json {
            writeln!(self.out, "{{}}")?;
        }
        Ok(STATUS_OK)
    }

    fn pager(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let pager = client::pager(self.context)?;
        if self.as_json {
            json::pager(self.out, &pager)?;
        } else {
            text::pager(self.out, &pager)?;
        }
        Ok(STATUS_OK)
    }

    fn time(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let times = client::times(self.context)?;
        if self.as_json {
            json::times(self.out, &times)?;
        } else {
            text::times(self.out, &times)?;
        }
        Ok(STATUS_OK)
    }
}
