//! Field tables: what each field of a record is called, what it measures, and what it says in one
//! record.
//!
//! **Invariant:** what is hidden, not counted or not known is [`Value::Null`], here and nowhere
//! else. A program that only fills records links nothing of their tables.

use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Codes and their words.
pub type Words = &'static [(u32, &'static str)];

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Blocks of a heap.
    Blocks,
    /// Pages of 4 KiB.
    Pages,
    /// Milliseconds.
    Ms,
    /// Ticks of the system counter.
    Ticks,
    /// Percent.
    Percent,
    /// Things.
    Count,
    /// Nothing: a number that stands for something.
    None,
    /// Nothing: one that people read in hexadecimal, as addresses and sessions.
    Hex,
}

impl Unit {
    /// Its name; empty for things and numbers that count nothing.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Blocks => "blocks",
            Self::Pages => "pages",
            Self::Ms => "ms",
            Self::Ticks => "ticks",
            Self::Percent => "percent",
            Self::Count | Self::None | Self::Hex => "",
        }
    }
}

/// What a field is in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// A figure that goes up and down.
    Gauge,
    /// A figure that only grows.
    Counter,
    /// What tells figures apart.
    Label,
    /// Nothing.
    None,
}

/// What a field's values look like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A number of something.
    Number(Unit),
    /// Yes or no.
    Flag,
    /// One of these words, or of a table that is not known here.
    Word(Words),
    /// Some of these words.
    Set(Words),
    /// A name.
    Text,
    /// A TA, or whoever has a UUID.
    Ta,
    /// A hexadecimal number that stands for something.
    Id,
    /// A call stack.
    Frames,
    /// Fields of another record, as if they were this one's.
    Flat(&'static Table),
    /// Another record.
    Row(&'static Table),
    /// Other records.
    Rows(&'static Table),
    /// Not shown.
    Hidden,
}

/// A field of a record.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// What it is called in every output.
    pub key: &'static str,
    help: &'static str,
    /// What its values look like.
    pub shape: Shape,
    /// What it is in metrics.
    pub figure: Figure,
    /// Whether it may be [`Value::Null`].
    pub is_optional: bool,
}

impl Field {
    /// A field. `help` is its doc comment.
    #[must_use]
    pub const fn new(
        key: &'static str,
        help: &'static str,
        (shape, figure): (Shape, Figure),
        is_optional: bool,
    ) -> Self {
        let is_optional = is_optional || matches!(shape, Shape::Ta | Shape::Id);
        Self {
            key,
            help,
            shape,
            figure,
            is_optional,
        }
    }

    /// What it is, in a sentence without its full stop.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim().trim_end_matches('.')
    }
}

/// The description of a record.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The record's type.
    pub name: &'static str,
    help: &'static str,
    /// What a list of such records is called.
    pub list: &'static str,
    /// What its metrics are of: the second word of their names; empty if it has none.
    pub metrics: &'static str,
    /// Its number among sections; 0 if it is in none.
    pub section: u32,
    /// Its fields.
    pub fields: &'static [Field],
}

impl Table {
    /// A table. `help` is the record's doc comment.
    #[must_use]
    pub const fn new(
        (name, help): (&'static str, &'static str),
        list: &'static str,
        metrics: &'static str,
        section: u32,
        fields: &'static [Field],
    ) -> Self {
        Self {
            name,
            help,
            list,
            metrics,
            section,
            fields,
        }
    }

    /// What a record is, in sentences.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }

    /// Its field of this key, or that of a flat record in it.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find_map(|field| match field.shape {
            Shape::Flat(inner) => inner.field(key),
            _ => (field.key == key).then_some(field),
        })
    }
}

/// Which image a call lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// UUID of the TA; nil: the kernel.
    pub image: TeeUuid,
    /// Which build of the TA ([`tally_abi::shdr::image_id`]), 0 if that is not known; `None`: the
    /// one that is loaded.
    pub build: Option<u64>,
}

impl Origin {
    /// The image that has a heap: the kernel's, or that of a loaded TA.
    #[must_use]
    pub const fn of_heap(image: TeeUuid) -> Self {
        Self { image, build: None }
    }
}

/// Return addresses, innermost first, as offsets from the image's link base; 0 ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames<'a> {
    /// The image; `None`: that of the record around it.
    pub origin: Option<Origin>,
    /// The addresses.
    pub offsets: &'a [u64],
}

/// A record that has a call stack.
pub trait Placed {
    /// The call stack.
    fn frames(&self) -> Frames<'_>;
}

/// Records of one type.
pub trait List {
    /// The record of this number.
    fn row(&self, number: usize) -> Option<&dyn Row>;
}

impl<T: Row, const N: usize> List for [T; N] {
    fn row(&self, number: usize) -> Option<&dyn Row> {
        self.get(number).map(|row| row as &dyn Row)
    }
}

/// The first records of a list.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The list.
    pub list: &'a dyn List,
    /// How many.
    pub count: u32,
    /// The image that their call stacks lie in.
    pub origin: Origin,
}

/// What a field says in one record.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Hidden, not counted, not known, or none.
    Null,
    /// A number.
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    /// Yes or no.
    Flag(bool),
    /// The word for a code.
    Word(&'static str),
    /// Bits, and the words for them.
    Set(u32, Words),
    /// A name, zero padded.
    Text(&'a [u8]),
    /// A TA, or whoever has a UUID.
    Ta(TeeUuid),
    /// A number that stands for something.
    Id(u64),
    /// Bytes that stand for something.
    Bytes(&'a [u8]),
    /// A call stack.
    Frames(Frames<'a>),
    /// Another record.
    Row(&'a dyn Row),
    /// Other records.
    Rows(Rows<'a>),
}

impl Value<'_> {
    /// As a figure of metrics.
    #[must_use]
    pub const fn figure(&self) -> Option<i128> {
        match *self {
            Self::Number(number) => Some(number as i128),
            Self::Signed(number) => Some(number as i128),
            Self::Flag(flag) => Some(flag as i128),
            _ => None,
        }
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Signed(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a> From<Frames<'a>> for Value<'a> {
    fn from(frames: Frames<'a>) -> Self {
        Self::Frames(frames)
    }
}

impl<'a> From<Rows<'a>> for Value<'a> {
    fn from(rows: Rows<'a>) -> Self {
        Self::Rows(rows)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The word for a code.
#[must_use]
pub fn word(words: Words, code: impl Into<u32>) -> &'static str {
    let code = code.into();
    let found = words.iter().find(|(known, _)| *known == code);
    found.map_or("unknown", |(_, word)| word)
}

/// A record of any type.
pub trait Row {
    /// Its description.
    fn table(&self) -> &'static Table;
    /// What a field of its table says.
    fn value(&self, field: usize) -> Value<'_>;
}

/// What the field of this key says, which may be that of a flat record in it; null if there is
/// none.
#[must_use]
pub fn value<'a>(row: &'a dyn Row, key: &str) -> Value<'a> {
    let mut fields = row.table().fields.iter().enumerate();
    let found = fields.find(|(_, field)| match field.shape {
        Shape::Flat(inner) => inner.field(key).is_some(),
        _ => field.key == key,
    });
    match found.map(|(n, field)| (field.shape, row.value(n))) {
        Some((Shape::Flat(_), Value::Row(inner))) => value(inner, key),
        Some((_, value)) => value,
        None => Value::Null,
    }
}

/// A type of records.
pub trait Described: Row {
    /// Its description.
    const TABLE: &'static Table;
}

/// A record as it travels and as it stands in snapshots.
pub trait Record: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Default {
    /// The number of its section.
    const SECTION: u32;
}

/// Codes with their words: a module of constants and their `WORDS`.
#[macro_export]
macro_rules! codes {
    (
        $(#[$about:meta])*
        $name:ident: $type:ty {
            $($(#[$meaning:meta])* $code:ident = $number:literal $word:literal,)*
        }
    ) => {
        $(#[$about])*
        pub mod $name {
            $($(#[$meaning])* pub const $code: $type = $number;)*
            /// The words for them.
            pub const WORDS: $crate::Words = &[$(($number, $word)),*];
        }
    };
}

/// A record with its table. After `=>` stands what a field is (see [`field_shape!`](crate::field_shape)), its key if
/// that is not its name, `or null` if it may be null, and how it is read if not as it stands.
/// Behind `also` are figures that follow from others.
#[macro_export]
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident: $list:literal = $section:literal, $size:literal bytes $(, metrics $metrics:literal)? {
            $(
                $(#[doc = $about:literal])*
                $field:ident: $type:ty => $kind:ident $(($($arg:tt)*))? $($key:literal)? $(or $null:ident)? $(= |$row:ident| $get:expr)?,
            )*
        }
        $(also { $($also:tt)* })?
    ) => {
        $(#[doc = $doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
            zerocopy::KnownLayout,
        )]
        #[repr(C)]
        pub struct $name {
            $($(#[doc = $about])* pub $field: $type,)*
        }

        const _: () = assert!(size_of::<$name>() == $size);

        impl $crate::Record for $name {
            const SECTION: u32 = $section;
        }

        $crate::table! {
            $(#[doc = $doc])*
            $name: $list = $section $(, metrics $metrics)? {
                $(
                    $(#[doc = $about])*
                    $field => $kind $(($($arg)*))? $($key)? $(or $null)? $(= |$row| $get)?,
                )*
                $($($also)*)?
            }
        }
    };
}

/// The table of a type that is not a record of its own.
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        $name:ident: $list:literal = $section:literal $(, metrics $metrics:literal)? {
            $(
                $(#[doc = $about:literal])*
                $field:ident => $kind:ident $(($($arg:tt)*))? $($key:literal)? $(or $null:ident)? $(= |$row:ident| $get:expr)?,
            )*
        }
    ) => {
        impl $crate::Described for $name {
            const TABLE: &'static $crate::Table = &$crate::Table::new(
                (stringify!($name), concat!($($doc),*)),
                $list,
                concat!($($metrics)?),
                $section,
                &[$($crate::Field::new(
                    $crate::field_key!($field $($key)?),
                    concat!($($about),*),
                    $crate::field_shape!($kind [$($($arg)*)?]),
                    $crate::field_is_optional!($kind $($null)?),
                )),*],
            );
        }

        impl $crate::Row for $name {
            fn table(&self) -> &'static $crate::Table {
                <Self as $crate::Described>::TABLE
            }

            fn value(&self, field: usize) -> $crate::Value<'_> {
                const GET: &[for<'a> fn(&'a $name) -> $crate::Value<'a>] =
                    &[$($crate::field_get!($kind [$($($arg)*)?] $field $(|$row| $get)?)),*];
                GET.get(field).map_or($crate::Value::Null, |get| get(self))
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! field_key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! field_is_optional {
    (nonzero) => {
        true
    };
    ($kind:ident) => {
        false
    };
    ($kind:ident null) => {
        true
    };
}

/// What a field is:
///
/// - `number(UNIT)`; `nonzero(UNIT)`: null for zero; `gauge(UNIT)`, `counter(UNIT)`: in metrics
///   too;
/// - `flag`; `word(CODES)`, `set(CODES)`: the words for a code or for bits; `word`: a word as it
///   stands;
/// - `text`, `ta`, `id`, `bytes`, `frames`;
/// - `row(TYPE)`, `rows(TYPE)`, `flat(TYPE)`: other records, the last with its fields among this
///   one's;
/// - `label(KIND)`: any of these that tells figures apart in metrics; `hidden`: not shown.
#[macro_export]
macro_rules! field_shape {
    (number [$unit:ident]) => { ($crate::Shape::Number($crate::Unit::$unit), $crate::Figure::None) };
    (nonzero [$unit:ident]) => { ($crate::Shape::Number($crate::Unit::$unit), $crate::Figure::None) };
    (gauge [$unit:ident]) => { ($crate::Shape::Number($crate::Unit::$unit), $crate::Figure::Gauge) };
    (counter [$unit:ident]) => { ($crate::Shape::Number($crate::Unit::$unit), $crate::Figure::Counter) };
    (flag []) => { ($crate::Shape::Flag, $crate::Figure::Gauge) };
    (word []) => { ($crate::Shape::Word(&[]), $crate::Figure::None) };
    (word [$($codes:tt)+]) => { ($crate::Shape::Word($($codes)+::WORDS), $crate::Figure::None) };
    (set [$($codes:tt)+]) => { ($crate::Shape::Set($($codes)+::WORDS), $crate::Figure::None) };
    (text []) => { ($crate::Shape::Text, $crate::Figure::None) };
    (ta []) => { ($crate::Shape::Ta, $crate::Figure::None) };
    (id []) => { ($crate::Shape::Id, $crate::Figure::None) };
    (bytes []) => { ($crate::Shape::Id, $crate::Figure::None) };
    (frames []) => { ($crate::Shape::Frames, $crate::Figure::None) };
    (flat [$type:ty]) => { ($crate::Shape::Flat(<$type as $crate::Described>::TABLE), $crate::Figure::None) };
    (row [$type:ty]) => { ($crate::Shape::Row(<$type as $crate::Described>::TABLE), $crate::Figure::None) };
    (rows [$type:ty]) => { ($crate::Shape::Rows(<$type as $crate::Described>::TABLE), $crate::Figure::None) };
    (label [$kind:ident $(($($arg:tt)*))?]) => {
        ($crate::field_shape!($kind [$($($arg)*)?]).0, $crate::Figure::Label)
    };
    (hidden []) => { ($crate::Shape::Hidden, $crate::Figure::None) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! field_get {
    ($kind:ident $arg:tt $field:ident) => {
        |row| $crate::field_value!($kind $arg row.$field)
    };
    ($kind:ident $arg:tt $field:ident |$row:ident| $get:expr) => {
        |$row| $crate::field_value!($kind $arg $get)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! field_value {
    (hidden [] $value:expr) => { { let _ = &$value; $crate::Value::Null } };
    (nonzero $unit:tt $value:expr) => { $crate::Value::from(Some($value).filter(|number| *number != 0)) };
    (word [] $value:expr) => { $crate::Value::Word($value) };
    (word [$($codes:tt)+] $value:expr) => { $crate::Word::word($value, $($codes)+::WORDS) };
    (set [$($codes:tt)+] $value:expr) => { $crate::Value::Set($value, $($codes)+::WORDS) };
    (text [] $value:expr) => { $crate::Value::Text(&$value) };
    (ta [] $value:expr) => { $crate::Value::Ta($value) };
    (id [] $value:expr) => { $crate::Value::Id($value) };
    (bytes [] $value:expr) => { $crate::Value::Bytes(&$value) };
    (flat $type:tt $value:expr) => { $crate::Value::Row(&$value) };
    (row $type:tt $value:expr) => { $crate::Value::Row(&$value) };
    (label [$kind:ident $(($($arg:tt)*))?] $value:expr) => { $crate::field_value!($kind [$($($arg)*)?] $value) };
    ($kind:ident $arg:tt $value:expr) => { $crate::Value::from($value) };
}

/// A code that may be none.
pub trait Word {
    /// The word for it.
    fn word<'a>(self, words: Words) -> Value<'a>;
}

impl Word for u32 {
    fn word<'a>(self, words: Words) -> Value<'a> {
        Value::Word(word(words, self))
    }
}

impl Word for u16 {
    fn word<'a>(self, words: Words) -> Value<'a> {
        u32::from(self).word(words)
    }
}

impl Word for Option<u32> {
    fn word<'a>(self, words: Words) -> Value<'a> {
        self.map_or(Value::Null, |code| code.word(words))
    }
}
