//! Trusted storage: its caches, and what TAs have of it.

use tally_insight::answer;
use tally_insight::json::List;
use tally_insight::schema::{Answer, Schema};
use tally_records::{CacheRow, Selector, StorageRow};

use super::{Command, Form};
use crate::client;
use crate::tool::{Failure, Tool};
use crate::{STATUS_OK, text};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "storage",
    forms: &[Form(
        "",
        "trusted storage: caches, and what each TA has and asked of it",
    )],
    run: |tool, words| tool.storage(words),
}];

pub(super) const ANSWERS: &[Answer] = &[("storage", Storage::schema)];

answer! {
    /// Trusted storage.
    struct Storage<'a> {
        #[serde(flatten)]
        caches: List<'a, CacheRow>,
        #[serde(flatten)]
        storage: List<'a, StorageRow>,
    }
}

impl Tool<'_, '_> {
    fn storage(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words)?;
        let caches = client::rows::<CacheRow>(self.context, &Selector::ALL)?;
        let storage = client::rows::<StorageRow>(self.context, &Selector::ALL)?;
        let names = self.names;
        let answer = Storage {
            caches: List(&caches, names),
            storage: List(&storage, names),
        };
        self.tell(&answer, |out| {
            text::storage::storage(out, &caches, &storage, names)
        })?;
        Ok(STATUS_OK)
    }
}
