//! OpenMetrics text (github.com/prometheus/OpenMetrics, version 1.0).
//!
//! **Invariant:** every family has TYPE and HELP and, where its name ends with one, UNIT; label
//! values are escaped; labels of all samples come first.

use alloc::string::String;
use core::fmt::{self, Display, Write};

/// What an HTTP answer with such a text says it is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A label: its name and its value.
pub type Label<'a> = (&'a str, String);

/// The text, as it is written.
pub struct Text<'a> {
    out: &'a mut dyn Write,
    /// Labels of every sample.
    common: &'a [Label<'a>],
}

impl<'a> Text<'a> {
    /// Writes to `out`; every sample gets the labels `common`.
    pub fn new(out: &'a mut dyn Write, common: &'a [Label<'a>]) -> Self {
        Self { out, common }
    }

    /// Begins a family. `unit` is empty or the end of the name.
    ///
    /// # Errors
    /// The output's.
    pub fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) -> fmt::Result {
        writeln!(self.out, "# TYPE {name} {kind}")?;
        if !unit.is_empty() {
            writeln!(self.out, "# UNIT {name} {unit}")?;
        }
        writeln!(self.out, "# HELP {name} {}", Escaped(help))
    }

    /// Writes a sample of the family that was begun last.
    ///
    /// # Errors
    /// The output's.
    pub fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) -> fmt::Result {
        self.out.write_str(name)?;
        let mut begin = '{';
        for (label, text) in self.common.iter().chain(labels) {
            write!(self.out, "{begin}{label}=\"{}\"", Escaped(text))?;
            begin = ',';
        }
        if begin == ',' {
            self.out.write_char('}')?;
        }
        writeln!(self.out, " {value}")
    }

    /// Ends the text.
    ///
    /// # Errors
    /// The output's.
    pub fn end(self) -> fmt::Result {
        self.out.write_str("# EOF\n")
    }
}

/// Whether a label of this name can be put on every sample: letters, digits and `_`, not one that
/// families or scrapers use.
#[must_use]
pub fn is_free_label(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    let goes_on = |c: char| begins(c) || c.is_ascii_digit();
    name.starts_with(begins)
        && name.chars().all(goes_on)
        && !name.starts_with("__")
        && !["instance", "job", "le", "quantile"].contains(&name)
        && !crate::figures::LABELS.contains(&name)
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;

    #[test]
    fn labels_of_all_samples_come_first_and_are_escaped() {
        let mut out = String::new();
        let common = [("device", "a \"b\"\n\\".to_owned())];
        let mut text = Text::new(&mut out, &common);
        text.family("x_bytes", "gauge", "bytes", "A help").unwrap();
        text.sample("x_bytes", &[("use", "free".to_owned())], 7)
            .unwrap();
        text.end().unwrap();
        assert_eq!(
            out,
            "# TYPE x_bytes gauge\n# UNIT x_bytes bytes\n# HELP x_bytes A help\n\
             x_bytes{device=\"a \\\"b\\\"\\n\\\\\",use=\"free\"} 7\n# EOF\n"
        );
    }

    #[test]
    fn a_sample_without_labels_has_no_braces() {
        let mut out = String::new();
        Text::new(&mut out, &[]).sample("x", &[], 1).unwrap();
        assert_eq!(out, "x 1\n");
    }

    #[test]
    fn labels_that_mean_something_else_are_not_free() {
        for name in ["device", "rack_2", "_x"] {
            assert!(is_free_label(name), "{name}");
        }
        for name in ["", "2nd", "a-b", "__x", "instance", "ta", "use", "é"] {
            assert!(!is_free_label(name), "{name}");
        }
    }
}
