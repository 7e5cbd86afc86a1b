//! The dynamic section and its relocations.
//!
//! **Invariant:** only relocations that a position-independent TA can have are accepted; a kind of
//! table that is not understood is refused, never skipped.

use crate::module::{Linked, Prefer};
use crate::symbols::{Extent, SymbolTables, Symbols};
use crate::{ImageFault, LoadPlan, raw};
use goblin::elf64::dynamic::{
    DT_GNU_HASH, DT_HASH, DT_JMPREL, DT_NULL, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELAENT,
    DT_RELASZ, DT_RELSZ, DT_STRTAB, DT_SYMENT, DT_SYMTAB, Dyn,
};
use goblin::elf64::reloc::{
    R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT, R_AARCH64_NONE, R_AARCH64_RELATIVE,
    R_AARCH64_TLS_TPREL, R_AARCH64_TLSDESC, Rela, SIZEOF_RELA, r_sym, r_type,
};
use goblin::elf64::section_header::{SHF_ALLOC, SHT_RELA, SectionHeader};
use goblin::elf64::sym::Sym;

/// Size of the packed relative relocations (System V gABI, `DT_RELRSZ`), which are refused.
const DT_RELRSZ: u64 = 35;

/// Most tables of relocations of an image, beside that of its procedure linkage table.
const MAX_TABLES: usize = 8;
/// Most section headers looked at.
const MAX_SECTIONS: u16 = 256;

/// What a dynamic section says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dynamic<'a> {
    rela: [&'a [u8]; MAX_TABLES],
    jmprel: &'a [u8],
    /// Where the symbols are.
    pub(crate) tables: SymbolTables,
    /// The symbols.
    pub(crate) symbols: Symbols<'a>,
    /// The section itself.
    bytes: &'a [u8],
}

impl<'a> Dynamic<'a> {
    /// Parses the section's `bytes`.
    pub(crate) fn parse(bytes: &'a [u8], plan: &LoadPlan<'a>) -> Result<Self, ImageFault> {
        let mut dynamic = Self {
            bytes,
            ..Self::default()
        };
        let (mut rela, mut rela_len, mut jmprel, mut jmprel_len) = (0, 0, 0, 0);
        let extent = |address| match plan.file_bytes_from(address) {
            Some(bytes) if address != 0 => Extent {
                address,
                len: bytes.len() as u64,
            },
            _ => Extent::default(),
        };
        for entry in entries(bytes) {
            let entry = entry?;
            let value = entry.d_val;
            match entry.d_tag {
                DT_RELA => rela = value,
                DT_RELASZ => rela_len = value,
                DT_JMPREL => jmprel = value,
                DT_PLTRELSZ => jmprel_len = value,
                DT_SYMTAB => dynamic.tables.symbols = extent(value),
                DT_STRTAB => dynamic.tables.strings = extent(value),
                DT_HASH => dynamic.tables.hash = extent(value),
                DT_GNU_HASH => dynamic.tables.gnu_hash = extent(value),
                DT_RELAENT if value != SIZEOF_RELA as u64 => return Err(ImageFault::BadDynamic),
                DT_SYMENT if value != size_of::<Sym>() as u64 => {
                    return Err(ImageFault::BadDynamic);
                }
                DT_PLTREL if value != DT_RELA => return Err(ImageFault::UnknownRelocation),
                DT_REL => return Err(ImageFault::UnknownRelocation),
                DT_RELSZ | DT_RELRSZ if value != 0 => return Err(ImageFault::UnknownRelocation),
                _ => {}
            }
        }
        dynamic.symbols = Symbols::new(&dynamic.tables, |extent| {
            let bytes = plan.file_bytes_from(extent.address).unwrap_or(&[]);
            bytes.get(..extent.len as usize).unwrap_or(&[])
        });
        dynamic.rela = match tables(plan, rela_len, jmprel) {
            Some(tables) => tables,
            None => {
                let mut tables = [&[][..]; MAX_TABLES];
                tables[0] = table(plan, rela, rela_len)?;
                tables
            }
        };
        dynamic.jmprel = table(plan, jmprel, jmprel_len)?;
        Ok(dynamic)
    }

    /// Names in the table of strings that entries with this tag give.
    pub(crate) fn names(
        &self,
        tag: u64,
    ) -> impl Iterator<Item = Result<&'a [u8], ImageFault>> + use<'a> {
        let symbols = self.symbols;
        entries(self.bytes)
            .flatten()
            .filter(move |entry| entry.d_tag == tag)
            .map(move |entry| symbols.string(entry.d_val).ok_or(ImageFault::BadDynamic))
    }

    /// Where a string of the table of strings lies.
    pub(crate) fn address_of(&self, tag: u64) -> Option<u64> {
        let entry = entries(self.bytes).flatten().find(|it| it.d_tag == tag)?;
        self.symbols.string(entry.d_val)?;
        self.tables.strings.address.checked_add(entry.d_val)
    }

    /// Calls `apply` with each relocation: the address to write to, and the value.
    pub(crate) fn relocations(
        &self,
        linked: &Linked<'_, 'a>,
        mut apply: impl FnMut(u64, u64) -> Result<(), ImageFault>,
    ) -> Result<(), ImageFault> {
        let base = linked.own().base;
        let tables = self.rela.into_iter().chain([self.jmprel]);
        for entry in tables.flat_map(|table| table.chunks_exact(SIZEOF_RELA)) {
            let rela: Rela = raw::read(entry, 0).ok_or(ImageFault::BadDynamic)?;
            let addend = rela.r_addend.cast_unsigned();
            let (at, symbol) = (rela.r_offset, r_sym(rela.r_info));
            match r_type(rela.r_info) {
                R_AARCH64_RELATIVE => apply(at, addend.wrapping_add(base))?,
                R_AARCH64_NONE => {}
                R_AARCH64_ABS64 => {
                    let value = linked.value(symbol, Prefer::Own)?;
                    apply(at, value.wrapping_add(addend))?;
                }
                R_AARCH64_GLOB_DAT | R_AARCH64_JUMP_SLOT => {
                    let value = linked.value(symbol, Prefer::First)?;
                    apply(at, value.wrapping_add(addend))?;
                }
                R_AARCH64_TLS_TPREL => {
                    apply(at, linked.thread_offset(symbol)?.wrapping_add(addend))?;
                }
                R_AARCH64_TLSDESC => {
                    let offset = linked.thread_offset(symbol)?.wrapping_add(addend);
                    apply(at, linked.thread_resolver()?)?;
                    let second = at.checked_add(8).ok_or(ImageFault::RelocationTarget)?;
                    apply(second, offset)?;
                }
                _ => return Err(ImageFault::UnknownRelocation),
            }
        }
        Ok(())
    }
}

/// The section's entries, up to the one that ends it.
fn entries<'a>(bytes: &'a [u8]) -> impl Iterator<Item = Result<Dyn, ImageFault>> + use<'a> {
    let at = (0..bytes.len() as u64).step_by(size_of::<Dyn>());
    at.map(|at| raw::read::<Dyn>(bytes, at).ok_or(ImageFault::BadDynamic))
        .take_while(|entry| !matches!(entry, Ok(entry) if entry.d_tag == DT_NULL))
}

/// The tables that the section headers name, if they are those that `DT_RELASZ` tells of: OP-TEE's kit has some of them in the
/// code's segment and some in the data's (`ta.ld.S`), and `DT_RELASZ` is their sum.
fn tables<'a>(plan: &LoadPlan<'a>, len: u64, jmprel: u64) -> Option<[&'a [u8]; MAX_TABLES]> {
    let mut tables = [&[][..]; MAX_TABLES];
    let mut free = tables.iter_mut();
    let mut left = len;
    for section in plan.sections(MAX_SECTIONS)? {
        let section: SectionHeader = section?;
        let is_one = section.sh_type == SHT_RELA
            && section.sh_flags & u64::from(SHF_ALLOC) != 0
            && section.sh_addr != jmprel;
        if is_one {
            left = left.checked_sub(section.sh_size)?;
            *free.next()? = table(plan, section.sh_addr, section.sh_size).ok()?;
        }
    }
    (left == 0).then_some(tables)
}

/// The relocation table of `len` bytes at `address`.
fn table<'a>(plan: &LoadPlan<'a>, address: u64, len: u64) -> Result<&'a [u8], ImageFault> {
    if len == 0 {
        return Ok(&[]);
    }
    if !len.is_multiple_of(SIZEOF_RELA as u64) {
        return Err(ImageFault::BadDynamic);
    }
    plan.file_bytes(address, len).ok_or(ImageFault::BadDynamic)
}
