//! Records in columns, with headings from their field tables.
//!
//! **Invariant:** a column is as wide in every row, unless what stands in it is wider. What is null
//! is `-`.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_insight::names::{Names, printable};
use tally_records::{Described, Shape, Unit, Value, value};

use super::Called;

/// Fields by their keys, and the least widths of their columns.
pub(crate) struct Columns(pub(crate) &'static [(&'static str, usize)]);

impl Columns {
    /// The line of headings, left open.
    pub(crate) fn head<T: Described>(&self, out: &mut dyn Write) -> fmt::Result {
        self.line::<T>(out, heading)
    }

    /// The line of a record, left open.
    pub(crate) fn row<T: Described>(
        &self,
        out: &mut dyn Write,
        row: &T,
        names: &dyn Names,
    ) -> fmt::Result {
        self.line::<T>(out, |key| {
            let shape = T::TABLE.field(key).map(|field| field.shape);
            let is_hex = matches!(shape, Some(Shape::Number(Unit::Hex)));
            text(value(row, key), is_hex, names)
        })
    }

    /// The line of the sums of these columns, left open; the first one is called `title`.
    pub(crate) fn sum<T: Described>(
        &self,
        out: &mut dyn Write,
        title: &str,
        summed: &[&str],
        rows: &[T],
    ) -> fmt::Result {
        let (first, _) = self.0[0];
        self.line::<T>(out, |key| {
            let figures = rows.iter().filter_map(|row| value(row, key).figure());
            match summed.contains(&key) {
                true => figures.sum::<i128>().to_string(),
                false if key == first => title.to_string(),
                false => String::new(),
            }
        })
    }

    fn line<T: Described>(
        &self,
        out: &mut dyn Write,
        cell: impl Fn(&'static str) -> String,
    ) -> fmt::Result {
        for (n, &(key, width)) in self.0.iter().enumerate() {
            let between = if n == 0 { "" } else { " " };
            let (width, text) = (width.max(heading(key).len()), cell(key));
            let shape = T::TABLE.field(key).map(|field| field.shape);
            if n + 1 == self.0.len() && !matches!(shape, Some(Shape::Number(_))) {
                // Nothing stands behind it that would have to begin in one column.
                write!(out, "{between}{text}")?;
            } else if matches!(shape, Some(Shape::Number(_))) {
                write!(out, "{between}{text:>width$}")?;
            } else {
                write!(out, "{between}{text:<width$}")?;
            }
        }
        Ok(())
    }
}

fn heading(key: &str) -> String {
    match key {
        "uuid" => String::from("TA"),
        key => key.replace('_', " "),
    }
}

/// What a field says, in a cell.
fn text(value: Value<'_>, is_hex: bool, names: &dyn Names) -> String {
    match value {
        Value::Number(number) if is_hex => format!("{number:#x}"),
        Value::Number(number) => number.to_string(),
        Value::Signed(number) => format!("{number:+}"),
        Value::Word(word) => word.to_string(),
        Value::Text(text) => printable(text),
        Value::Ta(uuid) if uuid == TeeUuid::nil() => String::new(),
        Value::Ta(uuid) => Called(uuid, names).to_string(),
        _ => String::from("-"),
    }
}
