//! A linked program as functions: where each begins, which of them are pointed to, and the tables of methods.
//!
//! **Invariant:** a table of methods is told by its shape, so that what looks like one by chance adds calls and hides none.

use crate::code::Word;
use anyhow::{Context as _, Result};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use tally_symbols::elf::Image;

/// Bytes before a table's first method: where to drop the value, its size, its alignment.
const HEAD_BYTES: usize = 24;
/// No type is larger; what claims to be is no table.
const MAX_TYPE_BYTES: u64 = 1 << 20;
const MAX_TYPE_ALIGN: u64 = 4096;

/// Between the names of functions that are the same code.
const FOLDED: &str = " | ";

/// The names that a function has.
pub(crate) fn names(name: &str) -> impl Iterator<Item = &str> {
    name.split(FOLDED)
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its path, without the compiler's hash; of several that are the same code, each ([`names`]).
    pub name: String,
    /// Address behind its last instruction; of assembly, where the next symbol is.
    pub end: u64,
}

/// The table of methods of a type behind a trait object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodTable {
    /// Functions by their distance from the table's start.
    pub methods: BTreeMap<i32, u64>,
}

/// A linked program.
pub struct Program {
    code: Vec<(u64, Vec<u32>)>,
    /// Functions by address.
    pub functions: BTreeMap<u64, Function>,
    /// Addresses of functions that something points to.
    pub pointed_to: BTreeSet<u64>,
    /// Tables of methods.
    pub tables: Vec<MethodTable>,
}

impl Program {
    /// Reads its code and its constants.
    ///
    /// # Errors
    /// A file that does not parse.
    pub fn read(image: &Image) -> Result<Self> {
        let file = ElfFile64::<LittleEndian>::parse(&*image.bytes)?;
        let code: Vec<(u64, Vec<u32>)> = image
            .code()?
            .into_iter()
            .map(|(start, bytes)| (start, words(&bytes)))
            .collect();
        let mut program = Self {
            functions: functions(&file, &code),
            code,
            pointed_to: BTreeSet::new(),
            tables: Vec::new(),
        };
        for (start, words) in &program.code {
            let pointers = pointers_in_code(*start, words);
            program.pointed_to.extend(
                pointers
                    .into_iter()
                    .filter(|at| program.functions.contains_key(at)),
            );
        }
        for section in file.sections() {
            if section.kind() == object::SectionKind::UninitializedData || section.address() == 0 {
                continue;
            }
            let data = section.data().context("a section lies outside the file")?;
            // Assembly puts addresses between its instructions.
            for data in [data, data.get(4..).unwrap_or_default()] {
                let (values, _) = data.as_chunks::<8>();
                let values: Vec<u64> = values.iter().map(|v| u64::from_le_bytes(*v)).collect();
                program.look_into(&values);
            }
        }
        Ok(program)
    }

    /// The instruction at an address.
    pub(crate) fn word(&self, at: u64) -> Option<Word> {
        let (start, words) = self.code.iter().rfind(|(start, _)| *start <= at)?;
        let index = usize::try_from((at - start) / 4).ok()?;
        Some(Word::decode(*words.get(index)?, at))
    }

    /// The name of the function that has this address in it.
    pub fn name_at(&self, at: u64) -> &str {
        let before = self.functions.range(..=at).next_back();
        before.map_or("?", |(_, function)| function.name.as_str())
    }

    /// Addresses of the functions of this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = u64> {
        let same = move |(at, function): (&u64, &Function)| {
            names(&function.name)
                .any(|known| known == name)
                .then_some(*at)
        };
        self.functions.iter().filter_map(same)
    }

    /// Finds pointers to functions in constants, and tables of methods among them.
    fn look_into(&mut self, values: &[u64]) {
        let is_function = |value: &u64| self.functions.contains_key(value);
        self.pointed_to
            .extend(values.iter().filter(|value| is_function(value)));
        for start in 0..values.len() {
            let Some(&[drop, bytes, align]) = values[start..].first_chunk() else {
                return;
            };
            let is_head = (drop == 0 || is_function(&drop))
                && bytes < MAX_TYPE_BYTES
                && align.is_power_of_two()
                && align <= MAX_TYPE_ALIGN
                && bytes.is_multiple_of(align);
            let rest = &values[start + HEAD_BYTES / 8..];
            let count = rest.iter().take_while(|value| is_function(value)).count();
            if !is_head || count == 0 {
                continue;
            }
            let offsets = (HEAD_BYTES as i32..).step_by(8);
            let mut methods: BTreeMap<i32, u64> =
                offsets.zip(rest[..count].iter().copied()).collect();
            if drop != 0 {
                methods.insert(0, drop);
            }
            self.tables.push(MethodTable { methods });
        }
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Functions of the symbol table, and the labels of assembly.
fn functions(
    file: &ElfFile64<'_, LittleEndian>,
    code: &[(u64, Vec<u32>)],
) -> BTreeMap<u64, Function> {
    let end_of_code = |at: u64| {
        let ends = code
            .iter()
            .map(|(start, words)| (*start, start + words.len() as u64 * 4));
        ends.into_iter()
            .find(|(start, end)| (start..end).contains(&&at))
            .map(|(_, end)| end)
    };
    let mut functions: BTreeMap<u64, Function> = BTreeMap::new();
    let mut labels = BTreeSet::new();
    for symbol in file.symbols() {
        let at = symbol.address();
        let (Ok(name), Some(end)) = (symbol.name(), end_of_code(at)) else {
            continue;
        };
        let is_label = matches!(symbol.kind(), SymbolKind::Label | SymbolKind::Unknown);
        // Marks of code and data, and places of the linker script.
        let is_mark = name.is_empty() || name.starts_with('$') || name.starts_with("__");
        if symbol.kind() != SymbolKind::Text && (!is_label || is_mark) {
            continue;
        }
        let end = if symbol.size() == 0 {
            labels.insert(at);
            end
        } else {
            at + symbol.size()
        };
        let name = format!("{:#}", rustc_demangle::demangle(name));
        match functions.entry(at) {
            Entry::Vacant(entry) => drop(entry.insert(Function { name, end })),
            // The linker folds functions that do the same: each name may be the one that a rule knows.
            Entry::Occupied(mut entry) => {
                let function = entry.get_mut();
                if !names(&function.name).any(|known| known == name) {
                    function.name = format!("{}{FOLDED}{name}", function.name);
                }
            }
        }
    }
    for at in labels {
        let next = functions.range(at + 1..).next().map(|(next, _)| *next);
        if let (Some(next), Some(function)) = (next, functions.get_mut(&at)) {
            function.end = function.end.min(next);
        }
    }
    functions
}

/// Addresses that code makes of its own: `adr`, and `adrp` with `add`.
fn pointers_in_code(start: u64, words: &[u32]) -> BTreeSet<u64> {
    let mut pages = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (at, word) in (start..).step_by(4).zip(words) {
        let word = Word::decode(*word, at);
        if let Some((register, address)) = word.address() {
            pages.insert(register, address);
            found.insert(address);
        } else if let Some((from, to, by)) = word.sum()
            && let Some(&page) = pages.get(&from)
        {
            found.insert(page + by);
            if from == to {
                pages.remove(&from);
            }
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) const RET: u32 = 0xd65f_03c0;
    pub(crate) const BRK: u32 = 0xd420_0020;
    /// `sub sp, sp, #32` and its reverse.
    pub(crate) const TAKE: u32 = 0xd100_83ff;
    pub(crate) const GIVE: u32 = 0x9100_83ff;
    /// `sub sp, sp, #1, lsl #12`.
    pub(crate) const TAKE_PAGE: u32 = 0xd140_07ff;
    pub(crate) const MOV_SP_X9: u32 = 0x9100_013f;
    /// `mov x9, sp`.
    pub(crate) const MOV_X9_SP: u32 = 0x9100_03e9;
    pub(crate) const BLR_X8: u32 = 0xd63f_0100;
    /// `ldr x8, [x0, #24]`.
    pub(crate) const LOAD_METHOD: u32 = 0xf940_0c08;

    /// `bl` over so many instructions.
    pub(crate) const fn bl(by: i32) -> u32 {
        0x9400_0000 | by.cast_unsigned() & 0x3ff_ffff
    }

    /// Functions, each as far as the next, from address 0x1000 on.
    pub(crate) fn program(functions: &[(&str, &[u32])]) -> Program {
        let mut words = Vec::new();
        let mut named = BTreeMap::new();
        for (name, code) in functions {
            let at = 0x1000 + words.len() as u64 * 4;
            words.extend_from_slice(code);
            let end = at + code.len() as u64 * 4;
            let name = (*name).to_owned();
            named.insert(at, Function { name, end });
        }
        Program {
            code: vec![(0x1000, words)],
            functions: named,
            pointed_to: BTreeSet::new(),
            tables: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{RET, program};

    #[test]
    fn tables_of_methods_are_told_by_their_shape() {
        let mut program = program(&[("drop", &[RET]), ("one", &[RET]), ("two", &[RET])]);
        let [drop, one, two] = [0x1000, 0x1004, 0x1008];
        program.look_into(&[7, drop, 24, 8, one, two, 0, 3, 0, 16, 3, one, 5]);
        let tables: Vec<_> = program.tables.iter().map(|table| &table.methods).collect();
        // An alignment of 3 is none.
        assert_eq!(tables, [&[(0, drop), (24, one), (32, two)].into()]);
        assert_eq!(program.pointed_to, [drop, one, two].into());
    }
}
