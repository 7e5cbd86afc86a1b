//! Every question that `teestat` can be asked, made from its table of commands.
//!
//! **Invariant:** each form of each command is asked, with each option that changes what the secure world does; a
//! placeholder without an example is an error, so that a new command is not left out.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use teestat::commands;

/// Ends the TA that all others are about.
const LAST: &str = "kill";

/// All of them, word by word; `number` is that of a snapshot.
pub(super) fn all(number: &str) -> Result<Vec<Vec<String>>, String> {
    let mut questions = Vec::new();
    let (last, others): (Vec<_>, Vec<_>) = commands::all().partition(|one| one.name == LAST);
    for command in others.into_iter().chain(last) {
        for form in command.forms {
            for words in said(form.0, number)? {
                let name = core::iter::once(command.name.to_owned());
                questions.push(name.chain(words).collect());
            }
        }
    }
    Ok(questions)
}

/// The ways to say a form: without options, and with each.
fn said(form: &str, number: &str) -> Result<Vec<Vec<String>>, String> {
    let mut least: Vec<String> = Vec::new();
    let mut options: Vec<Vec<String>> = Vec::new();
    let mut rest = form.trim_start();
    while !rest.is_empty() {
        let end = piece_end(rest);
        let (piece, behind) = rest.split_at(end);
        rest = behind.trim_start();
        let option = piece.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        match option {
            Some(option) => {
                let known = examples(option, number);
                let known = known.ok_or_else(|| format!("no example for `[{option}]`"))?;
                let words = |one: &&str| one.split_whitespace().map(str::to_owned).collect();
                options.extend(known.iter().map(words));
            }
            None if is_placeholder(piece) => {
                let known = examples(piece, number);
                let known = known.ok_or_else(|| format!("no example for `{piece}`"))?;
                least.extend(known.first().map(|&word| word.to_owned()));
            }
            None => least.push(piece.to_owned()),
        }
    }
    let with = |option: &Vec<String>| [least.clone(), option.clone()].concat();
    let more: Vec<Vec<String>> = options.iter().map(with).collect();
    Ok([vec![least.clone()], more].concat())
}

/// Where the first word ends, or the first option with all that is in its brackets.
fn piece_end(form: &str) -> usize {
    let is_option = form.starts_with('[');
    let mut depth = 0_usize;
    for (at, letter) in form.char_indices() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ' ' if !is_option || depth == 0 => return at,
            _ => {}
        }
    }
    form.len()
}

fn is_placeholder(word: &str) -> bool {
    word.contains(|letter: char| letter.is_ascii_uppercase() || letter == '|')
}

/// What can stand for a placeholder; nothing for options that only change what is shown.
fn examples<'a>(placeholder: &str, number: &'a str) -> Option<Vec<&'a str>> {
    Some(match placeholder {
        "UUID|NAME" | "UUID|NAME[#INSTANCE]" => vec!["heap"],
        "kernel|UUID|NAME" | "POOL" => vec!["kernel", "heap"],
        "ADDRESS|OFFSET" => vec!["0x20000"],
        "entry:N|exit:N|heap>BYTES|fail" => vec!["fail"],
        "N" => vec![number],
        "FILE" => vec!["file"],
        "NAME" | "A [B]" => vec!["begin"],
        "--all" => vec!["--all"],
        "--diff" => vec!["--diff"],
        "-n COUNT" => vec!["-n 1"],
        "--sort bytes|blocks|calls|peak"
        | "--sort heap|rss|kernel|name"
        | "--top N"
        | "-d SECONDS"
        | "--label NAME=VALUE"
        | "--listen ADDRESS:PORT"
        | "--host NAME" => vec![],
        _ => return None,
    })
}
