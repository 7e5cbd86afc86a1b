//! `cargo xtask symbolize`.
//!
//! **Invariant:** every input line comes out again, whole; what moves a terminal is written out. Nothing is built, and a
//! call is named by the build that the log says ran, or not at all.

use crate::report::programs;
use crate::symbols::{
    KERNEL, LDELF, MONITOR, Place, Symbols, Token, annotate, image_line, is_monitors,
};
use crate::{builds, ui};
use anyhow::Result;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;
use tally_abi::TeeUuid;
use tally_insight::account::Build;
use tally_symbols::elf::Image;

/// What to read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with a log; `-` or nothing: standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// ELF file of a TA whose build is not kept; may be repeated. It names the calls of that build, and those in logs
    /// that do not say which build ran
    #[arg(long, value_name = "ELF")]
    ta: Vec<PathBuf>,
    /// ELF file of the kernel, as --ta
    #[arg(long, value_name = "ELF")]
    kernel: Option<PathBuf>,
}

/// Longest log that is read.
const MAX_LOG_BYTES: u64 = 1 << 30;
/// Exit status when something could not be named.
const STATUS_UNNAMED: u8 = 1;

/// Prints the log with names.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let text = match &args.file {
        Some(path) if path.as_os_str() != "-" => tally_symbols::read(path, MAX_LOG_BYTES)?,
        _ => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .take(MAX_LOG_BYTES)
                .read_to_end(&mut bytes)?;
            bytes
        }
    };
    let mut given = Vec::new();
    for path in &args.ta {
        let image = programs::read_ta(path)?;
        given.push((image.ta_head()?.uuid.to_string(), image));
    }
    if let Some(path) = &args.kernel {
        given.push((KERNEL.to_owned(), Image::read(path)?));
    }
    let text = String::from_utf8_lossy(&text);
    let (named, programs) = name(&text, given, builds::kept);
    anstream::print!("{}", shown(&named));
    for refused in &programs.refused {
        ui::error(refused);
    }
    if programs.refused.is_empty() && named.trim_end() == text.trim_end() {
        ui::step("Named", "nothing: there is no address of code in it");
    }
    Ok(if programs.refused.is_empty() {
        0
    } else {
        STATUS_UNNAMED
    })
}

/// A log with names by the builds that are kept, and what of it is not named.
pub(crate) fn by_kept(text: &str) -> (String, BTreeSet<String>) {
    let (named, programs) = name(text, Vec::new(), builds::kept);
    (named, programs.refused)
}

/// A log with names, by the programs that it says ran.
fn name(
    text: &str,
    given: Vec<(String, Image)>,
    kept: fn(Build) -> Option<(String, Image)>,
) -> (String, Programs) {
    let said = Said::of(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut programs = Programs {
        given,
        kept,
        found: BTreeMap::new(),
        refused: BTreeSet::new(),
    };
    let named = annotate(text, |line, token| {
        let modules = match token {
            Token::Relative(module, _) => vec![&**module],
            Token::Absolute(_) if is_monitors(lines[line]) => vec![MONITOR],
            Token::Absolute(_) => vec![KERNEL],
        };
        let mut modules = modules.into_iter();
        modules.find_map(|module| programs.place(module, said.build(module, line), token))
    });
    (named, programs)
}

/// What a log says of the builds that ran.
struct Said {
    /// Number of a line, program, build.
    builds: Vec<(usize, String, u64)>,
    /// Lines with which a machine booted.
    boots: Vec<usize>,
}

impl Said {
    fn of(text: &str) -> Self {
        let mut said = Self {
            builds: Vec::new(),
            boots: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            if let Some((name, id)) = image_line(line) {
                said.builds.push((number, name.to_ascii_lowercase(), id));
            } else if line.contains("I/TC: Tally ") {
                said.boots.push(number);
            }
        }
        said
    }

    /// The build of a program in a line: the last one that the same boot tells of before it, else the next one after it.
    fn build(&self, program: &str, line: usize) -> Option<u64> {
        let began = self.boots.iter().rfind(|boot| **boot <= line);
        let ended = self.boots.iter().find(|boot| **boot > line);
        let boot = began.copied().unwrap_or(0)..ended.copied().unwrap_or(usize::MAX);
        let mut builds = self
            .builds
            .iter()
            .filter(|(at, name, _)| boot.contains(at) && name.eq_ignore_ascii_case(program))
            .peekable();
        let next = builds.peek().copied();
        let last = builds.take_while(|(at, ..)| *at <= line).last();
        last.or(next).map(|(_, _, id)| *id)
    }
}

/// The programs that ran.
struct Programs {
    given: Vec<(String, Image)>,
    kept: fn(Build) -> Option<(String, Image)>,
    found: BTreeMap<(String, Option<u64>), Option<Symbols<'static>>>,
    /// What could not be named, and what to do.
    refused: BTreeSet<String>,
}

impl Programs {
    fn place(&mut self, name: &str, id: Option<u64>, token: &Token) -> Option<Place> {
        let key = (name.to_ascii_lowercase(), id);
        if !self.found.contains_key(&key) {
            let symbols = self.image(name, id).map(|image| {
                let mut symbols = Symbols::default();
                symbols.add(&key.0, Cow::Owned(image));
                symbols
            });
            self.found.insert(key.clone(), symbols);
        }
        let found = self.found.get_mut(&key)?;
        match found {
            Some(symbols) => symbols.place(token),
            None => {
                self.refuse(name, id, token);
                None
            }
        }
    }

    /// The program of this name and build.
    fn image(&self, name: &str, id: Option<u64>) -> Option<Image> {
        let image = name.parse().unwrap_or(TeeUuid::nil());
        let Some(id) = id else {
            return self.of(name).next().cloned();
        };
        let build = Build { image, id };
        match self.of(name).find(|image| builds::is(image, build)) {
            Some(image) => Some(image.clone()),
            None => (self.kept)(build).map(|(_, image)| image),
        }
    }

    /// What was given of a program.
    fn of(&self, name: &str) -> impl Iterator<Item = &Image> {
        let given = self.given.iter();
        given.filter_map(move |(of, image)| of.eq_ignore_ascii_case(name).then_some(image))
    }

    fn refuse(&mut self, name: &str, id: Option<u64>, token: &Token) {
        let option = match name {
            KERNEL => "--kernel",
            MONITOR | LDELF => "",
            _ if name.parse::<TeeUuid>().is_ok() => "--ta",
            _ => return,
        };
        let is_code = match token {
            Token::Relative(..) => true,
            // Of all numbers in a log, those that can be code of the kernel's, or of a monitor that crashed.
            Token::Absolute(address) if name == KERNEL => *address >= KERNEL_CODE,
            Token::Absolute(_) => id.is_some(),
        };
        if !is_code {
            return;
        }
        let help = if option.is_empty() {
            "build that version again".to_owned()
        } else if self.of(name).next().is_some() {
            format!("the file given with {option} is of another build")
        } else {
            format!("give its ELF file with {option}")
        };
        self.refused.insert(match id {
            Some(id) => format!(
                "calls of {name} are not named: image {id:016x} ran, which is not among the builds kept here; {help}"
            ),
            None => format!(
                "calls of {name} are not named: no line says which image ran (`Image {name}: ..`); {help}"
            ),
        });
    }
}

/// Where the kernel's image begins while it runs.
const KERNEL_CODE: u64 = 0xffff_ffff_c000_0000;

/// The log as a terminal can take it: a guest made it. Carriage returns at line ends are the serial line's.
fn shown(log: &str) -> String {
    ui::plain(&log.replace("\r\n", "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A guest's line moved the terminal on which its log was symbolized.
    #[test]
    fn log_of_a_guest_moves_no_terminal() {
        let log = "one\r\ntwo\x1b[2J\r\u{61c}three\tü\n";
        assert_eq!(shown(log), "one\ntwo\\u{1b}[2J\\r\\u{61c}three\tü\n");
    }

    #[test]
    fn a_build_is_the_last_that_its_boot_tells_of_or_the_next() {
        let log = "kernel+0x10\n\
                   E/TC: Image kernel: 0000000000000001\r\n\
                   I/TC: Tally 0.1.0\n\
                   kernel+0x10\n\
                   E/TC: Image kernel: 0000000000000002\n\
                   E/TC: Image d96a5b40-e2c7-b1af-8794-1002a5d5c61b: 0000000000000003\n\
                   E/TC: Image d96a5b40-e2c7-b1af-8794-1002a5d5c61b: 0000000000000004\n\
                   E/TC: Image d96a5b40-e2c7-b1af-8794-1002a5d5c61b: 0000000000000000\n";
        let said = Said::of(log);
        let kernel = [0, 1, 2, 3, 4, 7].map(|line| said.build(KERNEL, line));
        assert_eq!(kernel, [1, 1, 2, 2, 2, 2].map(Some));
        let ta = "D96A5B40-e2c7-b1af-8794-1002a5d5c61b";
        let ta = [0, 4, 5, 6, 7].map(|line| said.build(ta, line));
        // 0 is of one that is not known.
        assert_eq!(ta, [None, Some(3), Some(3), Some(4), Some(4)]);
        assert_eq!(said.build(LDELF, 7), None);
    }

    /// A crash of yesterday's build was named by today's, without a warning.
    #[test]
    fn calls_of_a_build_that_is_not_there_are_refused() {
        let log = "E/TC: Image kernel: 0000000000000001\nE/TC:  kernel+0x1aefc 0x20\n";
        let (named, programs) = name(log, Vec::new(), |build| {
            assert_eq!((build.image, build.id), (TeeUuid::nil(), 1));
            None
        });
        assert_eq!(named, log);
        let refused: Vec<_> = programs.refused.iter().collect();
        assert!(
            matches!(&refused[..], [one] if one.contains("0000000000000001") && one.contains("--kernel")),
            "{refused:?}"
        );
        // Nor are they named by a file of another build.
        let ta = builds::tests::TA;
        let given = || Image::parse(Path::new("ta"), builds::tests::ta(1, b"")).unwrap();
        let log = format!("E/TC: Image {ta}: 0000000000000001\nE/TC:  {ta}+0x24\n");
        let (named, programs) = name(&log, vec![(ta.to_string(), given())], |_| None);
        assert_eq!(named, log);
        let refused: Vec<_> = programs.refused.iter().collect();
        assert!(
            matches!(&refused[..], [one] if one.contains("is of another build")),
            "{refused:?}"
        );
        // They are where the log says that it is that one, or says nothing.
        let id = builds::ids(&given())[0];
        for said in [format!("Image {ta}: {id:016x}\n"), String::new()] {
            let log = format!("{said}{ta}+0x24\n");
            let (_, programs) = name(&log, vec![(ta.to_string(), given())], |_| None);
            assert!(programs.refused.is_empty(), "{:?}", programs.refused);
        }
        let (_, programs) = name("no address, 0x12345678\n", Vec::new(), |_| None);
        assert!(programs.refused.is_empty());
    }
}
