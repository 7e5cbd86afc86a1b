//! Writes call-site tables (`tally_abi::sites`) from an image's debug information.
//!
//! **Invariant:** every return address of the image's code is in its table, and what is written
//! reads back.

use anyhow::{Context as _, Result, ensure};
use std::collections::HashMap;
use tally_abi::sites::{
    BLOCK_SITES, DISTANCE_MASK, HEADER_BYTES, MAGIC, SAME_FUNCTION, SAME_LINE, Table,
};
use tally_symbols::dwarf::Dwarf;
use tally_symbols::elf::Image;
use tally_symbols::short::{short_name, useful};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    pc_offset: u32,
    function: String,
    file: String,
    line: u32,
}

/// The table of an image.
pub(crate) fn table(image: &Image) -> Result<Vec<u8>> {
    table_of(image).with_context(|| format!("in {}", image.path.display()))
}

fn table_of(image: &Image) -> Result<Vec<u8>> {
    let dwarf = Dwarf::load(image, &crate::paths::root())?;
    let mut sites = Vec::new();
    for (address, code) in image.code()? {
        for (n, word) in (0..).zip(code.chunks_exact(4)) {
            if !is_call(word) {
                continue;
            }
            let call = address.checked_add(4 * n);
            let call = call.context("code outside of the address space")?;
            let frames = dwarf.frames(call);
            let Some(frame) = useful(&frames) else {
                continue;
            };
            let offset = image
                .image_offset(call.saturating_add(4))
                .context("code outside all segments")?;
            sites.push(Site {
                pc_offset: u32::try_from(offset)?,
                function: short_name(&frame.function),
                file: if frame.file.is_empty() {
                    "assembly".into()
                } else {
                    frame.file.clone()
                },
                line: frame.line,
            });
        }
    }
    sites.sort_by_key(|site| site.pc_offset);
    sites.dedup_by_key(|site| site.pc_offset);
    encode(&sites)
}

/// Whether an instruction leaves a return address in the link register: BL or BLR.
pub(crate) fn is_call(word: &[u8]) -> bool {
    let Some(word) = word.first_chunk() else {
        return false;
    };
    let word = u32::from_le_bytes(*word);
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
}

fn encode(sites: &[Site]) -> Result<Vec<u8>> {
    let mut files = Strings::default();
    let mut functions = Vec::new();
    let mut known: HashMap<(&str, &str), (u32, u32)> = HashMap::new();
    let mut index = Vec::new();
    let mut records = Vec::new();
    let mut last: Option<(&Site, u32)> = None;
    for (n, site) in sites.iter().enumerate() {
        let (function, base_line) = match known.get(&(&*site.function, &*site.file)) {
            Some(&found) => found,
            None => {
                let at = u32::try_from(functions.len())?;
                unsigned(&mut functions, files.offset(&site.file)?);
                unsigned(&mut functions, site.line);
                text(&mut functions, &site.function)?;
                known.insert((&site.function, &site.file), (at, site.line));
                (at, site.line)
            }
        };
        match last {
            Some((before, before_function)) if !n.is_multiple_of(BLOCK_SITES) => {
                let distance = (site.pc_offset - before.pc_offset) / 4;
                let short = u8::try_from(distance).ok().filter(|&d| d <= DISTANCE_MASK);
                let mut tag = short.unwrap_or(0);
                if function == before_function {
                    tag |= SAME_FUNCTION;
                    if site.line == before.line {
                        tag |= SAME_LINE;
                    }
                }
                records.push(tag);
                if short.is_none() {
                    unsigned(&mut records, distance);
                }
                if tag & SAME_FUNCTION == 0 {
                    signed(&mut records, function, before_function);
                    signed(&mut records, site.line, base_line);
                } else if tag & SAME_LINE == 0 {
                    signed(&mut records, site.line, before.line);
                }
            }
            _ => {
                index.extend_from_slice(&site.pc_offset.to_le_bytes());
                index.extend_from_slice(&u32::try_from(records.len())?.to_le_bytes());
                unsigned(&mut records, function);
                signed(&mut records, site.line, base_line);
            }
        }
        last = Some((site, function));
    }
    let parts = [&index, &records, &functions, &files.bytes];
    let total = HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(total);
    let header = [
        total,
        sites.len(),
        records.len(),
        functions.len(),
        files.bytes.len(),
    ];
    out.extend_from_slice(&MAGIC.to_le_bytes());
    for word in header {
        out.extend_from_slice(&u32::try_from(word)?.to_le_bytes());
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    let table = Table::parse(&out).context("the call-site table does not read back")?;
    ensure!(table.validate(), "the call-site table does not validate");
    Ok(out)
}

#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Strings {
    fn offset(&mut self, string: &str) -> Result<u32> {
        if let Some(&at) = self.known.get(string) {
            return Ok(at);
        }
        let at = u32::try_from(self.bytes.len())?;
        text(&mut self.bytes, string)?;
        self.known.insert(string.to_owned(), at);
        Ok(at)
    }
}

fn text(out: &mut Vec<u8>, string: &str) -> Result<()> {
    out.push(u8::try_from(string.len()).with_context(|| format!("name too long: {string}"))?);
    out.extend_from_slice(string.as_bytes());
    Ok(())
}

fn unsigned(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn signed(out: &mut Vec<u8>, value: u32, base: u32) {
    let delta = value.wrapping_sub(base).cast_signed();
    unsigned(out, (delta << 1 ^ delta >> 31).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(pc_offset: u32, function: &str, line: u32) -> Site {
        Site {
            pc_offset,
            function: function.into(),
            file: "a/b.rs".into(),
            line,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let sites: Vec<Site> = (1..1000u32)
            .map(|n| {
                site(
                    n * 4 + n / 7 * 400,
                    &format!("f{}", n * 7 % 50),
                    1000 - n % 17 * 31,
                )
            })
            .collect();
        let bytes = encode(&sites).unwrap();
        let table = Table::parse(&bytes).unwrap();
        assert_eq!(table.n_sites(), sites.len());
        for site in &sites {
            let found = table.lookup(u64::from(site.pc_offset)).unwrap();
            assert_eq!(
                (found.function, found.file, found.line),
                (&*site.function, &*site.file, site.line)
            );
        }
        assert!(table.lookup(4 * 1000 + 1).is_none());
    }

    #[test]
    fn empty_table_reads_back() {
        let bytes = encode(&[]).unwrap();
        assert!(Table::parse(&bytes).unwrap().lookup(0).is_none());
    }
}
