//! Accounts of the secure world, as `teestat` prints them, to be compared.
//!
//! **Invariant:** two accounts of the same state are equal: what taking an account itself changes
//! (session numbers, maxima, counters of calls) is left out.

use serde_json::Value;
use teec::Context;
use teestat::{Memory, NoNames};

/// Who holds what: a line a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account(Vec<String>);

/// Commands, their lists, and the fields that say who holds what.
const LISTS: [(&str, &str, &[&str]); 3] = [
    ("meminfo", "meminfo", &["use", "bytes"]),
    (
        "owners",
        "owners",
        &[
            "kind",
            "owner",
            "uuid",
            "heap_bytes",
            "heap_blocks",
            "pages",
        ],
    ),
    (
        "pools",
        "pools",
        &["kind", "uuid", "allocated", "live_blocks"],
    ),
];

impl Account {
    /// Asks the secure world. The sum of secure RAM is checked on the way.
    pub(crate) fn take(context: &Context<'_>) -> Result<Self, String> {
        let mut rows = Vec::new();
        for (command, list, fields) in LISTS {
            let object = teestat(context, command)?;
            if command == "meminfo" && object["adds_up"] != true {
                return Err(format!("secure RAM does not add up: {object}"));
            }
            let rows_told = object[list].as_array();
            let missing = || format!("teestat {command} has no {list}");
            for row in rows_told.ok_or_else(missing)? {
                let shown = |&field: &&str| match row.get(field) {
                    Some(value) => Ok(format!("{field}={value}")),
                    None => Err(format!("teestat {command} has no {field}: {row}")),
                };
                let shown: Vec<String> = fields.iter().map(shown).collect::<Result<_, _>>()?;
                rows.push(format!("{command}: {}", shown.join(" ")));
            }
        }
        // Instances and sessions come in no order of their own.
        rows.sort();
        Ok(Self(rows))
    }

    /// Says what differs in `after`.
    pub(crate) fn same_as(&self, after: &Self) -> Result<(), String> {
        let missing = |from: &[String], what: &[String]| -> Vec<String> {
            let mut rest = what.to_vec();
            for row in from {
                if let Some(index) = rest.iter().position(|other| other == row) {
                    rest.remove(index);
                }
            }
            rest
        };
        let gone = missing(&after.0, &self.0);
        let new = missing(&self.0, &after.0);
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        let lines = |mark: &str, rows: Vec<String>| -> String {
            rows.iter().map(|row| format!("\n  {mark} {row}")).collect()
        };
        Err(format!(
            "accounts differ:{}{}",
            lines("-", gone),
            lines("+", new)
        ))
    }
}

/// The JSON object that a command of `teestat` prints.
pub(crate) fn teestat(context: &Context<'_>, command: &str) -> Result<Value, String> {
    let (mut out, mut err) = (String::new(), String::new());
    let args: Vec<&str> = command.split(' ').chain(["--json"]).collect();
    let mut memory = Memory::default();
    let status = teestat::run(&args, context, &mut out, &mut err, &NoNames, &mut memory);
    if status != teestat::STATUS_OK {
        return Err(format!("teestat {command}: {}", err.trim_end()));
    }
    serde_json::from_str(&out).map_err(|why| format!("teestat {command}: {why}: {out}"))
}

#[cfg(test)]
mod tests {
    use super::Account;

    #[test]
    fn only_what_differs_is_told() {
        let account = |rows: &[&str]| Account(rows.iter().map(|&row| row.to_owned()).collect());
        let before = account(&["a 1", "a 1", "b 2"]);
        assert!(before.same_as(&before.clone()).is_ok());
        let told = before.same_as(&account(&["a 1", "b 2", "c 3"]));
        assert_eq!(told, Err("accounts differ:\n  - a 1\n  + c 3".into()));
    }
}
