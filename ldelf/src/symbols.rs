//! Symbols of an image: looked up by index, and by name through its hash table.
//!
//! **Invariant:** the work is bounded by the size of the image.

use crate::raw;
use goblin::elf64::section_header::{SHN_LORESERVE, SHN_UNDEF};
use goblin::elf64::sym::{STB_LOCAL, Sym, st_bind};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of an image, where link address 0 is 0.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Extent {
    /// Address of the first one.
    pub address: u64,
    /// How many.
    pub len: u64,
}

/// Where an image has its symbols; extents of no length for what it has not.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SymbolTables {
    /// The table of symbols.
    pub symbols: Extent,
    /// Their names.
    pub strings: Extent,
    /// The GNU hash table.
    pub gnu_hash: Extent,
    /// The System V hash table.
    pub hash: Extent,
}

/// The tables' bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Symbols<'a> {
    symbols: &'a [u8],
    strings: &'a [u8],
    gnu_hash: &'a [u8],
    hash: &'a [u8],
}

impl<'a> Symbols<'a> {
    /// Those that lie at `tables`, of an image whose bytes `bytes` gives.
    pub fn new(tables: &SymbolTables, bytes: impl Fn(Extent) -> &'a [u8]) -> Self {
        Self {
            symbols: bytes(tables.symbols),
            strings: bytes(tables.strings),
            gnu_hash: bytes(tables.gnu_hash),
            hash: bytes(tables.hash),
        }
    }

    /// Symbol `index`.
    pub(crate) fn get(&self, index: u32) -> Option<Sym> {
        raw::read(self.symbols, u64::from(index) * size_of::<Sym>() as u64)
    }

    /// The name at `offset` of the table of names, without the zero that ends it.
    pub(crate) fn string(&self, offset: u64) -> Option<&'a [u8]> {
        let bytes = self.strings.get(usize::try_from(offset).ok()?..)?;
        let len = bytes.iter().position(|byte| *byte == 0)?;
        bytes.get(..len)
    }

    /// The symbol of that name which others may use, if it is defined here.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Sym> {
        if self.gnu_hash.is_empty() {
            self.find_sysv(name)
        } else {
            self.find_gnu(name)
        }
    }

    /// Symbol `index` if it is defined, for others as well, and called `name`.
    fn matching(&self, index: u32, name: &[u8]) -> Option<Sym> {
        let symbol = self.get(index)?;
        let found = self.strings.get(symbol.st_name as usize..)?;
        let is_named = found.strip_prefix(name)?.first() == Some(&0);
        let section = u32::from(symbol.st_shndx);
        let is_defined = section != SHN_UNDEF && section < SHN_LORESERVE;
        (is_named && is_defined && st_bind(symbol.st_info) != STB_LOCAL).then_some(symbol)
    }

    /// GNU hash table: `{n_buckets, first_symbol, n_bloom, shift; u64 bloom[]; u32 buckets[], chain[]}`.
    fn find_gnu(&self, name: &[u8]) -> Option<Sym> {
        let table = self.gnu_hash;
        let n_buckets = raw::read_u32(table, 0)?;
        let first = raw::read_u32(table, 4)?;
        let buckets = 16 + 8 * u64::from(raw::read_u32(table, 8)?);
        let chains = buckets + 4 * u64::from(n_buckets);
        let hash = name.iter().fold(5381_u32, |h, c| {
            h.wrapping_mul(33).wrapping_add(u32::from(*c))
        });
        let bucket = u64::from(hash.checked_rem(n_buckets)?);
        let mut index = raw::read_u32(table, buckets + 4 * bucket)?;
        loop {
            let link = raw::read_u32(table, chains + 4 * u64::from(index.checked_sub(first)?))?;
            if link | 1 == hash | 1
                && let Some(symbol) = self.matching(index, name)
            {
                return Some(symbol);
            }
            if link & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
    }

    /// System V hash table: `{n_buckets, n_chain; u32 buckets[], chain[]}`.
    fn find_sysv(&self, name: &[u8]) -> Option<Sym> {
        let table = self.hash;
        let n_buckets = raw::read_u32(table, 0)?;
        let chains = 8 + 4 * u64::from(n_buckets);
        let hash = name.iter().fold(0_u32, |h, c| {
            let h = (h << 4).wrapping_add(u32::from(*c));
            let high = h & 0xf000_0000;
            (h ^ (high >> 24)) & !high
        });
        let bucket = u64::from(hash.checked_rem(n_buckets)?);
        let mut index = raw::read_u32(table, 8 + 4 * bucket)?;
        // A chain in a loop ends with the table's length.
        for _ in 0..table.len() / 4 {
            if index == 0 {
                return None;
            }
            if let Some(symbol) = self.matching(index, name) {
                return Some(symbol);
            }
            index = raw::read_u32(table, chains + 4 * u64::from(index))?;
        }
        None
    }
}
