//! Completion from the tables of commands: what is written of a command's arguments says what may be typed.
//!
//! Words in capitals stand for something, others for themselves; `|` separates choices, `[]` is around what may
//! be left out; an option is followed by what it takes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Form, all, find};

/// Options of every command.
const EVERYWHERE: [&str; 2] = ["--json", "--help"];

/// What could stand in place of the last of the words behind `teestat`; `tas` are names of TAs.
#[must_use]
pub fn complete(words: &[&str], tas: &[&str]) -> Vec<String> {
    let names = || all().map(|command| command.name);
    let Some((typed, before)) = words.split_last() else {
        return Vec::new();
    };
    match before {
        [] => beginning(typed, names().chain(["help", "--version"])),
        ["help"] => beginning(typed, names()),
        [name, arguments @ ..] => {
            let forms = find(name).map_or(&[][..], |command| command.forms);
            let mut found: Vec<String> = Vec::new();
            for Form(form, _) in forms {
                found.extend(of_form(form, arguments, typed, tas));
            }
            if typed.starts_with('-') {
                found.extend(beginning(typed, EVERYWHERE.into_iter()));
            }
            let mut once: Vec<String> = Vec::new();
            found.retain(|word| {
                let is_new = !once.contains(word);
                once.push(word.clone());
                is_new
            });
            found
        }
    }
}

/// What could stand behind `before` in arguments of this form, beginning with `typed`.
#[must_use]
pub fn of_form(form: &str, before: &[&str], typed: &str, tas: &[&str]) -> Vec<String> {
    let mut options: Vec<(&str, Option<&str>)> = Vec::new();
    let mut positions: Vec<&str> = Vec::new();
    let mut parts = form.split_whitespace().map(bare).peekable();
    while let Some(part) = parts.next() {
        match part {
            "|" => {}
            option if option.starts_with('-') => {
                options.push((option, parts.next_if(|next| !next.starts_with(['-', '|']))));
            }
            position => positions.push(position),
        }
    }
    let mut positions = positions.into_iter();
    let mut words = before.iter();
    while let Some(word) = words.next() {
        if let Some(at) = options.iter().position(|(option, _)| option == word) {
            let (_, value) = options.remove(at);
            if let Some(value) = value
                && words.next().is_none()
            {
                return choices(value, typed, tas);
            }
        } else {
            match positions.next() {
                // Another form is meant.
                Some(part) if is_literal(part) && part != *word => return Vec::new(),
                None => return Vec::new(),
                Some(_) => {}
            }
        }
    }
    let next = positions.next();
    let mut found = next.map_or_else(Vec::new, |part| choices(part, typed, tas));
    // What has to come first comes first.
    if !next.is_some_and(is_literal) {
        found.extend(beginning(typed, options.iter().map(|(option, _)| *option)));
    }
    found
}

fn beginning<'a>(typed: &str, words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let words = words.filter(|word| word.starts_with(typed));
    words.map(ToString::to_string).collect()
}

/// A part without what says that it may be left out or repeated.
fn bare(part: &str) -> &str {
    let part = part.trim_start_matches('[').trim_end_matches([']', '.']);
    // `UUID|NAME[#INSTANCE`
    part.split('[').next().unwrap_or(part)
}

/// Whether a part stands for itself alone.
fn is_literal(part: &str) -> bool {
    !part.contains(|c: char| c == '|' || c.is_ascii_uppercase())
}

/// What a part stands for.
fn choices(part: &str, typed: &str, tas: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    if part == "POOL" {
        found.extend(beginning(typed, ["kernel"].into_iter()));
    }
    if part == "POOL" || part.split('|').any(|choice| choice == "UUID") {
        found.extend(beginning(typed, tas.iter().copied()));
    }
    // Up to what is in capitals: `entry:N` begins with `entry:`.
    let own = part.split('|').map(|choice| {
        let end = choice.find(|c: char| c.is_ascii_uppercase());
        choice.get(..end.unwrap_or(choice.len())).unwrap_or(choice)
    });
    found.extend(beginning(typed, own.filter(|word| !word.is_empty())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: &[&str]) {
        assert_eq!(complete(words, &["heap", "hello"]), expected, "{words:?}");
    }

    #[test]
    fn options_and_their_values_are_offered() {
        check(
            &["allocinfo", "--"],
            &["--sort", "--top", "--json", "--help"],
        );
        check(
            &["allocinfo", "heap", "--sort", ""],
            &["bytes", "blocks", "calls", "peak"],
        );
        check(&["top", "--sort", "r"], &["rss"]);
        check(
            &["top", "--sort", "rss", "-"],
            &["-n", "-d", "--json", "--help"],
        );
        check(&["top", "-n", ""], &[]);
        check(
            &["watch", "heap", "--on", ""],
            &["entry:", "exit:", "heap>", "fail"],
        );
        check(&["meminfo", ""], &["--all"]);
    }

    #[test]
    fn names_are_offered_where_a_ta_or_a_pool_is_meant() {
        check(&["kill", "he"], &["heap", "hello"]);
        check(&["blocks", ""], &["kernel", "heap", "hello"]);
        check(&["maps", "k"], &["kernel"]);
        check(&["ta", "hea"], &["heap"]);
        check(&["block", "0x10", "hea"], &["heap"]);
        check(&["kill", "heap", ""], &[]);
        check(&["leaks", "mark", ""], &[]);
    }

    #[test]
    fn each_form_has_its_own_words() {
        check(&["pool", ""], &["dump", "check"]);
        check(&["pool", "dump", "kern"], &["kernel"]);
        check(&["leaks", "s"], &["scan", "show"]);
        check(&["leaks", "ta", "hel"], &["hello"]);
        check(&["watch", "s"], &["show", "save"]);
        check(&["ledger", "heap", "--c"], &["--clear"]);
        check(&["met"], &["metrics"]);
        check(&["help", "owne"], &["owners"]);
        check(&["nosuch", ""], &[]);
    }

    #[test]
    fn every_option_that_a_form_writes_is_offered() {
        for command in all() {
            for Form(form, _) in command.forms {
                for option in form.split_whitespace().map(bare) {
                    let is_first = form.trim_start_matches('[').starts_with(option);
                    if option.starts_with('-') && is_first {
                        let found = complete(&[command.name, "-"], &[]);
                        assert!(found.iter().any(|word| word == option), "{option}");
                    }
                }
            }
        }
    }
}
