//! The dynamic section and its relocations.
//!
//! **Invariant:** only relocations that a position-independent TA can have are accepted; a kind of
//! table that is not understood is refused, never skipped.

use crate::{ImageFault, LoadPlan, raw};
use goblin::elf64::dynamic::{
    DT_GNU_HASH, DT_HASH, DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA,
    DT_RELAENT, DT_RELASZ, DT_RELSZ, DT_STRTAB, DT_SYMENT, DT_SYMTAB, Dyn,
};
use goblin::elf64::reloc::{
    R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT, R_AARCH64_NONE, R_AARCH64_RELATIVE,
    Rela, SIZEOF_RELA, r_sym, r_type,
};
use goblin::elf64::section_header::{
    SHF_ALLOC, SHN_ABS, SHN_LORESERVE, SHN_UNDEF, SHT_RELA, SectionHeader,
};
use goblin::elf64::sym::{STB_WEAK, Sym, st_bind};

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
    /// Address of the symbol table, 0 if there is none.
    pub(crate) symtab: u64,
    /// Address of the string table, 0 if there is none.
    pub(crate) strtab: u64,
    /// Address of the System V hash table, 0 if there is none.
    pub(crate) hash: u64,
    /// Address of the GNU hash table, 0 if there is none.
    pub(crate) gnu_hash: u64,
}

impl<'a> Dynamic<'a> {
    /// Parses the section's `bytes`.
    pub(crate) fn parse(bytes: &[u8], plan: &LoadPlan<'a>) -> Result<Self, ImageFault> {
        let mut dynamic = Self::default();
        let (mut rela, mut rela_len, mut jmprel, mut jmprel_len) = (0, 0, 0, 0);
        for at in (0..bytes.len() as u64).step_by(size_of::<Dyn>()) {
            let entry: Dyn = raw::read(bytes, at).ok_or(ImageFault::BadDynamic)?;
            let value = entry.d_val;
            match entry.d_tag {
                DT_NULL => break,
                DT_RELA => rela = value,
                DT_RELASZ => rela_len = value,
                DT_JMPREL => jmprel = value,
                DT_PLTRELSZ => jmprel_len = value,
                DT_SYMTAB => dynamic.symtab = value,
                DT_STRTAB => dynamic.strtab = value,
                DT_HASH => dynamic.hash = value,
                DT_GNU_HASH => dynamic.gnu_hash = value,
                DT_NEEDED => return Err(ImageFault::NeedsLibrary),
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

    /// Calls `apply` with each relocation: the address to write to, the value, and whether the
    /// value is relative to the load base.
    pub(crate) fn relocations(
        &self,
        plan: &LoadPlan<'a>,
        mut apply: impl FnMut(u64, u64, bool) -> Result<(), ImageFault>,
    ) -> Result<(), ImageFault> {
        let tables = self.rela.into_iter().chain([self.jmprel]);
        for entry in tables.flat_map(|table| table.chunks_exact(SIZEOF_RELA)) {
            let rela: Rela = raw::read(entry, 0).ok_or(ImageFault::BadDynamic)?;
            let addend = rela.r_addend.cast_unsigned();
            if rela.r_info == u64::from(R_AARCH64_RELATIVE) {
                apply(rela.r_offset, addend, true)?;
                continue;
            }
            match r_type(rela.r_info) {
                R_AARCH64_NONE => {}
                R_AARCH64_RELATIVE => apply(rela.r_offset, addend, true)?,
                R_AARCH64_ABS64 | R_AARCH64_GLOB_DAT | R_AARCH64_JUMP_SLOT => {
                    let (value, relative) = self.symbol_value(plan, r_sym(rela.r_info))?;
                    apply(rela.r_offset, value.wrapping_add(addend), relative)?;
                }
                _ => return Err(ImageFault::UnknownRelocation),
            }
        }
        Ok(())
    }

    /// Symbol `index`, if it lies in the file.
    pub(crate) fn symbol(&self, plan: &LoadPlan<'_>, index: u32) -> Option<Sym> {
        let offset = u64::from(index) * size_of::<Sym>() as u64;
        let address = self.symtab.checked_add(offset)?;
        let bytes = plan.file_bytes(address, size_of::<Sym>() as u64)?;
        raw::read(bytes, 0)
    }

    /// The value that a relocation against symbol `index` gets, and whether it moves with the
    /// image.
    fn symbol_value(&self, plan: &LoadPlan<'_>, index: u32) -> Result<(u64, bool), ImageFault> {
        if index == 0 {
            return Ok((0, false));
        }
        let symbol = self.symbol(plan, index).ok_or(ImageFault::BadDynamic)?;
        match u32::from(symbol.st_shndx) {
            SHN_UNDEF if st_bind(symbol.st_info) == STB_WEAK => Ok((0, false)),
            SHN_UNDEF => Err(ImageFault::UndefinedSymbol),
            SHN_ABS => Ok((symbol.st_value, false)),
            n if n >= SHN_LORESERVE => Err(ImageFault::BadDynamic),
            _ => Ok((symbol.st_value, true)),
        }
    }
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
