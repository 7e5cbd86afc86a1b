//! A snapshot, and what grew between two, as objects.
//!
//! **Invariant:** every list is there, empty or not; rows that read the same are one.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::ser::{Serialize, Serializer};
use tally_abi::TeeUuid;
use tally_records::snapshot::Header;

use crate::account::{Account, Doubt};
use crate::advice::{self, Advice};
use crate::answer;
use crate::findings::several_boots;
use crate::growth::{Amount, Change};
use crate::json::{One, Rows, uuid_text};
use crate::merged;
use crate::names::{Names, Stack, short};
use crate::schema::{Schema, Value};
use crate::snapshot::Lists;

/// A snapshot.
pub struct Whole<'a>(pub &'a Account);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let account = self.0;
        let mut snapshot = account.snapshot.clone();
        snapshot.sites = rows(merged::sites(account, &snapshot.sites));
        snapshot.live = rows(merged::live(account, &snapshot.live));
        snapshot.unfreed = rows(merged::unfreed(account, &snapshot.unfreed));
        let sum = snapshot.meminfo_sum();
        let doubted = account.doubted.iter();
        let told = Told {
            file: &account.file,
            header: One(&snapshot.header, account),
            unknown_sections: snapshot.unknown_sections,
            meminfo_sum: sum,
            adds_up: sum == snapshot.header.secure_ram,
            lists: snapshot.lists(account),
            left_out: account.snapshot.left_out(),
            kernel_named: !account.kernel_is_other,
            doubted: doubted.map(|doubt| Doubted::new(account, doubt)).collect(),
            advice: Rows(&advice::of(&snapshot), account),
        };
        told.serialize(serializer)
    }
}

impl Schema for Whole<'_> {
    fn schema() -> Value {
        Told::schema()
    }
}

answer! {
    /// What a snapshot's object has.
    struct Told<'a> {
        file: &'a str,
        #[serde(flatten)]
        header: One<'a, Header>,
        unknown_sections: u32,
        meminfo_sum: u64,
        adds_up: bool,
        #[serde(flatten)]
        lists: Lists<'a>,
        left_out: Amount,
        kernel_named: bool,
        doubted: Vec<Doubted>,
        advice: Rows<'a, Advice>,
    }

    /// A TA whose calls have no names, or perhaps wrong ones.
    struct Doubted {
        uuid: String,
        name: Option<String>,
        image: Option<String>,
        why: &'static str,
    }

    /// What grew between two snapshots.
    pub struct Comparison<'a> {
        before: &'a str,
        after: &'a str,
        several_boots: bool,
        bytes: i64,
        changes: Vec<Changed<'a>>,
    }

    struct Changed<'a> {
        heap: Option<String>,
        heap_name: Option<String>,
        /// Sessions of one TA are one.
        whose: &'a str,
        bytes: i64,
        blocks: i64,
        bytes_before: u64,
        bytes_after: u64,
        blocks_before: u64,
        blocks_after: u64,
        stack: &'a Stack,
    }
}

fn rows<T>(rows: merged::Rows<T>) -> Vec<T> {
    rows.into_iter().map(|(row, _)| row).collect()
}

impl Doubted {
    fn new(names: &dyn Names, (uuid, doubt): &(TeeUuid, Doubt)) -> Self {
        let (why, image) = match *doubt {
            Doubt::Missing(id) => ("no ELF file of this build", id),
            Doubt::Several => ("several builds at the same time", 0),
            Doubt::Untold => ("the snapshot does not say which build", 0),
        };
        Self {
            uuid: uuid.to_string(),
            name: short(names, *uuid),
            image: (image != 0).then(|| alloc::format!("{image:016x}")),
            why,
        }
    }
}

impl<'a> Comparison<'a> {
    /// Of what was found.
    #[must_use]
    pub fn new(before: &'a Account, after: &'a Account, changes: &'a [Change]) -> Self {
        let changed = |change: &'a Change| Changed {
            heap: uuid_text(change.image),
            heap_name: short(after, change.image),
            whose: &change.owner,
            bytes: change.bytes(),
            blocks: change.blocks(),
            bytes_before: change.before.bytes,
            bytes_after: change.after.bytes,
            blocks_before: change.before.blocks,
            blocks_after: change.after.blocks,
            stack: &change.stack,
        };
        let bytes = changes.iter().map(Change::bytes);
        Self {
            before: &before.file,
            after: &after.file,
            several_boots: several_boots([&before.snapshot, &after.snapshot]),
            bytes: bytes.fold(0, i64::saturating_add),
            changes: changes.iter().map(changed).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::NoSymbols;
    use crate::{growth, json, sample};

    fn parsed<T: Serialize>(answer: &T) -> Value {
        serde_json::from_str(&json::text(answer).unwrap()).unwrap()
    }

    #[test]
    fn figures_are_the_snapshots() {
        let account = Account::new(sample::machine(3), "s", &NoSymbols);
        let value = parsed(&Whole(&account));
        assert_eq!(value["schema"], json::SCHEMA);
        assert_eq!(value["meminfo_sum"], value["secure_ram"]);
        assert_eq!(value["adds_up"], true);
        let sum = |list: &[&Value], key: &str| -> u64 {
            list.iter().map(|row| row[key].as_u64().unwrap()).sum()
        };
        let list = |key: &str| value[key].as_array().unwrap().iter().collect::<Vec<_>>();
        assert_eq!(sum(&list("meminfo"), "bytes"), 16 << 20);
        let mut heaps = list("pools");
        heaps.retain(|pool| pool["kind"] != "TA memory");
        assert_eq!(heaps.len(), 3);
        assert_eq!(sum(&list("live"), "bytes"), sum(&heaps, "allocated"));
        assert_eq!(value["advice"][0]["what"], "kernel heap");
        assert_eq!(value["boot"], "000000000000b007");
        assert_eq!(value["kernel_build"], "b1".repeat(20));
        let ta = &value["tas"][0];
        assert_eq!(
            (&ta["function"], &ta["command"]),
            (&"invoke".into(), &2.into())
        );
        assert_eq!(ta["heap"]["live_blocks"], value["pools"][2]["live_blocks"]);
    }

    #[test]
    fn what_is_hidden_or_not_so_is_null_and_stacks_are_named() {
        let account = Account::new(sample::machine(3), "s", &NoSymbols);
        let value = parsed(&Whole(&account));
        assert_eq!(value["regions"][0]["va"], Value::Null);
        assert_eq!(value["tas"][1]["command"], Value::Null);
        assert_eq!(value["tas"][0]["cause"], Value::Null);
        assert_eq!(value["failures"][0]["held"][0]["bytes"], 3000);
        let leaker = sample::LEAKER.to_string();
        let held = &value["failures"][0]["held"][0]["stack"][0]["function"];
        assert_eq!(*held, alloc::format!("{leaker}+0x1304"));
        assert_eq!(value["tas"][0]["uuid"], leaker);
        assert_eq!(value["tas"][0]["name"], Value::Null);
        assert_eq!(
            value["regions"][1]["prot"],
            serde_json::json!(["read", "execute"])
        );
    }

    #[test]
    fn a_comparison_names_what_grew() {
        let account = |n| Account::new(sample::machine(n), "s", &NoSymbols);
        let (before, after) = (account(1), account(2));
        let changes = growth::between(&before, &after);
        let value = parsed(&Comparison::new(&before, &after, &changes));
        assert_eq!(value["bytes"], sample::LEAK_BYTES);
        assert_eq!(value["changes"][0]["blocks"], sample::LEAK_BLOCKS);
    }
}
