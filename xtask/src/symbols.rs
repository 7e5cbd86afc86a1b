//! Names for addresses in any image of a build.
//!
//! **Invariant:** an image's debug information is read when the first of its addresses is named.

use crate::images::Images;
use crate::sites;
use std::fmt::Write as _;
use tally_symbols::dwarf::Dwarf;
use tally_symbols::elf::Image;

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

/// All images of a build, read when first needed.
pub(crate) struct Symbols<'a> {
    modules: Vec<Module<'a>>,
}

struct Module<'a> {
    /// How `name+0x..` calls it.
    name: String,
    image: &'a Image,
    /// Position-independent: its addresses say nothing without a base.
    relative: bool,
    code: Option<Vec<(u64, Vec<u8>)>>,
    dwarf: Option<Option<Dwarf>>,
}

impl<'a> Symbols<'a> {
    /// Of these images.
    pub(crate) fn new(images: &'a Images) -> Self {
        let module = |name: String, image: &'a Image, relative: bool| Module {
            name,
            image,
            relative,
            code: None,
            dwarf: None,
        };
        let mut modules = vec![
            module("monitor".into(), &images.monitor, false),
            module("kernel".into(), &images.kernel, false),
            module("ree".into(), &images.ree, false),
            module("ldelf".into(), &images.ldelf, true),
        ];
        let ta = |ta: &'a crate::images::Ta| module(ta.uuid.to_string(), &ta.elf, true);
        modules.extend(images.tas.iter().map(ta));
        Self { modules }
    }

    /// Of no images.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            modules: Vec::new(),
        }
    }

    /// Names an absolute address. `None` when no image has code there.
    pub(crate) fn describe(&mut self, address: u64, kind: Kind) -> Option<String> {
        self.describe_in(|_| true, address, kind)
    }

    /// Names an absolute address in the images whose name `fits`.
    pub(crate) fn describe_in(
        &mut self,
        fits: impl Fn(&str) -> bool,
        address: u64,
        kind: Kind,
    ) -> Option<String> {
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
    ) -> Option<String> {
        let module = self
            .modules
            .iter_mut()
            .find(|m| m.name.eq_ignore_ascii_case(module))?;
        let address = module.image.code_address(offset)?;
        module.describe_at(address, kind)
    }

    /// Adds names behind every line of `text` that has addresses of code in it.
    pub(crate) fn annotate(&mut self, text: &str) -> String {
        let mut out = String::new();
        for line in text.lines() {
            out.push_str(line);
            let names: Vec<(String, String)> = tokens(line)
                .into_iter()
                .filter_map(|token| {
                    let name = match &token {
                        // The monitor lies at the bottom of memory, where small numbers are
                        // mostly no addresses.
                        Token::Absolute(address) if *address < LOWEST && !line.contains("M/") => {
                            None
                        }
                        Token::Absolute(address) => self.describe(*address, Kind::Guess),
                        Token::Relative(module, offset) => {
                            self.describe_relative(module, *offset, Kind::Guess)
                        }
                    }?;
                    Some((token.to_string(), name))
                })
                .collect();
            match &names[..] {
                [] => {}
                [(_, name)] => {
                    let _ = write!(out, "  <{name}>");
                }
                _ => {
                    for (token, name) in &names {
                        let _ = write!(out, "\n    {token} <{name}>");
                    }
                }
            }
            out.push('\n');
        }
        out
    }
}

impl Module<'_> {
    fn describe_absolute(&mut self, address: u64, kind: Kind) -> Option<String> {
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

    fn describe_at(&mut self, address: u64, kind: Kind) -> Option<String> {
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
            .get_or_insert_with(|| Dwarf::load(self.image, &crate::paths::root()).ok());
        let frames = dwarf.as_ref()?.frames(at);
        if frames.is_empty() {
            return None;
        }
        let texts: Vec<String> = frames
            .iter()
            .map(|frame| match (&*frame.file, frame.line) {
                ("", _) => frame.function.clone(),
                (file, line) => format!("{} at {file}:{line}", frame.function),
            })
            .collect();
        Some(format!("{}: {}", self.name, texts.join(", inlined in ")))
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

/// Below, only lines of the monitor's own console have addresses of code.
const LOWEST: u64 = tally_board_virt::SECURE_RAM_BASE;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Absolute(u64),
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
fn tokens(line: &str) -> Vec<Token> {
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
                .filter(|&a| a > 0xff)
                .map(Token::Absolute)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
