//! Records as JSON, through their field tables.
//!
//! **Invariant:** a field has the key that its table gives it, labels first; null is what the table
//! says is not there. Names stand beside the UUIDs: `uuid` and `name`, `heap` and `heap_name`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};

use serde::ser::{SerializeMap, Serializer};
use serde::{Serialize, ser::SerializeSeq};
use tally_abi::TeeUuid;
use tally_records::{Described, Figure, Origin, Row, Shape, Value};

use crate::answer;
use crate::names::{Names, Shown, Stack, printable, short};

/// Version of the keys and their meaning: the key `schema` of every object at the top.
pub const SCHEMA: u32 = 1;

/// A record with names, of any type, perhaps in another.
#[derive(Clone, Copy)]
struct Named<'a> {
    row: &'a dyn Row,
    names: &'a dyn Names,
    outer: Origin,
}

impl Named<'_> {
    fn fields<M: SerializeMap>(&self, map: &mut M, labels: bool) -> Result<(), M::Error> {
        for (n, field) in self.row.table().fields.iter().enumerate() {
            let value = self.row.value(n);
            match (field.shape, value) {
                (Shape::Hidden, _) => {}
                (Shape::Flat(_), Value::Row(row)) => Self { row, ..*self }.fields(map, labels)?,
                _ if (field.figure == Figure::Label) != labels => {}
                (_, Value::Ta(uuid)) => {
                    map.serialize_entry(field.key, &uuid_text(uuid))?;
                    let name = name_key(field.key);
                    map.serialize_entry(&name, &short(self.names, uuid))?;
                }
                (_, value) => map.serialize_entry(field.key, &Said { value, of: *self })?,
            }
        }
        Ok(())
    }
}

/// The key of the name that stands beside a UUID.
#[must_use]
pub fn name_key(key: &str) -> String {
    match key {
        "uuid" => "name".to_string(),
        key => alloc::format!("{key}_name"),
    }
}

impl Ta {
    /// The TA of this UUID.
    #[must_use]
    pub fn new(uuid: TeeUuid, names: &dyn Names) -> Self {
        Self {
            uuid: uuid_text(uuid),
            name: short(names, uuid),
        }
    }
}

/// A UUID; `None` for the nil one.
#[must_use]
pub fn uuid_text(uuid: TeeUuid) -> Option<String> {
    (uuid != TeeUuid::nil()).then(|| uuid.to_string())
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.fields(&mut map, true)?;
        self.fields(&mut map, false)?;
        map.end()
    }
}

/// A record with names.
pub struct One<'a, T>(pub &'a T, pub &'a dyn Names);

impl<T: Row> Serialize for One<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(row, names) = *self;
        let outer = Origin::default();
        Named { row, names, outer }.serialize(serializer)
    }
}

/// Records with names.
pub struct Rows<'a, T>(pub &'a [T], pub &'a dyn Names);

impl<T: Row> Serialize for Rows<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|row| One(row, self.1)))
    }
}

/// Records with names, under the key that their table gives a list of them.
pub struct List<'a, T>(pub &'a [T], pub &'a dyn Names);

impl<T: Described> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(T::TABLE.list, &Rows(self.0, self.1))?;
        map.end()
    }
}

/// What a field says.
struct Said<'a> {
    value: Value<'a>,
    of: Named<'a>,
}

impl Serialize for Said<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Named { names, outer, .. } = self.of;
        match self.value {
            Value::Null => serializer.serialize_none(),
            Value::Number(number) => serializer.serialize_u64(number),
            Value::Signed(number) => serializer.serialize_i64(number),
            Value::Flag(flag) => serializer.serialize_bool(flag),
            Value::Word(word) => serializer.serialize_str(word),
            Value::Set(bits, words) => {
                let mut set: Vec<String> = Vec::new();
                let mut rest = bits;
                for (bit, word) in words.iter().filter(|(bit, _)| bits & bit != 0) {
                    set.push((*word).to_string());
                    rest &= !bit;
                }
                // What no word is known for.
                set.extend((rest != 0).then(|| alloc::format!("{rest:#x}")));
                set.serialize(serializer)
            }
            Value::Text(text) => serializer.serialize_str(&printable(text)),
            Value::Ta(uuid) => uuid_text(uuid).serialize(serializer),
            Value::Id(0) => serializer.serialize_none(),
            Value::Id(id) => serializer.collect_str(&format_args!("{id:016x}")),
            Value::Bytes(bytes) if bytes.iter().all(|&byte| byte == 0) => {
                serializer.serialize_none()
            }
            Value::Bytes(bytes) => serializer.collect_str(&Hexadecimal(bytes)),
            Value::Frames(frames) => Stack::new(names, frames, outer).serialize(serializer),
            Value::Row(row) => Named { row, ..self.of }.serialize(serializer),
            Value::Rows(rows) => {
                let mut list = serializer.serialize_seq(None)?;
                for row in (0..rows.count as usize).map_while(|n| rows.list.row(n)) {
                    list.serialize_element(&Named {
                        row,
                        names,
                        outer: rows.origin,
                    })?;
                }
                list.end()
            }
        }
    }
}

/// Bytes in hexadecimal.
pub struct Hexadecimal<'a>(pub &'a [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Innermost first; `allocator` marks the way into the allocator, which other outputs leave out.
impl Serialize for Stack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.all())
    }
}

answer! {
    /// A function on a call stack.
    pub(crate) struct Call<'a> {
        /// Short name, or image and offset.
        function: &'a str,
        /// Whole path; null if it is not known.
        full: Option<&'a str>,
        /// Source file; null if it is not known.
        file: Option<&'a str>,
        /// Line in it; null if it is not known.
        line: Option<u32>,
        /// Return address, from the image's link base.
        offset: u64,
        /// Whether it was inlined into the next one.
        inlined: bool,
        /// Whether it is only the way into the allocator.
        allocator: bool,
    }

    /// A TA that something is about.
    #[derive(Clone, Debug)]
    pub struct Ta {
        /// Its UUID; null for none.
        pub uuid: Option<String>,
        /// Its short name, if anyone knows it.
        pub name: Option<String>,
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let frame = self.frame;
        let call = Call {
            function: &frame.function,
            full: frame.full.as_deref(),
            file: Some(frame.file.as_str()).filter(|file| !file.is_empty()),
            line: Some(frame.line).filter(|line| *line != 0),
            offset: self.offset,
            inlined: self.inlined,
            allocator: self.allocator,
        };
        call.serialize(serializer)
    }
}

/// An object at the top.
#[derive(Serialize)]
struct Top<'a, T> {
    schema: u32,
    #[serde(flatten)]
    answer: &'a T,
}

/// An object at the top, as text: `answer`, which must be one, with the schema's version.
///
/// # Errors
/// Those of what `answer` serializes.
pub fn text<T: Serialize>(answer: &T) -> serde_json::Result<String> {
    serde_json::to_string(&Top {
        schema: SCHEMA,
        answer,
    })
}

/// As [`text`], a field a line.
///
/// # Errors
/// None of these types has any.
pub fn pretty<T: Serialize>(answer: &T) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&Top {
        schema: SCHEMA,
        answer,
    })?;
    text.push('\n');
    Ok(text)
}

/// As [`text`], with a new line, into `out`.
///
/// # Errors
/// The output's.
pub fn write<T: Serialize>(out: &mut dyn Write, answer: &T) -> fmt::Result {
    let text = text(answer).map_err(|_| fmt::Error)?;
    writeln!(out, "{text}")
}

/// An object at the top with a list that is written item by item. Nothing is written before the
/// first item.
pub struct Stream {
    list: &'static str,
    is_empty: bool,
}

impl Stream {
    /// Of a list under this key.
    #[must_use]
    pub const fn new(list: &'static str) -> Self {
        Self {
            list,
            is_empty: true,
        }
    }

    fn head(&mut self, out: &mut dyn Write, between: &str) -> fmt::Result {
        if core::mem::take(&mut self.is_empty) {
            write!(out, "{{\"schema\":{SCHEMA},\"{}\":[", self.list)
        } else {
            out.write_str(between)
        }
    }

    /// Writes an item of the list.
    ///
    /// # Errors
    /// The output's.
    pub fn item<T: Serialize>(&mut self, out: &mut dyn Write, item: &T) -> fmt::Result {
        let text = serde_json::to_string(item).map_err(|_| fmt::Error)?;
        self.head(out, ",")?;
        out.write_str(&text)
    }

    /// Ends the list and the object, with the fields of `rest`, which must be an object.
    ///
    /// # Errors
    /// The output's.
    pub fn end<T: Serialize>(mut self, out: &mut dyn Write, rest: &T) -> fmt::Result {
        let text = serde_json::to_string(rest).map_err(|_| fmt::Error)?;
        self.head(out, "")?;
        match text.trim_start_matches('{') {
            "}" => writeln!(out, "]}}"),
            fields => writeln!(out, "],{fields}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NoNames;
    use serde_json::Value as Json;
    use tally_records::{ChunkRow, TaDetail, chunk_kind, state};

    fn parsed(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_record_has_the_keys_of_its_table() {
        let ta = TaDetail {
            uuid: tally_abi::pta::stats::UUID,
            state: state::BUSY,
            function: 2,
            command: 7,
            flags: 0x8000_0004,
            ..TaDetail::default()
        };
        let json = parsed(&text(&One(&ta, &NoNames)).unwrap());
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["name"], "stats");
        assert_eq!(
            (&json["state"], &json["busy"]),
            (&"busy".into(), &true.into())
        );
        assert_eq!((&json["command"], &json["cause"]), (&7.into(), &Json::Null));
        let flags = ["SINGLE_INSTANCE", "0x80000000"];
        assert_eq!(json["flags"], serde_json::json!(flags));
        assert_eq!(json["heap"]["strategy"], "default");
        assert!(json.get("reserved").is_none() && json["heap"].get("alloc").is_none());
    }

    #[test]
    fn a_stream_is_one_object() {
        let chunk = ChunkRow {
            kind: chunk_kind::OWN,
            bytes: 64,
            ..ChunkRow::default()
        };
        for count in [0, 1, 3] {
            let mut out = String::new();
            let mut stream = Stream::new("chunks");
            for _ in 0..count {
                let item = One(&chunk, &NoNames);
                stream.item(&mut out, &item).unwrap();
            }
            let rest = serde_json::json!({"count": count});
            stream.end(&mut out, &rest).unwrap();
            let json = parsed(&out);
            assert_eq!(json["chunks"].as_array().unwrap().len(), count);
            assert_eq!(
                (&json["schema"], &json["count"]),
                (&SCHEMA.into(), &count.into())
            );
        }
        let mut out = String::new();
        let stream = Stream::new("chunks");
        stream.end(&mut out, &serde_json::json!({})).unwrap();
        assert_eq!(parsed(&out)["chunks"], serde_json::json!([]));
    }
}
