//! The commands, one table: what they are called, what they take, what they do.
//!
//! **Invariant:** help and completion come from this table alone.

mod account;
mod audit;
mod inspect;
mod leaks;
mod ledger;
mod metrics;
mod pools;
mod snapshot;
mod stock;
pub(crate) mod top;
mod watch;

pub use metrics::metrics;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use tally_insight::answer;
use tally_insight::schema::Answer;

use crate::marks::distance;
use crate::tool::{Failure, Tool, usage};

/// One command.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// The ways to say it.
    pub forms: &'static [Form],
    /// Words that may follow, for completion; [`A_TA`] where a TA may.
    pub words: &'static [&'static str],
    pub(crate) run: fn(&mut Tool<'_, '_>, &[&str]) -> Result<u8, Failure>,
}

/// One way to say a command: its arguments, and what it does.
pub struct Form(pub &'static str, pub &'static str);

/// As [`Command::words`]: the name of a TA.
pub const A_TA: &[&str] = &["TA"];

/// Most commands that a complaint names.
const NEAREST: usize = 3;

/// A table of every group of commands.
macro_rules! of_groups {
    ($table:ident) => {
        [
            stock::$table,
            account::$table,
            inspect::$table,
            pools::$table,
            leaks::$table,
            snapshot::$table,
            watch::$table,
            audit::$table,
            top::$table,
            ledger::$table,
            metrics::$table,
        ]
    };
}

/// What commands answer with `--json`, by the words that tell one's answers apart.
pub fn answers() -> impl Iterator<Item = &'static Answer> {
    of_groups!(ANSWERS).into_iter().flatten()
}

/// All commands, in the order of the help.
pub fn all() -> impl Iterator<Item = &'static Command> {
    of_groups!(COMMANDS).into_iter().flatten()
}

/// The command of this name.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| command.name == name)
}

/// That there is no command of this name, and which are nearest.
pub(crate) fn no_such(name: &str) -> String {
    alloc::format!(
        "there is no command `{name}`; nearest are: {} (`teestat help` lists all)",
        nearest(name, all().map(|command| command.name))
    )
}

/// The choices that are most like `word`, nearest first, for people.
pub fn nearest<'a>(word: &str, choices: impl Iterator<Item = &'a str>) -> String {
    let mut choices: Vec<(usize, &str)> = choices
        .map(|choice| (distance(word, choice), choice))
        .collect();
    choices.sort_unstable();
    let choices: Vec<&str> = choices
        .iter()
        .take(NEAREST)
        .map(|(_, choice)| *choice)
        .collect();
    choices.join(", ")
}

/// Writes what `teestat help` prints.
///
/// # Errors
/// `out`'s.
pub fn help(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "usage: teestat COMMAND [--json]")?;
    for command in all() {
        help_of(out, command)?;
    }
    writeln!(out, "  {:<28}this text, or one command's", "help [COMMAND]")
}

pub(crate) fn help_of(out: &mut dyn Write, command: &Command) -> fmt::Result {
    help_with(out, command, None)
}

/// As [`help_of`], only the forms that begin with `word` if any do.
pub(crate) fn help_with(out: &mut dyn Write, command: &Command, word: Option<&str>) -> fmt::Result {
    let begins = |form: &&Form| word.is_some() && form.0.split_whitespace().next() == word;
    let some_do = command.forms.iter().any(|form| begins(&form));
    let meant = |form: &&Form| !some_do || begins(form);
    for Form(arguments, help) in command.forms.iter().filter(meant) {
        let said = alloc::format!("{} {arguments}", command.name);
        if said.len() < 28 {
            writeln!(out, "  {said:<28}{help}")?;
        } else {
            writeln!(out, "  {said}\n  {:<28}{help}", "")?;
        }
    }
    Ok(())
}

answer! {
    /// The answer to what is only done.
    struct Nothing {}
}

/// Complains about words that a command does not take.
fn no_more(words: &[&str]) -> Result<(), Failure> {
    match words {
        [] => Ok(()),
        [word, ..] => Err(usage(&alloc::format!("`{word}` is not understood here"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_has_the_help_of_what_was_meant() {
        // Bug: a wrong word of one way to say it was answered with all of them.
        let said_of = |name, word| {
            let mut out = String::new();
            help_with(&mut out, find(name).expect("it is one"), word)
                .expect("strings take everything");
            out
        };
        let said = |word| said_of("leaks", word);
        assert!(said(Some("diff")).starts_with("  leaks diff [A [B]]  "));
        assert_eq!(said(Some("diff")).lines().count(), 1);
        assert!(said(Some("what")).lines().count() > 8);
        assert_eq!(said(Some("what")), said(None));
        // Bug: the help of all commands left out every form but the one without arguments.
        assert_eq!(said_of("ta", None).lines().count(), 3);
        assert_eq!(said_of("ta", None), said_of("ta", Some("7a11e110")));
    }

    #[test]
    fn an_unknown_command_is_answered_with_the_nearest() {
        let said = no_such("histroy");
        assert!(said.contains("nearest are: history, "), "{said}");
        assert!(all().all(|command| find(command.name).is_some()));
    }
}
