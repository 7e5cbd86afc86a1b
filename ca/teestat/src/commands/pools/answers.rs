//! Answers about pools, for programs.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use tally_insight::answer;
use tally_insight::growth::Amount;
use tally_insight::json::{List, One, Rows, Ta};
use tally_insight::names::{Names, Stack};
use tally_insight::schema::{Answer, Schema, Value, object};
use tally_records::{BlockRow, ChunkRow, ClassRow, SiteRow, damage, word};

use crate::SlabNote;
use crate::text::pools::{ChunkTotals, note_of};
use tally_records::Selector;

/// The answers of this group.
pub(in crate::commands) const ANSWERS: &[Answer] = &[
    ("slabinfo", Classes::schema),
    ("allocinfo", Sites::schema),
    ("blocks", || {
        streamed("blocks", <Vec<Block<'_>>>::schema(), BlockTotals::schema())
    }),
    ("block", BlockWhole::schema),
    ("pool dump", || {
        streamed("chunks", Rows::<ChunkRow>::schema(), Chunks::schema())
    }),
    ("pool check", Checked::schema),
];

/// The schema of an answer with a list that is written item by item.
fn streamed(list: &str, items: Value, rest: Value) -> Value {
    object([(list, "", items), ("", "", rest)])
}

answer! {
    /// Whose pool an answer is about: an instance of a TA, or nobody, for the kernel heap.
    pub(super) struct Whose {
        #[serde(flatten)]
        pub(super) ta: Ta,
        pub(super) instance: Option<u32>,
    }
}

impl Whose {
    pub(super) fn new(who: &Selector, names: &dyn Names) -> Self {
        Self {
            ta: Ta::new(who.uuid, names),
            instance: who.instance_number(),
        }
    }
}

answer! {
    /// Size classes; with what changed since they were last asked for.
    pub(super) struct Classes<'a> {
        pub(super) classes: Vec<Class<'a>>,
        pub(super) compared: bool,
        #[serde(flatten)]
        pub(super) whose: Whose,
    }

    pub(super) struct Class<'a> {
        #[serde(flatten)]
        pub(super) row: One<'a, ClassRow>,
        pub(super) live_change: Option<i64>,
        pub(super) bytes_change: Option<i64>,
    }
}

impl<'a> Class<'a> {
    pub(super) fn new(
        row: &'a ClassRow,
        before: Option<&[SlabNote]>,
        names: &'a dyn Names,
    ) -> Self {
        let note = before.map(|before| note_of(before, row).copied().unwrap_or_default());
        Self {
            row: One(row, names),
            live_change: note.map(|note| i64::from(row.live) - i64::from(note.live)),
            bytes_change: note.map(|note| row.bytes.wrapping_sub(note.bytes).cast_signed()),
        }
    }
}

answer! {
    /// Call sites.
    pub(super) struct Sites<'a> {
        #[serde(flatten)]
        pub(super) rows: List<'a, SiteRow>,
        pub(super) all: usize,
        #[serde(flatten)]
        pub(super) whose: Whose,
    }

    /// A block of a list.
    pub(super) struct Block<'a> {
        #[serde(flatten)]
        pub(super) row: One<'a, BlockRow>,
        pub(super) allocated_at: &'a str,
    }

    /// What a list of blocks comes to.
    pub(super) struct BlockTotals {
        pub(super) count: u64,
        pub(super) bytes: u64,
        pub(super) left_out: Amount,
        #[serde(flatten)]
        pub(super) whose: Whose,
    }

    /// A block, and what is in it.
    pub(super) struct BlockWhole<'a> {
        #[serde(flatten)]
        pub(super) row: One<'a, BlockRow>,
        pub(super) byte: u64,
        pub(super) stack: &'a Stack,
        pub(super) content: Option<String>,
        #[serde(flatten)]
        pub(super) whose: Whose,
    }

    /// What a list of chunks comes to.
    pub(super) struct Chunks {
        pub(super) count: u64,
        #[serde(flatten)]
        pub(super) bytes: KindBytes,
        #[serde(flatten)]
        pub(super) whose: Whose,
    }

    /// What came of a check.
    pub(super) struct Checked {
        pub(super) sound: bool,
        pub(super) said: &'static str,
        pub(super) unit: Option<u32>,
        pub(super) offset: Option<u32>,
        #[serde(flatten)]
        pub(super) whose: Whose,
    }
}

/// Bytes of the chunks of each kind, as `free_bytes`.
#[derive(Serialize)]
pub(super) struct KindBytes(BTreeMap<String, u64>);

impl KindBytes {
    pub(super) fn new(totals: &ChunkTotals) -> Self {
        let key = |(kind, bytes)| (format!("{kind}_bytes"), bytes);
        Self(totals.by_kind().map(key).collect())
    }
}

impl Schema for KindBytes {
    fn schema() -> Value {
        let Self(kinds) = Self::new(&ChunkTotals::default());
        object(kinds.keys().map(|key| (key.as_str(), "", u64::schema())))
    }
}

impl Checked {
    pub(super) fn new(found: u32, at: u32, whose: Whose) -> Self {
        let is_unit = matches!(found, damage::UNIT | damage::UNJOINED);
        Self {
            sound: found == damage::NONE,
            said: word(damage::WORDS, found),
            unit: is_unit.then_some(at),
            offset: (found == damage::OVERRUN).then_some(at),
            whose,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use tally_abi::TeeUuid;
    use tally_insight::names::NoNames;

    #[test]
    fn a_damage_has_the_place_that_the_text_has() {
        let place = |found| {
            let whose = Whose::new(&Selector::KERNEL, &NoNames);
            let checked = Checked::new(found, 288, whose);
            (checked.sound, checked.unit, checked.offset)
        };
        assert_eq!(place(damage::OVERRUN), (false, None, Some(288)));
        assert_eq!(place(damage::UNIT), (false, Some(288), None));
        assert_eq!(place(damage::NONE), (true, None, None));
    }

    #[test]
    fn a_pool_of_a_ta_says_of_which_instance_it_is() {
        // Bug: of two instances, only the text said which one was meant.
        let who = Selector::instance(TeeUuid::from_u128(7), 3);
        let whose = Whose::new(&who, &NoNames);
        assert_eq!(whose.instance, Some(3));
        assert_eq!(whose.ta.uuid, Some(TeeUuid::from_u128(7).to_string()));
    }
}
