//! The schema of JSON answers, made from their types and the field tables, and the description of
//! all records.
//!
//! **Invariant:** what is answered has a schema: [`Schema`] comes with the type that is serialized.
//! The same tables give the same text.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;

pub use serde_json::Value;
use serde_json::{Map, json};
use tally_records::{Described, Figure, Shape, TABLES, Table};

use crate::advice::Advice;
use crate::answers::{Comparison, Whole};
use crate::gate::Gate;
use crate::json::{Call, List, One, Rows, SCHEMA, name_key};
use crate::names::Stack;
use crate::openmetrics::{Threads, family_name};

/// The tables of everything that is told.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    let own = [Advice::TABLE, Threads::TABLE];
    TABLES.iter().copied().chain(own)
}

/// An answer: what asks for it, and its schema.
pub type Answer = (&'static str, fn() -> Value);

/// The answers that reports and the leak gate are.
pub const REPORTS: &[Answer] = &[
    ("report", Whole::schema),
    ("report --diff", Comparison::schema),
    ("leakcheck", Gate::schema),
];

/// A type whose values stand in answers. Structs get it from [`answer!`](crate::answer).
pub trait Schema {
    /// The JSON Schema of its values.
    fn schema() -> Value;
}

macro_rules! schemas {
    ($($({$($generic:tt)+})? $type:ty => $schema:expr,)+) => {
        $(impl $(<$($generic)+>)? Schema for $type {
            fn schema() -> Value {
                $schema
            }
        })+
    };
}

schemas! {
    bool => json!({"type": "boolean"}),
    i64 => json!({"type": "integer"}),
    u32 => i64::schema(),
    u64 => i64::schema(),
    usize => i64::schema(),
    f64 => json!({"type": "number"}),
    str => json!({"type": "string"}),
    String => str::schema(),
    Stack => reference("Stack"),
    {T: Schema + ?Sized} &T => T::schema(),
    {T: Schema} Option<T> => or_null(T::schema()),
    {T: Schema} [T] => list(T::schema()),
    {T: Schema} Vec<T> => list(T::schema()),
    {T: Described} One<'_, T> => record(T::TABLE),
    {T: Described} Rows<'_, T> => list(reference(T::TABLE.name)),
    {T: Described} List<'_, T> => object([(T::TABLE.list, "", Rows::<T>::schema())]),
}

/// Structs of answers: serialized as they stand, and with their [`Schema`]. Of serde's attributes
/// fields may have `flatten`.
#[macro_export]
macro_rules! answer {
    ($(
        $(#[doc = $about:literal])*
        $(#[derive($($derive:tt)*)])?
        $vis:vis struct $name:ident $(<$life:lifetime>)? {
            $(
                $(#[doc = $help:literal])*
                $(#[serde($flatten:ident)])?
                $field_vis:vis $field:ident: $type:ty,
            )*
        }
    )+) => {$(
        $(#[doc = $about])*
        #[derive(serde::Serialize $(, $($derive)*)?)]
        $vis struct $name $(<$life>)? {
            $(
                $(#[doc = $help])*
                $(#[serde($flatten)])?
                $field_vis $field: $type,
            )*
        }

        impl $(<$life>)? $crate::schema::Schema for $name $(<$life>)? {
            fn schema() -> $crate::schema::Value {
                $crate::schema::object([$((
                    $crate::answer_key!($($flatten)? $field),
                    concat!($($help),*),
                    <$type as $crate::schema::Schema>::schema(),
                )),*])
            }
        }
    )+};
}

#[doc(hidden)]
#[macro_export]
macro_rules! answer_key {
    ($field:ident) => {
        stringify!($field)
    };
    (flatten $field:ident) => {
        ""
    };
}

/// The schema of an object that has these fields and no others: keys, descriptions, schemas. A
/// field without a key is an object, whose fields these are too.
#[must_use]
pub fn object<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str, Value)>) -> Value {
    let mut properties = Map::new();
    for (key, help, mut schema) in fields {
        if key.is_empty() {
            properties.extend(properties_of(schema));
            continue;
        }
        if !help.is_empty() {
            schema["description"] = help.trim().trim_end_matches('.').into();
        }
        properties.insert(key.into(), schema);
    }
    exactly(properties)
}

fn exactly(properties: Map<String, Value>) -> Value {
    let required: Vec<&String> = properties.keys().collect();
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}

fn properties_of(mut schema: Value) -> Map<String, Value> {
    match schema["properties"].take() {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}

/// The JSON Schema of all answers: any of them as a whole, and each by the words that ask for it.
#[must_use]
pub fn schema<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Value {
    let mut definitions = Map::new();
    let mut any = Vec::new();
    for (words, answer) in answers {
        let version = ("schema", "", json!({"const": SCHEMA}));
        let mut schema = object([version, ("", "", answer())]);
        schema["title"] = (*words).into();
        let name: Vec<&str> = words.split([' ', '-']).filter(|w| !w.is_empty()).collect();
        let name = name.join("-");
        any.push(reference(&name));
        definitions.insert(name, schema);
    }
    for table in tables() {
        let mut schema = record(table);
        schema["description"] = table.help().into();
        definitions.insert(table.name.into(), schema);
    }
    definitions.insert("Frame".into(), Call::schema());
    let mut stack = list(reference("Frame"));
    stack["description"] = "Functions, innermost first, inlined ones included.".into();
    definitions.insert("Stack".into(), stack);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answers of teestat and reports",
        "description": "Made from the types of the answers and the field tables of libs/records; see docs/records.md. What one command answers is in #/$defs under its words, as leaks-diff.",
        "anyOf": any,
        "$defs": definitions,
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn or_null(mut schema: Value) -> Value {
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    } else if schema["type"].is_string() {
        schema["type"] = json!([schema["type"], "null"]);
    } else {
        return json!({"anyOf": [schema, {"type": "null"}]});
    }
    schema
}

fn record(table: &Table) -> Value {
    let mut properties = Map::new();
    collect(table, &mut properties);
    exactly(properties)
}

fn collect(table: &Table, properties: &mut Map<String, Value>) {
    for field in table.fields {
        let mut values = match field.shape {
            Shape::Hidden => continue,
            Shape::Flat(inner) => {
                collect(inner, properties);
                continue;
            }
            Shape::Number(unit) if unit.name().is_empty() => u64::schema(),
            Shape::Number(unit) => json!({"type": "integer", "unit": unit.name()}),
            Shape::Flag => bool::schema(),
            Shape::Word([]) | Shape::Text => str::schema(),
            Shape::Word(words) => {
                let mut all: Vec<&str> = words.iter().map(|(_, word)| *word).collect();
                all.extend((!all.contains(&"unknown")).then_some("unknown"));
                json!({"enum": all})
            }
            Shape::Set(_) => <[String]>::schema(),
            Shape::Ta => {
                let mut name = <Option<String>>::schema();
                name["description"] = format!("Short name of `{}`", field.key).into();
                properties.insert(name_key(field.key), name);
                json!({"type": "string", "format": "uuid"})
            }
            Shape::Id => json!({"type": "string", "pattern": "^[0-9a-f]+$"}),
            Shape::Frames => Stack::schema(),
            Shape::Row(inner) => reference(inner.name),
            Shape::Rows(inner) => list(reference(inner.name)),
        };
        if field.is_optional {
            values = or_null(values);
        }
        values["description"] = field.help().into();
        properties.insert(field.key.into(), values);
    }
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

Every record of the account, made from the field tables of `libs/records` by `cargo xtask docs --only records`. [schema.json](schema.json)
is the JSON Schema of the records and of every answer that they stand in. A key is the same in `teestat --json`, in a report's JSON and, with the record's name before it,
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

    #[test]
    fn every_record_is_described_once() {
        let text = markdown();
        for table in tables() {
            let head = format!("\n## {}\n", table.name);
            assert_eq!(text.matches(&head).count(), 1, "{}", table.name);
        }
    }
}
