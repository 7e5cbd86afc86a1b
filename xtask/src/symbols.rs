//! Names for addresses in images of a build.
//!
//! **Invariant:** an image's debug information is read when the first of its addresses is named.

use crate::images::Images;
use crate::sites;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use tally_abi::TeeUuid;
use tally_symbols::dwarf::{Dwarf, Frame};
use tally_symbols::elf::Image;
use tally_symbols::short::short_name;

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An instruction.
    Exact,
    /// The instruction behind a call.
    Return,
    /// Whichever of the two the code there suggests.
    Guess,
}

/// Images, whose debug information is read when first needed.
#[derive(Default)]
pub(crate) struct Symbols<'a> {
    modules: Vec<Module<'a>>,
}

/// What there is at an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The image, as `name+0x..` calls it.
    pub(crate) module: String,
    /// Functions, innermost first: all but the last are inlined.
    pub(crate) frames: Vec<Frame>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.module, self.functions())
    }
}

impl Place {
    /// Functions and lines, innermost first.
    pub(crate) fn functions(&self) -> String {
        let names = self.frames.iter().map(|frame| named(frame, " at "));
        names.collect::<Vec<_>>().join(", inlined in ")
    }
}

/// A function and its line. Parameters of generics say little and take much room.
fn named(frame: &Frame, between: &str) -> String {
    let short = short_name(&frame.function);
    let function = if short.is_empty() {
        &frame.function
    } else {
        &short
    };
    match (&*frame.file, frame.line) {
        ("", _) => function.clone(),
        (file, line) => format!("{function}{between}{file}:{line}"),
    }
}

struct Module<'a> {
    /// How `name+0x..` calls it.
    name: String,
    image: Cow<'a, Image>,
    /// Position-independent: its addresses say nothing without a base.
    relative: bool,
    code: Option<Vec<(u64, Vec<u8>)>>,
    dwarf: Option<Option<Dwarf>>,
}

impl<'a> Symbols<'a> {
    /// Of these images.
    pub(crate) fn new(images: &'a Images) -> Self {
        let mut symbols = Self::default();
        for (name, image) in [
            (MONITOR, &images.monitor),
            (KERNEL, &images.kernel),
            ("ree", &images.ree),
            (LDELF, &images.ldelf),
        ] {
            symbols.add(name, Cow::Borrowed(image));
        }
        for ta in &images.tas {
            symbols.add(&ta.uuid.to_string(), Cow::Borrowed(&ta.elf));
        }
        symbols
    }

    /// Adds an image; a TA by its UUID.
    pub(crate) fn add(&mut self, name: &str, image: Cow<'a, Image>) {
        self.modules.push(Module {
            name: name.to_owned(),
            relative: name == LDELF || name.parse::<TeeUuid>().is_ok(),
            image,
            code: None,
            dwarf: None,
        });
    }

    /// Of no images.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            modules: Vec::new(),
        }
    }

    /// Names an absolute address. `None` when no image has code there.
    pub(crate) fn describe(&mut self, address: u64, kind: Kind) -> Option<Place> {
        self.describe_in(|_| true, address, kind)
    }

    /// Names an absolute address in the images whose name `fits`.
    pub(crate) fn describe_in(
        &mut self,
        fits: impl Fn(&str) -> bool,
        address: u64,
        kind: Kind,
    ) -> Option<Place> {
        self.modules
            .iter_mut()
            .filter(|module| !module.relative && fits(&module.name))
            .find_map(|module| module.describe_absolute(address, kind))
    }

    /// Names `module+offset`, where the module is an image's name or a TA's UUID.
    pub(crate) fn describe_relative(
        &mut self,
        module: &str,
        offset: u64,
        kind: Kind,
    ) -> Option<Place> {
        let module = self
            .modules
            .iter_mut()
            .find(|m| m.name.eq_ignore_ascii_case(module))?;
        let address = module.image.code_address(offset)?;
        module.describe_at(address, kind)
    }

    /// What there is at an address of a log.
    pub(crate) fn place(&mut self, token: &Token) -> Option<Place> {
        match token {
            Token::Absolute(address) => self.describe(*address, Kind::Guess),
            Token::Relative(module, offset) => self.describe_relative(module, *offset, Kind::Guess),
        }
    }

    /// Adds names below every line of `text` that has addresses of code in it.
    pub(crate) fn annotate(&mut self, text: &str) -> String {
        annotate(text, |_, token| self.place(token))
    }
}

/// The firmware tells where the normal world begins: nothing went wrong there.
const BEGINS: &str = " is up, entering ";

/// Adds lines below every line of `text` for which `place` knows an address, by the number of the line.
pub(crate) fn annotate(
    text: &str,
    mut place: impl FnMut(usize, &Token) -> Option<Place>,
) -> String {
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        out.push_str(line);
        out.push('\n');
        if line.contains(BEGINS) {
            continue;
        }
        let tokens = tokens(line);
        for token in &tokens {
            let Some(place) = place(number, token) else {
                continue;
            };
            let which = if tokens.len() > 1 {
                format!("{token}: ")
            } else {
                String::new()
            };
            for (n, frame) in place.frames.iter().enumerate() {
                let before = if n == 0 { &*which } else { "inlined in " };
                let _ = writeln!(out, "      {before}{}", named(frame, "  "));
            }
        }
    }
    out
}

impl Module<'_> {
    fn describe_absolute(&mut self, address: u64, kind: Kind) -> Option<Place> {
        // Running addresses first; an image that moves itself is also met at its load address.
        let segments = &self.image.segments;
        let running = segments
            .iter()
            .any(|s| s.exec && address >= s.vaddr && address - s.vaddr < s.mem_len);
        let address = if running {
            address
        } else {
            let base = segments.first()?.paddr;
            self.image.code_address(address.checked_sub(base)?)?
        };
        self.describe_at(address, kind)
    }

    fn describe_at(&mut self, address: u64, kind: Kind) -> Option<Place> {
        let back = match kind {
            Kind::Exact => 0,
            Kind::Return => 4,
            Kind::Guess if self.follows_call(address) => 4,
            Kind::Guess => 0,
        };
        let at = address.checked_sub(back)?;
        self.word(at)?;
        let dwarf = self
            .dwarf
            .get_or_insert_with(|| Dwarf::load(&self.image, &crate::paths::root()).ok());
        let frames = dwarf.as_ref()?.frames(at);
        (!frames.is_empty()).then(|| Place {
            module: self.name.clone(),
            frames,
        })
    }

    fn follows_call(&mut self, address: u64) -> bool {
        address
            .checked_sub(4)
            .and_then(|call| self.word(call))
            .is_some_and(|w| sites::is_call(&w))
    }

    fn word(&mut self, address: u64) -> Option<[u8; 4]> {
        let code = self
            .code
            .get_or_insert_with(|| self.image.code().unwrap_or_default());
        let (start, bytes) = code
            .iter()
            .find(|(start, bytes)| address >= *start && address - start < bytes.len() as u64)?;
        bytes
            .get(usize::try_from(address - start).ok()?..)?
            .first_chunk()
            .copied()
    }
}

/// What logs call programs other than TAs.
pub(crate) const MONITOR: &str = "monitor";
pub(crate) const KERNEL: &str = "kernel";
pub(crate) const LDELF: &str = "ldelf";

/// Below, only lines of the monitor's own console have addresses of code.
const LOWEST: u64 = tally_board_virt::SECURE_RAM_BASE;

/// An address of code in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Where it runs.
    Absolute(u64),
    /// An image and an offset in it.
    Relative(String, u64),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absolute(address) => write!(f, "{address:#x}"),
            Self::Relative(module, offset) => write!(f, "{module}+{offset:#x}"),
        }
    }
}

/// Addresses in a line: `0x...`, 16 bare hexadecimal digits, `name+0x...`.
pub(crate) fn tokens(line: &str) -> Vec<Token> {
    // Its number looks like an address.
    if image_line(line).is_some() {
        return Vec::new();
    }
    // The monitor lies at the bottom of memory, where small numbers are mostly no addresses.
    let lowest = if is_monitors(line) { 0x100 } else { LOWEST };
    line.split(|c: char| !(c.is_ascii_alphanumeric() || "+-_".contains(c)))
        .filter_map(|word| {
            if let Some((module, offset)) = word.split_once('+') {
                let offset = u64::from_str_radix(offset.strip_prefix("0x")?, 16).ok()?;
                return Some(Token::Relative(module.to_owned(), offset));
            }
            let digits = match word.strip_prefix("0x") {
                Some(digits) => digits,
                None if word.len() == 16 => word,
                None => return None,
            };
            u64::from_str_radix(digits, 16)
                .ok()
                .filter(|&a| a >= lowest)
                .map(Token::Absolute)
        })
        .collect()
}

/// Whether the monitor wrote a line.
pub(crate) fn is_monitors(line: &str) -> bool {
    line.contains("M/")
}

/// The program and the build that a line of a report is about: `Image kernel: 0123456789abcdef`. `None` of a build that
/// is not known.
pub(crate) fn image_line(line: &str) -> Option<(&str, u64)> {
    let (_, image) = line.split_once("Image ")?;
    let (name, id) = image.trim_end().split_once(": ")?;
    let is_name = [MONITOR, KERNEL, LDELF].contains(&name) || name.parse::<TeeUuid>().is_ok();
    let id = (is_name && id.len() == 16).then(|| u64::from_str_radix(id, 16));
    Some((name, id?.ok()?)).filter(|(_, id)| *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: every machine that was watched by its secure console began with a line `_start`.
    #[test]
    fn where_the_normal_world_begins_is_not_named() {
        let place = |_: usize, _: &Token| {
            Some(Place {
                module: String::new(),
                frames: vec![Frame {
                    function: "_start".into(),
                    file: String::new(),
                    line: 0,
                }],
            })
        };
        let begins =
            "M/MON: kernel of 573510 bytes is up, entering the normal world at 0x62001000\n";
        assert_eq!(annotate(begins, place), begins);
        let went_wrong = "E/TC: bad read at 0x62001000\n";
        assert_ne!(annotate(went_wrong, place), went_wrong);
    }

    #[test]
    fn addresses_in_log_lines_are_found() {
        let uuid = "d96a5b40-e2c7-b1af-8794-1002a5d5c61b";
        let line = format!("E/TC:0 00  #1 0xffffff800e101234 kernel+0x1234 [{uuid}+0x20] 42 lr");
        assert_eq!(
            tokens(&line),
            [
                Token::Absolute(0xffff_ff80_0e10_1234),
                Token::Relative("kernel".into(), 0x1234),
                Token::Relative(uuid.into(), 0x20),
            ]
        );
        assert_eq!(
            tokens("ELR 0000000062001000"),
            [Token::Absolute(0x6200_1000)]
        );
    }
}
