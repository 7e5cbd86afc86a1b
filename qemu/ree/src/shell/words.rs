//! Command lines into commands, commands into words.
//!
//! **Invariant:** every character of the line ends up in a word or is a separator.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// One command of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its words; never empty.
    pub words: Vec<String>,
    /// Words of each filter that its output goes through; none of them is empty.
    pub filters: Vec<Vec<String>>,
    /// The file that its output goes into.
    pub into: Option<String>,
    /// Whether it runs as a job.
    pub background: bool,
}

/// The command at the end of a line that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Its words; the last is the one that is being typed, perhaps empty.
    pub words: Vec<String>,
    /// Whether it is a filter.
    pub is_filter: bool,
}

enum Token {
    Word(String),
    Pipe,
    Into,
    End { background: bool },
}

/// A quote that is not closed, and the line that it is in, from 1.
type Unclosed = (char, usize);

/// The tokens of `line`, whether it ends in a word, and in which quotes. Words are separated by blanks, may be quoted with `'`
/// or `"`, and `#` at a word's start ends the line. `>` is a redirection at a word's start: `heap>64k` is a word.
fn tokens(line: &str) -> (Vec<Token>, bool, Option<Unclosed>) {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut comment = false;
    let mut number = 1;
    for c in line.chars() {
        number += usize::from(c == '\n');
        if comment {
            comment = c != '\n';
            if comment {
                continue;
            }
        }
        let separator = match (quote, c) {
            (Some((q, _)), c) if c == q => {
                quote = None;
                continue;
            }
            (None, '\'' | '"') => {
                quote = Some((c, number));
                word.get_or_insert_default();
                continue;
            }
            (None, '#') if word.is_none() => {
                comment = true;
                continue;
            }
            (None, ';' | '\n' | '&') => Some(Token::End {
                background: c == '&',
            }),
            (None, '|') => Some(Token::Pipe),
            (None, '>') if word.is_none() => Some(Token::Into),
            (None, c) if c.is_whitespace() || c == '\0' => None,
            (_, c) => {
                word.get_or_insert_default().push(c);
                continue;
            }
        };
        tokens.extend(word.take().map(Token::Word));
        tokens.extend(separator);
    }
    let in_word = word.is_some();
    tokens.extend(word.map(Token::Word));
    (tokens, in_word, quote)
}

/// Splits `line` at `;`, newlines and `&` (which makes the command before it a job).
///
/// # Errors
/// What is missing behind a `|` or `>`, or which quote is not closed.
pub(crate) fn split(line: &str) -> Result<Vec<Command>, String> {
    let mut commands = Vec::new();
    let mut command = Command::default();
    let mut is_file_next = false;
    let end = Token::End { background: false };
    let (tokens, _, unclosed) = tokens(line);
    if let Some((quote, number)) = unclosed {
        return Err(match line.trim_end().contains('\n') {
            true => format!("line {number}: the {quote} is not closed"),
            false => format!("the {quote} is not closed"),
        });
    }
    for token in tokens.into_iter().chain([end]) {
        if is_file_next && !matches!(token, Token::Word(_)) {
            return Err("into which file? `> FILE`".to_string());
        }
        let is_filter_missing = command.filters.last().is_some_and(Vec::is_empty);
        match token {
            Token::Word(file) if is_file_next => {
                command.into = Some(file);
                is_file_next = false;
            }
            Token::Word(_) | Token::Pipe if command.into.is_some() => {
                return Err("nothing goes behind `> FILE`".to_string());
            }
            Token::Word(word) => match command.filters.last_mut() {
                Some(filter) => filter.push(word),
                None => command.words.push(word),
            },
            Token::Pipe | Token::Into | Token::End { .. } if is_filter_missing => {
                return Err("through which filter? `| grep TEXT`".to_string());
            }
            Token::Pipe | Token::Into if command.words.is_empty() => {
                return Err("the output of which command?".to_string());
            }
            Token::Pipe => command.filters.push(Vec::new()),
            Token::Into => is_file_next = true,
            Token::End { background } => {
                let mut ended = core::mem::take(&mut command);
                ended.background = background;
                commands.extend((!ended.words.is_empty()).then_some(ended));
            }
        }
    }
    Ok(commands)
}

/// What has been typed of the last command of a line.
pub(crate) fn begun(line: &str) -> Begun {
    let (tokens, in_word, _) = tokens(line);
    let mut begun = Begun::default();
    for token in tokens {
        match token {
            Token::Word(word) => begun.words.push(word),
            // A file's name cannot be completed: it begins with what names no command.
            Token::Into => begun.words.push(">".to_string()),
            Token::Pipe | Token::End { .. } => {
                begun = Begun {
                    words: Vec::new(),
                    is_filter: matches!(token, Token::Pipe),
                }
            }
        }
    }
    if !in_word {
        begun.words.push(String::new());
    }
    begun
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&w| w.into()).collect()
    }

    fn check(line: &str, expected: &[(&[&str], bool)]) {
        let commands = expected.iter().map(|&(of, background)| Command {
            words: words(of),
            background,
            ..Command::default()
        });
        assert_eq!(split(line), Ok(commands.collect()), "{line:?}");
    }

    /// Bug: it took all lines behind it for its own.
    #[test]
    fn a_quote_that_is_not_closed_is_told_with_its_line() {
        assert_eq!(split("echo 'a"), Err("the ' is not closed".into()));
        let why = split("echo one\necho \"two\necho three\n");
        assert_eq!(why, Err("line 2: the \" is not closed".into()));
        assert!(split("echo 'two\nlines'").is_ok());
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
        check(
            "a --on heap>5 '|'",
            &[(&["a", "--on", "heap>5", "|"], false)],
        );
    }

    #[test]
    fn output_goes_through_filters_and_into_a_file() {
        let command = Command {
            words: words(&["teestat", "ta"]),
            filters: [words(&["grep", "-v", "a b"]), words(&["grep", "x"])].into(),
            into: Some("f".into()),
            background: true,
        };
        let line = "teestat ta|grep -v 'a b' | grep x > f &";
        assert_eq!(split(line), Ok([command].into()));
        for wrong in [
            "a |",
            "a | ; b",
            "| b",
            "a >",
            "a > ;",
            "> f",
            "a > f g",
            "a > f | g",
            "a | > f",
        ] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_that_is_being_typed_is_the_last() {
        let check = |line, expected: &[&str], is_filter| {
            let expected = Begun {
                words: words(expected),
                is_filter,
            };
            assert_eq!(begun(line), expected, "{line:?}");
        };
        check("", &[""], false);
        check("a; teestat t", &["teestat", "t"], false);
        check("teestat ", &["teestat", ""], false);
        check("a 'b;c' | gr", &["gr"], true);
        check("a > ", &["a", ">", ""], false);
    }
}
