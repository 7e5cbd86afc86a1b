//! Every answer of `teestat --json`, of reports and of the leak gate against docs/schema.json.

mod schema;
mod world;

use schema::{changed, check};
use serde_json::Value;
use std::collections::BTreeSet;
use tally_insight::account::{Account, NoSymbols};
use tally_insight::answers::{Comparison, Whole};
use tally_insight::gate::{Gate, Verdict};
use tally_insight::schema::REPORTS;
use tally_insight::{growth, json, sample};
use teec::Context;
use teestat::{Memory, STATUS_USAGE, commands};
use world::{Machine, World};

/// Answers, and what is asked for one; a form a line, in this order.
const ASKED: &[(&str, &str)] = &[
    ("alloc", "alloc"),
    ("ta", "ta"),
    ("ta -v", "ta -v"),
    ("ta -v", "ta leaker"),
    ("memleak", "memleak"),
    ("pager", "pager"),
    ("time", "time"),
    ("meminfo", "meminfo --all"),
    ("pools", "pools"),
    ("owners", "owners"),
    ("threads", "threads"),
    ("kill", "kill leaker"),
    ("reset", "reset"),
    ("oom", "oom"),
    ("maps", "maps"),
    ("status", "status leaker"),
    ("failures", "failures"),
    ("history", "history"),
    ("storage", "storage"),
    ("advise", "advise"),
    ("slabinfo", "slabinfo leaker"),
    ("slabinfo", "slabinfo leaker --diff"),
    ("allocinfo", "allocinfo leaker"),
    ("blocks", "blocks leaker"),
    ("blocks", "blocks kernel"),
    ("block", "block 0 kernel"),
    ("pool dump", "pool dump leaker"),
    ("pool check", "pool check kernel"),
    ("leaks mark", "leaks mark here"),
    ("leaks marks", "leaks marks"),
    ("leaks diff", "leaks diff 1 2"),
    ("leaks diff", "leaks diff 1"),
    ("leaks list", "leaks list"),
    ("leaks scan", "leaks scan"),
    ("leaks show", "leaks show"),
    ("leaks clear", "leaks clear"),
    ("leaks ta", "leaks ta leaker"),
    ("snapshot", "snapshot a.snap"),
    ("watch --on", "watch leaker --on fail"),
    ("watch list", "watch list"),
    ("watch show", "watch show 1"),
    ("watch save", "watch save 1 a.snap"),
    ("watch drop", "watch drop 1"),
    ("audit", "audit"),
    ("audit --events", "audit --events"),
    ("top", "top"),
    ("ledger", "ledger leaker"),
    ("ledger --detail", "ledger leaker --detail"),
    ("ledger --detail", "ledger leaker --plain"),
    ("ledger --detail", "ledger leaker --clear"),
    ("metrics", "metrics"),
    ("serve", "serve"),
    ("error", "kill nobody"),
    ("--version", "--version"),
];

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All answers of a world of this byte, and of reports.
fn answers(byte: u8) -> Vec<(&'static str, Value)> {
    let (world, mut memory) = (World(byte), Memory::default());
    let context = Context::new(&world);
    let mut answers = Vec::new();
    for (name, asked) in ASKED {
        let (mut out, mut err) = (String::new(), String::new());
        let words: Vec<&str> = asked.split(' ').chain(["--json"]).collect();
        let status = teestat::run(&words, &context, &mut out, &mut err, &Machine, &mut memory);
        let is_refused = status == STATUS_USAGE;
        assert_eq!(is_refused, *name == "error", "{asked}");
        assert!(err.is_empty(), "{asked}: {err}");
        let value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{asked}: {out}"));
        answers.push((*name, value));
    }
    let [first, last] = [1, 3].map(|n| Account::new(sample::machine(n), "s", &NoSymbols));
    let changes = growth::between(&first, &last);
    let verdict = Verdict::of(&[(0, &first), (2, &last)]).unwrap();
    let gate = Gate {
        script: "s",
        cycles: 2,
        warmup: 0,
        status: byte.into(),
        result: "",
        reason: (byte == 0).then_some("r"),
        areas: Vec::new(),
        stacks: Vec::new(),
        doubts: Vec::new(),
    };
    let reports = [
        json::text(&Whole(&last)),
        json::text(&Comparison::new(&first, &last, &changes)),
        json::text(&gate.told(&verdict)),
    ];
    for ((name, _), text) in REPORTS.iter().zip(reports) {
        answers.push((name, serde_json::from_str(&text.unwrap()).unwrap()));
    }
    answers
}

/// Where the schema of an answer is.
fn schema_of<'a>(name: &str, all: &'a Value) -> &'a Value {
    let words = name.split([' ', '-']).filter(|word| !word.is_empty());
    &all["$defs"][words.collect::<Vec<_>>().join("-")]
}

#[test]
fn every_answer_is_what_the_schema_says() {
    let all = document();
    for byte in [0, 1] {
        for (name, answer) in answers(byte) {
            assert_eq!(check(schema_of(name, &all), &all, &answer, name), Ok(()));
            assert_eq!(check(&all, &all, &answer, name), Ok(()));
        }
    }
}

#[test]
fn a_key_more_or_less_is_not_what_the_schema_says() {
    // Bug: the schema had neither the keys around the rows nor an end of keys; `{"schema":1}` was any answer.
    let all = document();
    for (name, answer) in answers(1) {
        for other in changed(&answer) {
            let checked = check(schema_of(name, &all), &all, &other, name);
            assert!(checked.is_err(), "{name}: {other}");
        }
    }
}

#[test]
fn every_command_and_every_answer_is_asked_for() {
    let known: BTreeSet<&str> = commands::answers().map(|(name, _)| *name).collect();
    let asked: BTreeSet<&str> = ASKED.iter().map(|(name, _)| *name).collect();
    assert_eq!(asked, known);
    for command in commands::all() {
        let of_command = |(_, asked): &&(&str, &str)| asked.split(' ').next() == Some(command.name);
        let asked = ASKED.iter().filter(of_command).count();
        assert!(asked >= command.forms.len(), "{}", command.name);
    }
}
