//! Tables: sortable, filterable, with a sum that is computed from the rows it stands under.
//!
//! **Invariant:** a number's exact value is in `data-v` of its cell; what is text is escaped.

use crate::xml;
use std::fmt::Write as _;
use tally_abi::TeeUuid;
use tally_insight::account::Account;
use tally_insight::names::{Frame, Stack, printable};
use tally_insight::numbers::{counted, signed, thousands};
use tally_records::{Described, Field, Origin, Row, Shape, Unit, Value, value};

/// Text as HTML, safe in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in xml::chars(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// One cell.
pub(super) enum Cell {
    /// Text, escaped when written.
    Text(String),
    /// A number.
    Number(u64),
    /// A difference.
    Difference(i64),
    /// A number with a point.
    Decimal(String),
    /// HTML, and what it sorts by.
    Html(String, String),
    /// Nothing.
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

/// Most columns that a telephone has room for.
const MOST_NARROW: usize = 4;

/// A table.
pub(super) struct Table {
    /// Its id in the page.
    pub(super) id: &'static str,
    /// What is in it.
    pub(super) caption: String,
    /// Headings.
    pub(super) columns: Vec<String>,
    /// Rows, as long as `columns`.
    pub(super) rows: Vec<Vec<Cell>>,
    /// Whether a last row adds up these columns.
    pub(super) sums: &'static [usize],
    /// Whether it has a field to filter by.
    pub(super) filter: bool,
}

/// The cells of a record: its fields of these keys.
pub(super) fn cells<T: Described>(row: &T, keys: &[&str], account: &Account) -> Vec<Cell> {
    let cell = |key: &&str| match T::TABLE.field(key) {
        Some(field) => Cell::of(field, value(row as &dyn Row, key), account),
        None => Cell::Empty,
    };
    keys.iter().map(cell).collect()
}

/// The headings of these fields.
pub(super) fn headings<T: Described>(keys: &[&str]) -> Vec<String> {
    let heading = |key: &&str| match (*key, T::TABLE.field(key).map(|field| field.shape)) {
        ("uuid", _) => "TA".to_owned(),
        ("stack", _) => "allocated in".to_owned(),
        (key, Some(Shape::Ta)) => format!("{key} of"),
        (key, _) => key.replace('_', " "),
    };
    keys.iter().map(heading).collect()
}

impl Table {
    /// A table of records, with columns for the fields of these keys.
    pub(super) fn of<'a, T: Described + 'a>(
        id: &'static str,
        caption: &str,
        keys: &[&str],
        rows: impl IntoIterator<Item = &'a T>,
        account: &Account,
    ) -> Self {
        let rows = rows.into_iter();
        Self {
            id,
            caption: caption.to_owned(),
            columns: headings::<T>(keys),
            rows: rows.map(|row| cells(row, keys, account)).collect(),
            sums: &[],
            filter: false,
        }
    }

    /// With a last row that adds up these columns.
    pub(super) fn summing(self, sums: &'static [usize]) -> Self {
        Self { sums, ..self }
    }

    /// Appends it to `out`; nothing without rows.
    pub(super) fn write(&self, out: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let id = self.id;
        // Writing to a string does not fail.
        if self.filter {
            let _ = write!(
                out,
                "<p class=\"filter\"><label>Filter <input type=\"search\" data-filter=\"{id}\" \
                 placeholder=\"function, file, owner\"></label> \
                 <output data-count=\"{id}\">{}</output></p>",
                counted(self.rows.len() as u64, "row")
            );
        }
        let class = if self.columns.len() > MOST_NARROW {
            self.write_names(out);
            " wide"
        } else {
            ""
        };
        let _ = write!(
            out,
            "<div class=\"scroll{class}\"><table id=\"{id}\"><caption>{}</caption><thead><tr>",
            escape(&self.caption)
        );
        for (n, column) in self.columns.iter().enumerate() {
            let number = matches!(
                self.rows[0].get(n),
                Some(Cell::Number(_) | Cell::Difference(_) | Cell::Decimal(_))
            );
            let class = if number { " class=\"n\"" } else { "" };
            let _ = write!(
                out,
                "<th scope=\"col\"{class}><button type=\"button\">{column}</button></th>"
            );
        }
        out.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            out.push_str("<tr>");
            for cell in row {
                cell.write(out);
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody>");
        if !self.sums.is_empty() {
            self.write_sums(out);
        }
        out.push_str("</table></div>\n");
    }

    /// What a screen that is too narrow for the columns shows before each cell.
    fn write_names(&self, out: &mut String) {
        out.push_str("<style>");
        for (n, column) in self.columns.iter().enumerate() {
            let child = n + 1;
            let _ = write!(
                out,
                "#{} td:nth-child({child}){{--name:{column:?}}}",
                self.id
            );
        }
        out.push_str("</style>");
    }

    fn write_sums(&self, out: &mut String) {
        out.push_str("<tfoot><tr>");
        for n in 0..self.columns.len() {
            if n == 0 {
                out.push_str("<th scope=\"row\">sum</th>");
            } else if self.sums.contains(&n) {
                self.sum(n).write(out);
            } else {
                out.push_str("<td></td>");
            }
        }
        out.push_str("</tr></tfoot>");
    }

    fn sum(&self, column: usize) -> Cell {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let mut total = 0u64;
        let mut difference = None;
        for cell in cells {
            match cell {
                Cell::Number(n) => total = total.saturating_add(*n),
                Cell::Difference(n) => {
                    difference = Some(difference.unwrap_or(0i64).saturating_add(*n));
                }
                _ => {}
            }
        }
        difference.map_or(Cell::Number(total), Cell::Difference)
    }
}

/// The function that a person looks for, with the whole stack behind it.
pub(super) fn stack_cell(stack: &Stack) -> Cell {
    let shown = stack.shown();
    let useful = stack.useful().filter(|frame| frame.line > 0);
    let Some(first) = useful.or(shown.first().map(|shown| shown.frame)) else {
        return "no call stack".into();
    };
    let named = |frame: &Frame, inlined: bool| {
        let inlined = if inlined { " <em>inlined</em>" } else { "" };
        format!(
            "<span title=\"{}\"><code>{}</code></span> <span class=\"dim\">{}</span>{inlined}",
            escape(frame.full.as_ref().unwrap_or(&frame.function)),
            escape(&frame.function),
            escape(&frame.place())
        )
    };
    let mut html = format!("<details><summary>{}</summary><ol>", named(first, false));
    for shown in shown {
        let _ = write!(html, "<li>{}</li>", named(shown.frame, shown.inlined));
    }
    html.push_str("</ol></details>");
    Cell::Html(html, first.function.clone())
}

impl Cell {
    /// What a field says. The nil UUID is the kernel's.
    fn of(field: &Field, value: Value<'_>, account: &Account) -> Self {
        match value {
            Value::Number(number) if matches!(field.shape, Shape::Number(Unit::Hex)) => {
                Self::Html(format!("<code>{number:#x}</code>"), number.to_string())
            }
            Value::Number(number) => Self::Number(number),
            Value::Signed(number) => Self::Difference(number),
            Value::Flag(flag) => (if flag { "yes" } else { "no" }).into(),
            Value::Word(word) => word.into(),
            Value::Set(bits, words) => {
                let set = words.iter().filter(|(bit, _)| bits & bit != 0);
                let set: Vec<&str> = set.map(|(_, word)| *word).collect();
                set.join(", ").into()
            }
            Value::Text(text) => printable(text).into(),
            Value::Ta(uuid) if uuid == TeeUuid::nil() => "kernel".into(),
            Value::Ta(uuid) => account.ta(uuid).into(),
            Value::Id(id) => format!("{id:016x}").into(),
            Value::Frames(frames) => stack_cell(&Stack::new(account, frames, Origin::default())),
            Value::Null | Value::Bytes(_) | Value::Row(_) | Value::Rows(_) => Self::Empty,
        }
    }

    fn write(&self, out: &mut String) {
        let _ = match self {
            Self::Text(text) => write!(out, "<td>{}</td>", escape(text)),
            Self::Number(n) => {
                write!(out, "<td class=\"n\" data-v=\"{n}\">{}</td>", thousands(*n))
            }
            Self::Difference(n) => {
                let class = match n {
                    1.. => "n by up",
                    0 => "n by",
                    _ => "n by down",
                };
                write!(
                    out,
                    "<td class=\"{class}\" data-v=\"{n}\">{}</td>",
                    signed(*n)
                )
            }
            Self::Decimal(text) => write!(out, "<td class=\"n\" data-v=\"{text}\">{text}</td>"),
            Self::Html(html, key) => write!(out, "<td data-v=\"{}\">{html}</td>", escape(key)),
            Self::Empty => write!(out, "<td></td>"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_sums_are_the_rows() {
        let table = Table {
            id: "t",
            caption: "a < b".into(),
            columns: ["what", "bytes", "growth"].map(String::from).to_vec(),
            rows: vec![
                vec!["<script>".into(), 7u64.into(), Cell::Difference(-2)],
                vec!["\"'&".into(), 1000u64.into(), Cell::Difference(5)],
            ],
            sums: &[1, 2],
            filter: true,
        };
        let mut out = String::new();
        table.write(&mut out);
        assert!(!out.contains("<script") && out.contains("&lt;script&gt;"));
        assert!(out.contains("&quot;&#39;&amp;") && out.contains("a &lt; b"));
        assert!(out.contains("data-v=\"1007\">1,007<"));
        assert!(out.contains("data-v=\"3\">+3<"));
    }

    #[test]
    fn an_empty_table_is_not_there() {
        let mut out = String::new();
        let table = Table {
            id: "t",
            caption: String::new(),
            columns: vec!["a".to_owned()],
            rows: Vec::new(),
            sums: &[],
            filter: true,
        };
        table.write(&mut out);
        assert!(out.is_empty());
    }
}
