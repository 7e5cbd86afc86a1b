//! The schema of JSON answers and the description of all records, made from the field tables.
//!
//! **Invariant:** the same tables give the same text.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;

use serde_json::{Map, Value, json};
use tally_records::{Described, Field, Figure, Shape, TABLES, Table};

use crate::advice::Advice;
use crate::json::{FRAME, SCHEMA, name_key};
use crate::openmetrics::{Threads, family_name};

/// The tables of everything that is told.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    let own = [Advice::TABLE, Threads::TABLE];
    TABLES.iter().copied().chain(own)
}

/// The lists that stand at the top of an answer.
fn lists() -> impl Iterator<Item = &'static Table> {
    tables().filter(|table| table.section != 0 || table.name == Advice::TABLE.name)
}

/// The JSON Schema of an answer of `teestat --json` or of a report's JSON: what its lists hold,
/// wherever they stand. Figures that are of one answer alone stand beside them.
#[must_use]
pub fn schema() -> Value {
    let mut properties = Map::new();
    properties.insert("schema".into(), json!({"const": SCHEMA}));
    for table in lists() {
        let items = json!({"type": "array", "items": reference(table.name)});
        properties.insert(table.list.into(), items);
    }
    let mut definitions = Map::new();
    for table in tables() {
        definitions.insert(table.name.into(), record(table));
    }
    definitions.insert("Frame".into(), frame());
    definitions.insert(
        "Stack".into(),
        json!({
            "type": "array",
            "items": reference("Frame"),
            "description": "Functions, innermost first, inlined ones included.",
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answers of teestat and reports",
        "description": "Made from the field tables of libs/records; see docs/records.md.",
        "type": "object",
        "required": ["schema"],
        "properties": properties,
        "$defs": definitions,
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn record(table: &Table) -> Value {
    let mut properties = Map::new();
    collect(table, &mut properties);
    let required: Vec<&String> = properties.keys().collect();
    json!({
        "type": "object",
        "description": table.help(),
        "required": required,
        "properties": properties,
    })
}

fn collect(table: &Table, properties: &mut Map<String, Value>) {
    for field in table.fields {
        let mut values = match field.shape {
            Shape::Hidden => continue,
            Shape::Flat(inner) => {
                collect(inner, properties);
                continue;
            }
            Shape::Number(_) => typed("integer", field),
            Shape::Flag => typed("boolean", field),
            Shape::Word([]) | Shape::Text => typed("string", field),
            Shape::Word(words) => {
                let mut all: Vec<Value> = words.iter().map(|(_, word)| json!(word)).collect();
                all.extend((!all.contains(&json!("unknown"))).then(|| json!("unknown")));
                all.extend(field.is_optional.then_some(Value::Null));
                json!({"enum": all})
            }
            Shape::Set(_) => json!({"type": "array", "items": {"type": "string"}}),
            Shape::Ta => {
                let name = json!({
                    "type": ["string", "null"],
                    "description": format!("Short name of `{}`", field.key),
                });
                properties.insert(name_key(field.key), name);
                json!({"type": ["string", "null"], "format": "uuid"})
            }
            Shape::Id => json!({"type": ["string", "null"], "pattern": "^[0-9a-f]+$"}),
            Shape::Frames => reference("Stack"),
            Shape::Row(inner) => reference(inner.name),
            Shape::Rows(inner) => json!({"type": "array", "items": reference(inner.name)}),
        };
        if let Some(values) = values.as_object_mut() {
            values.insert("description".into(), field.help().into());
        }
        properties.insert(field.key.into(), values);
    }
}

fn typed(name: &str, field: &Field) -> Value {
    let mut values = match field.is_optional {
        true => json!({"type": [name, "null"]}),
        false => json!({"type": name}),
    };
    if let Shape::Number(unit) = field.shape
        && !unit.name().is_empty()
    {
        values["unit"] = unit.name().into();
    }
    values
}

fn frame() -> Value {
    let mut properties = Map::new();
    for (key, kind, help) in FRAME {
        let kinds = match help.contains("null") {
            true => json!([kind, "null"]),
            false => json!(kind),
        };
        properties.insert(key.into(), json!({"type": kinds, "description": help}));
    }
    let required: Vec<&str> = FRAME.iter().map(|(key, _, _)| *key).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

/// All records, for people.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    for table in tables() {
        // Writing to a string does not fail.
        let _ = section(&mut out, table);
    }
    out
}

const HEAD: &str = "# Records

Every record of the account, made from the field tables of `libs/records` by `cargo xtask docs --only records`; the same as a JSON
Schema is in [schema.json](schema.json). A key is the same in `teestat --json`, in a report's JSON and, with the record's name before it,
in OpenMetrics. What is hidden, not counted or not known is null. Beside a UUID `x` stands the TA's short name, `x_name` (`name` beside
`uuid`). A stack is a list of functions, innermost first.
";

fn section(out: &mut String, table: &Table) -> core::fmt::Result {
    writeln!(out, "\n## {}\n\n{}", table.name, table.help())?;
    if table.section != 0 {
        let (list, section) = (table.list, table.section);
        writeln!(out, "\nLists: `{list}`. Section {section}.")?;
    }
    writeln!(
        out,
        "\n| key | value | in metrics | what |\n|---|---|---|---|"
    )?;
    rows(out, table, table)
}

fn rows(out: &mut String, of: &Table, table: &Table) -> core::fmt::Result {
    for field in table.fields {
        let value = match field.shape {
            Shape::Hidden => continue,
            Shape::Flat(inner) => {
                rows(out, of, inner)?;
                continue;
            }
            Shape::Number(unit) => unit.name().to_string(),
            Shape::Flag => "yes or no".into(),
            Shape::Word([]) | Shape::Text => "text".into(),
            Shape::Word(words) => {
                let words: Vec<&str> = words.iter().map(|(_, word)| *word).collect();
                format!("one of: {}", words.join(", "))
            }
            Shape::Set(words) => {
                let words: Vec<&str> = words.iter().map(|(_, word)| *word).collect();
                format!("some of: {}", words.join(", "))
            }
            Shape::Ta => "UUID".into(),
            Shape::Id => "hexadecimal".into(),
            Shape::Frames => "stack".into(),
            Shape::Row(inner) => format!("[{0}](#{1})", inner.name, inner.name.to_lowercase()),
            Shape::Rows(inner) => {
                format!("list of [{0}](#{1})", inner.name, inner.name.to_lowercase())
            }
        };
        let or_null = match (field.is_optional, &*value) {
            (false, _) => "",
            (true, "") => "or null",
            (true, _) => ", or null",
        };
        let metrics = match field.figure {
            _ if of.metrics.is_empty() => String::new(),
            Figure::Gauge | Figure::Counter => format!("`{}`", family_name(of, field).1),
            Figure::Label => "label".into(),
            Figure::None => String::new(),
        };
        let (key, help) = (field.key, field.help());
        writeln!(out, "| `{key}` | {value}{or_null} | {metrics} | {help} |")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Account, NoSymbols};
    use crate::answers::Whole;
    use crate::json::text;
    use crate::sample;

    /// Whether a value is what a schema says; as much of JSON Schema as ours has.
    fn check(schema: &Value, all: &Value, value: &Value, path: &str) {
        if let Some(name) = schema["$ref"].as_str() {
            let pointer = name.trim_start_matches('#');
            return check(all.pointer(pointer).expect(name), all, value, path);
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let types = &schema["type"];
        let has = |types: &Value| {
            *types == kind || types.as_array().is_some_and(|t| t.contains(&kind.into()))
        };
        assert!(
            types.is_null() || has(types),
            "{path} is {value}, and should be {types}"
        );
        let words = schema["enum"].as_array();
        assert!(words.is_none_or(|w| w.contains(value)), "{path} is {value}");
        for key in schema["required"].as_array().into_iter().flatten() {
            let key = key.as_str().unwrap();
            assert!(value.get(key).is_some(), "{path} has no {key}");
        }
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = value.get(key) {
                check(inner, all, value, &format!("{path}.{key}"));
            }
        }
        for item in value.as_array().into_iter().flatten() {
            check(&schema["items"], all, item, &format!("{path}[]"));
        }
    }

    #[test]
    fn a_snapshots_json_is_what_the_schema_says() {
        let account = Account::new(sample::machine(3), "s", &NoSymbols);
        let value: Value = serde_json::from_str(&text(&Whole(&account)).unwrap()).unwrap();
        let schema = schema();
        check(&schema, &schema, &value, "");
        // Every list is known.
        for table in tally_records::TABLES
            .iter()
            .filter(|t| (1..13).contains(&t.section))
        {
            assert!(value[table.list][0].is_object(), "{}", table.list);
            assert!(
                schema["properties"][table.list].is_object(),
                "{}",
                table.list
            );
        }
    }

    #[test]
    fn every_record_is_described_once() {
        let text = markdown();
        for table in tables() {
            let head = format!("\n## {}\n", table.name);
            assert_eq!(text.matches(&head).count(), 1, "{}", table.name);
        }
    }
}
