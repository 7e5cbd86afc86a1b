//! Output of a command on its way through filters, to the console or into a file.
//!
//! **Invariant:** whole lines go through; what the last line lacks is not made up.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use teestat::FileSink;

/// The one filter there is: lines that have a text, or those that have it not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    text: String,
    is_inverted: bool,
    in_any_case: bool,
}

/// Name of the filter.
pub(crate) const FILTER: &str = "grep";
/// Its options, for completion.
#[cfg(target_os = "none")]
pub(crate) const OPTIONS: [&str; 2] = ["-i", "-v"];

impl Filter {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut filter = Self::default();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words.first() != Some(&FILTER) {
            let first = words.first().copied().unwrap_or_default();
            return Err(format!(
                "no filter `{first}`; there is `{FILTER} [-i] [-v] TEXT`"
            ));
        }
        words.remove(0);
        while let Some(word) = words.first().filter(|_| words.len() > 1) {
            match *word {
                "-v" => filter.is_inverted = true,
                "-i" => filter.in_any_case = true,
                _ => break,
            }
            words.remove(0);
        }
        let [text] = words[..] else {
            return Err(format!("usage: {FILTER} [-i] [-v] TEXT"));
        };
        filter.text = match filter.in_any_case {
            true => text.to_lowercase(),
            false => text.to_string(),
        };
        Ok(filter)
    }

    fn passes(&self, line: &str) -> bool {
        let has = match self.in_any_case {
            true => line.to_lowercase().contains(&self.text),
            false => line.contains(&self.text),
        };
        has != self.is_inverted
    }
}

/// Where the output of a command goes.
pub(crate) struct Output {
    filters: Vec<Filter>,
    file: Option<Box<dyn FileSink>>,
    /// What of a line has come.
    line: String,
    has_passed: bool,
    trouble: Option<String>,
}

impl Output {
    /// Through these filters, into this file or on.
    ///
    /// # Errors
    /// Which filter is none.
    pub(crate) fn new(
        filters: &[Vec<String>],
        file: Option<Box<dyn FileSink>>,
    ) -> Result<Self, String> {
        let filters = filters.iter().map(|words| Filter::parse(words));
        Ok(Self {
            filters: filters.collect::<Result<_, _>>()?,
            file,
            line: String::new(),
            has_passed: false,
            trouble: None,
        })
    }

    /// Takes a text; what is to be shown of it goes to `show`.
    pub(crate) fn take(&mut self, text: &str, show: &mut dyn FnMut(&str)) {
        for part in text.split_inclusive('\n') {
            self.line.push_str(part);
            if part.ends_with('\n') {
                self.end_line(show);
            }
        }
    }

    fn end_line(&mut self, show: &mut dyn FnMut(&str)) {
        let line = core::mem::take(&mut self.line);
        let bare = line.trim_end_matches('\n');
        if !self.filters.iter().all(|filter| filter.passes(bare)) {
            return;
        }
        self.has_passed = true;
        match &mut self.file {
            None => show(&line),
            Some(file) => {
                if let Err(why) = file.write(line.as_bytes()) {
                    self.trouble.get_or_insert(why);
                }
            }
        }
    }

    /// The command has ended with this status; the status of both.
    ///
    /// # Errors
    /// Why the file is not whole.
    pub(crate) fn end(mut self, status: u8, show: &mut dyn FnMut(&str)) -> Result<u8, String> {
        if !self.line.is_empty() {
            self.end_line(show);
        }
        match self.trouble {
            Some(why) => Err(why),
            None if status == 0 && !self.has_passed && !self.filters.is_empty() => {
                Ok(teestat::STATUS_FAILED)
            }
            None => Ok(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    /// What is shown of a text, and the status.
    fn through(filters: &[&str], text: &str) -> (String, u8) {
        let filters: Vec<Vec<String>> = filters.iter().map(|f| words(f)).collect();
        let mut output = Output::new(&filters, None).unwrap();
        let mut shown = String::new();
        // In pieces, as it is written.
        for piece in text.split_inclusive(['a', '\n']) {
            output.take(piece, &mut |line| shown.push_str(line));
        }
        let status = output.end(0, &mut |line| shown.push_str(line)).unwrap();
        (shown, status)
    }

    #[test]
    fn lines_go_through_all_filters() {
        let text = "Free 1\nheap 2\nTA heaps 3\nlast heap";
        assert_eq!(
            through(&["grep heap"], text).0,
            "heap 2\nTA heaps 3\nlast heap"
        );
        assert_eq!(
            through(&["grep heap", "grep -v TA"], text).0,
            "heap 2\nlast heap"
        );
        assert_eq!(
            through(&["grep -i -v FREE"], text),
            through(&["grep heap"], text)
        );
        assert_eq!(through(&["grep -v"], "a -v\nb").0, "a -v\n");
        assert_eq!(through(&[], text), (text.into(), 0));
        assert_eq!(through(&["grep no"], text), (String::new(), 1));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for wrong in ["sort", "grep", "grep a b", "grep -v a b"] {
            assert!(Output::new(&[words(wrong)], None).is_err(), "{wrong}");
        }
    }

    struct Full;

    impl FileSink for Full {
        fn write(&mut self, _: &[u8]) -> Result<(), String> {
            Err("full".into())
        }
    }

    #[test]
    fn a_file_that_is_not_whole_fails() {
        let mut output = Output::new(&[], Some(Box::new(Full))).unwrap();
        let mut shown = 0;
        output.take("one\ntwo\n", &mut |_| shown += 1);
        assert_eq!(output.end(0, &mut |_| ()), Err("full".into()));
        assert_eq!(shown, 0);
    }
}
