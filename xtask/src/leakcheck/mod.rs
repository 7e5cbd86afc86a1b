//! `cargo xtask leakcheck`: a workload, many times over, must leave nothing behind.
//!
//! The script is run `--warmup` times, then `--cycles` times, with an account of the whole memory
//! before, between and after, so that growth that ended is told from growth that goes on.
//!
//! **Invariant:** 0 says that nothing goes on growing; 1 that something does, with its call stacks; 2 that it
//! cannot be told, whatever the reason: a file that is missing or not what it should be, a script that
//! fails, a machine that does not come to its end. The files asked for are written with each of the three.

mod output;
mod script;

use crate::given::Ta;
use crate::images::{self, Config, Images};
use crate::qemu::{Ending, Outcome, Run};
use crate::report::{self, programs};
use crate::{file, setup, ui};
use anyhow::{Context as _, Result, bail};
use script::Script;
use std::path::PathBuf;
use std::time::Duration;
use tally_abi::TeeUuid;
use tally_insight::account::{Account, Symbols as _};
use tally_insight::gate::{Taken, Verdict};
use tally_insight::numbers::counted;
use tally_insight::snapshot::Snapshot;

/// Last lines of the console that are shown of a script that failed.
const LAST_LINES: usize = 8;
/// Longest script that is read.
const MAX_SCRIPT_BYTES: u64 = 1 << 20;
/// Exit status when something goes on growing.
const STATUS_GREW: u8 = 1;
/// Exit status when it cannot be told.
const STATUS_UNKNOWN: u8 = 2;

const HELP: &str = "The script has shell commands, as `cargo xtask run -- '...'` takes them, a line or several each; \
`#` begins a comment. Lines before a line `---` run once, at the beginning; the rest runs every cycle:

  # leak.script
  open heap
  ---
  invoke 1 leak 10 28

Example:
  cargo xtask build
  cargo xtask leakcheck --ta target/tally/lib/optee_armtz/7a11e110-0002-4c6e-8d01-5ec0de000002.ta \\
      --script leak.script --cycles 20 --junit leaks.xml

A TA that is not in this workspace: `--ta FILE` takes its ELF file (signed with the development key, its \
call stacks named) or its signed image; its commands go by number: `invoke 1 3 in:10,28 out`.

Status: 0 nothing grew, or what grew did so no more in the second half of the cycles (named), 1 something goes on \
growing (named), 2 it cannot be told: a file is missing or not what it should be, \
the script failed, or the machine did not end by itself. --json and --junit files are written with each of them.";

/// What to check.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The TA: an ELF file, or a signed image
    #[arg(long, value_name = "FILE")]
    ta: PathBuf,
    /// Shell commands that use it
    #[arg(long, value_name = "FILE")]
    script: PathBuf,
    /// How often the script runs between the first account and the last
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    cycles: u64,
    /// How often it runs before the first one, for what is made once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    warmup: u64,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the result as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// End a guest that has been silent for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// What is asked, which every form of the answer repeats.
#[derive(Clone, Copy)]
struct Question<'a> {
    /// Name for people.
    name: &'a str,
    cycles: u64,
    warmup: u64,
}

/// What is to be checked.
pub(crate) struct Check<'a> {
    question: Question<'a>,
    /// The workload.
    script: Script,
    /// The TA that it must use.
    ta: TeeUuid,
    silence: Duration,
}

/// What came of a check.
pub(crate) enum Answer {
    /// Compared.
    Told(Box<Verdict>),
    /// Why it cannot be told.
    Unknown(String),
}

impl Answer {
    /// Exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Told(verdict) if verdict.leaks() => STATUS_GREW,
            Self::Told(_) => 0,
            Self::Unknown(_) => STATUS_UNKNOWN,
        }
    }
}

/// Checks, prints and writes what came of it; the status. Nothing that goes wrong may pass for growth.
pub(crate) fn run(args: &Args) -> u8 {
    let name = args.script.display().to_string();
    let question = Question {
        name: &name,
        cycles: args.cycles,
        warmup: args.warmup,
    };
    let outputs = [&args.json, &args.junit].into_iter().flatten();
    if let Err(err) = file::ensure_writable(outputs) {
        ui::error(format_args!("{err:#}"));
        return STATUS_UNKNOWN;
    }
    let answer = found(args, question).unwrap_or_else(|err| Answer::Unknown(format!("{err:#}")));
    anstream::print!("{}", output::text(&question, &answer));
    match write(args, &question, &answer) {
        Ok(()) => answer.status(),
        Err(err) => {
            ui::error(format_args!("{err:#}"));
            STATUS_UNKNOWN
        }
    }
}

fn found(args: &Args, question: Question<'_>) -> Result<Answer> {
    // What takes no time comes first.
    let text = String::from_utf8(tally_symbols::read(&args.script, MAX_SCRIPT_BYTES)?)
        .with_context(|| format!("{} is not text", args.script.display()))?;
    let script = Script::parse(&text)?;
    let ta = Ta::read(&args.ta)?;
    setup::ensure(setup::Part::Qemu)?;
    let mut images = images::build(&Config::default())?;
    let uuid = ta.uuid();
    let mut programs = programs::of(&images)?;
    ta.name(&images, &mut programs)?;
    ta.install(&mut images)?;
    let name = programs.program(uuid).unwrap_or_else(|| uuid.to_string());
    ui::step(
        "Checking",
        format_args!(
            "{name}, {} of {}",
            counted(question.cycles, "cycle"),
            question.name
        ),
    );
    let check = Check {
        question,
        script,
        ta: uuid,
        silence: Duration::from_secs(args.timeout),
    };
    check.answer(&images, &programs)
}

fn write(args: &Args, question: &Question<'_>, answer: &Answer) -> Result<()> {
    if let Some(path) = &args.json {
        file::put(path, output::json(question, answer)?.as_bytes())?;
    }
    if let Some(path) = &args.junit {
        file::put(path, output::junit(question, answer)?.as_bytes())?;
    }
    Ok(())
}

impl<'a> Check<'a> {
    /// A check of `ta` by `script` with TAs that are in the archive already.
    pub(crate) fn new(name: &'a str, ta: TeeUuid, script: &str, cycles: u64) -> Result<Self> {
        Ok(Self {
            question: Question {
                name,
                cycles,
                warmup: 3,
            },
            script: Script::parse(script)?,
            ta,
            silence: Duration::from_secs(60),
        })
    }

    /// What came of it, for a terminal.
    pub(crate) fn text(&self, answer: &Answer) -> String {
        output::text(&self.question, answer)
    }

    /// Runs it.
    pub(crate) fn answer(
        &self,
        images: &Images,
        names: &dyn tally_insight::account::Symbols,
    ) -> Result<Answer> {
        let Question { cycles, warmup, .. } = self.question;
        let taken = script::taken(cycles);
        let commands = self.script.commands(warmup, &taken);
        let outcome = Run::captured(images, "leakcheck", &commands, self.silence).start()?;
        if let Some(why) = failure(&outcome, images) {
            return Ok(Answer::Unknown(why));
        }
        let mut snapshots = Vec::new();
        for cycle in &taken {
            let Some(file) = outcome.file(&script::file(*cycle)) else {
                let why =
                    "the script ended the machine (`poweroff`) before the last account was taken";
                return Ok(Answer::Unknown(why.to_owned()));
            };
            snapshots.push((report::read(file)?, format!("cycle {cycle}")));
        }
        let accounts = Account::several(snapshots, names);
        let taken: Vec<Taken<'_>> = taken.into_iter().zip(&accounts).collect();
        let (Some((_, last)), Some(verdict)) = (taken.last(), Verdict::of(&taken)) else {
            bail!("no accounts");
        };
        let ta = self.ta;
        if !was_there(&last.snapshot, ta) {
            let name = names.program(ta).unwrap_or_else(|| ta.to_string());
            return Ok(Answer::Unknown(format!(
                "the script never opened {name}, the TA to be checked: nothing says whether it leaks"
            )));
        }
        Ok(Answer::Told(Box::new(verdict)))
    }
}

/// Whether a TA was ever entered.
fn was_there(snapshot: &Snapshot, ta: TeeUuid) -> bool {
    snapshot.tas.iter().any(|row| row.uuid == ta)
        || snapshot.commands.iter().any(|row| row.uuid == ta)
        || snapshot.history.iter().any(|row| row.uuid == ta)
}

/// Why a run says nothing about leaks, if so.
fn failure(outcome: &Outcome, images: &Images) -> Option<String> {
    let said = |status: u8| {
        // The shell is strict: its last line names the command.
        let lines: Vec<&str> = outcome.normal.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        format!(
            "a command of the script failed with status {status}; the console ends with\n{}",
            last.join("\n")
        )
    };
    match outcome.ending {
        Ending::Exit(0) => None,
        Ending::Exit(status) => Some(match outcome.trouble(images) {
            Some(trouble) => trouble,
            None => said(status),
        }),
        _ => Some(
            outcome
                .trouble(images)
                .unwrap_or_else(|| "the machine was interrupted".to_owned()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::DevKey, sign};

    /// A script that never opened the TA to be checked passed the gate: nothing grew.
    #[test]
    fn a_ta_that_was_never_opened_is_no_ta_that_does_not_leak() {
        let mut snapshot = tally_insight::sample::machine(1);
        let (leaker, sound) = (tally_insight::sample::LEAKER, tally_insight::sample::SOUND);
        assert!(was_there(&snapshot, leaker) && was_there(&snapshot, sound));
        snapshot.tas.clear();
        // By what it did, or by how it ended.
        assert!(was_there(&snapshot, leaker) && was_there(&snapshot, sound));
        (snapshot.commands, snapshot.history) = (Vec::new(), Vec::new());
        assert!(!was_there(&snapshot, leaker) && !was_there(&snapshot, sound));
    }

    /// A missing file was once told apart from growth by its text alone: both ended with 1.
    #[test]
    fn what_cannot_be_told_is_status_2_and_the_files_are_written() {
        let dir = std::env::temp_dir().join(format!("tally-leakcheck-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let script = file("good.script", "open heap\n");
        let none = dir.join("none");
        let text = file("text.ta", "no TA at all");
        let broken = file("broken.ta", "\x7fELF and no more");
        let mut signed = sign::sign_ta(&DevKey::for_test(), TeeUuid::nil(), b"elf").unwrap();
        *signed.last_mut().unwrap() ^= 1;
        let damaged = dir.join("damaged.ta");
        std::fs::write(&damaged, signed).unwrap();
        let empty = file("empty.script", "# nothing\n");
        for (ta, script, why) in [
            (&none, &script, "cannot read"),
            (&text, &script, "neither an ELF file nor a signed TA"),
            (&broken, &script, "broken.ta"),
            // It was run, and what the kernel said of it was the answer.
            (&damaged, &script, "the signed image is damaged"),
            (&text, &none, "cannot read"),
            (&text, &empty, "no command to run in a cycle"),
        ] {
            let (json, junit) = (dir.join("out.json"), dir.join("out.xml"));
            for out in [&json, &junit] {
                let _ = std::fs::remove_file(out);
            }
            let args = Args {
                ta: ta.clone(),
                script: script.clone(),
                cycles: 1,
                warmup: 0,
                json: Some(json.clone()),
                junit: Some(junit.clone()),
                timeout: 1,
            };
            assert_eq!(run(&args), STATUS_UNKNOWN, "{why}");
            let json = std::fs::read_to_string(json).unwrap();
            assert!(
                json.contains("\"status\": 2") && json.contains(why),
                "{json}"
            );
            let junit = std::fs::read_to_string(junit).unwrap();
            assert!(
                junit.contains("errors=\"1\"") && junit.contains(why),
                "{junit}"
            );
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
