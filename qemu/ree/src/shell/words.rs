//! Command lines into commands, commands into words.
//!
//! **Invariant:** every character of the line ends up in a word or is a separator.

use alloc::string::String;
use alloc::vec::Vec;

/// One command of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its words; never empty.
    pub words: Vec<String>,
    /// Whether it runs as a job.
    pub background: bool,
}

/// Splits `line` at `;`, newlines and `&` (which makes the command before it a job). Words are
/// separated by blanks, may be quoted with `'` or `"`, and `#` at a word's start ends the line.
pub(crate) fn split(line: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut comment = false;
    let mut end = |words: &mut Vec<String>, background| {
        if !words.is_empty() {
            let words = core::mem::take(words);
            commands.push(Command { words, background });
        }
    };
    for c in line.chars() {
        if comment {
            comment = c != '\n';
            if comment {
                continue;
            }
        }
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ';' | '\n' | '&') => {
                words.extend(word.take());
                end(&mut words, c == '&');
            }
            (None, '#') if word.is_none() => comment = true,
            (None, c) if c.is_whitespace() || c == '\0' => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    end(&mut words, false);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[(&[&str], bool)]) {
        let commands: Vec<_> = expected
            .iter()
            .map(|(words, background)| Command {
                words: words.iter().map(|&w| w.into()).collect(),
                background: *background,
            })
            .collect();
        assert_eq!(split(line), commands, "{line:?}");
    }

    #[test]
    fn lines_split_into_commands_and_words() {
        check("", &[]);
        check(" ;; \n", &[]);
        check(
            "teestat alloc; teestat  ta",
            &[(&["teestat", "alloc"], false), (&["teestat", "ta"], false)],
        );
        check(
            "crash loop & jobs",
            &[(&["crash", "loop"], true), (&["jobs"], false)],
        );
        check("a 'b;c' \"\"", &[(&["a", "b;c", ""], false)]);
        check("a # b ; c\nd", &[(&["a"], false), (&["d"], false)]);
        check("a 'open", &[(&["a", "open"], false)]);
    }
}
