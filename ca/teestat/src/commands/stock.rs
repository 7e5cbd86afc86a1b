//! Commands of `xtest --stats`: `alloc`, `ta`, `memleak`, `pager`, `time`.
//!
//! **Invariant:** without options the text is xtest's, byte for byte; of `memleak` xtest says nothing, and this
//! tool where the list is.

use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::pta::stats::AllocStats;
use tally_insight::answer;
use tally_insight::json::{One, Ta};
use tally_insight::names::{Names, printable};
use tally_insight::schema::{Answer, Schema};

use super::{Command, Form, Nothing};
use crate::tool::{Failure, Tool};
use crate::{STATUS_OK, client, text};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "alloc",
        forms: &[Form("", "statistics of the kernel's pools")],
        run: |tool, words| tool.alloc(words),
    },
    Command {
        name: "ta",
        forms: &[
            Form("", "loaded TAs: sessions and heaps"),
            Form("-v", "each loaded TA whole"),
            Form("UUID|NAME[#INSTANCE]", "one TA whole"),
        ],
        run: |tool, words| tool.ta(words),
    },
    Command {
        name: "memleak",
        forms: &[Form(
            "",
            "list the kernel's live blocks on the secure console",
        )],
        run: |tool, words| tool.memleak(words),
    },
    Command {
        name: "pager",
        forms: &[Form("", "pager statistics")],
        run: |tool, words| tool.pager(words),
    },
    Command {
        name: "time",
        forms: &[Form("", "time of both worlds")],
        run: |tool, words| tool.time(words),
    },
];

pub(super) const ANSWERS: &[Answer] = &[
    ("alloc", Pools::schema),
    ("ta", Tas::schema),
    ("memleak", Nothing::schema),
    ("pager", client::Pager::schema),
    ("time", client::Times::schema),
];

answer! {
    /// Statistics of the kernel's pools.
    struct Pools<'a> {
        alloc: Vec<Pool<'a>>,
    }

    /// A pool by the name that OP-TEE gives it.
    struct Pool<'a> {
        pool: String,
        #[serde(flatten)]
        figures: One<'a, AllocStats>,
    }
}

impl<'a> Pool<'a> {
    fn new(pool: &'a AllocStats, names: &'a dyn Names) -> Self {
        Self {
            pool: printable(&pool.desc),
            figures: One(pool, names),
        }
    }
}

answer! {
    /// Loaded TAs.
    struct Tas<'a> {
        ta: Vec<OneTa<'a>>,
    }

    struct OneTa<'a> {
        #[serde(flatten)]
        ta: Ta,
        panicked: u32,
        sessions: u32,
        heap: Pool<'a>,
    }
}

impl Tool<'_, '_> {
    fn alloc(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let stats = client::alloc_stats(self.context)?;
        let pools = stats.iter().map(|pool| Pool::new(pool, self.names));
        let answer = Pools {
            alloc: pools.collect(),
        };
        self.tell(&answer, |out| text::alloc(out, &stats))?;
        Ok(STATUS_OK)
    }

    fn ta(&mut self, words: &[&str]) -> Result<u8, Failure> {
        if !words.is_empty() {
            return self.ta_whole(words);
        }
        let stats = client::ta_stats(self.context)?;
        let tas = stats.iter().map(|ta| OneTa {
            ta: Ta::new(ta.uuid, self.names),
            panicked: ta.panicked,
            sessions: ta.sess_num,
            heap: Pool::new(&ta.heap, self.names),
        });
        let answer = Tas { ta: tas.collect() };
        self.tell(&answer, |out| text::ta(out, &stats))?;
        Ok(STATUS_OK)
    }

    fn memleak(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        client::memleak_to_console(self.context)?;
        self.tell(&Nothing {}, |out| out.write_str(text::MEMLEAK))?;
        Ok(STATUS_OK)
    }

    fn pager(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let pager = client::pager(self.context)?;
        self.tell(&pager, |out| text::pager(out, &pager))?;
        Ok(STATUS_OK)
    }

    fn time(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let times = client::times(self.context)?;
        self.tell(&times, |out| text::times(out, &times))?;
        Ok(STATUS_OK)
    }
}
