//! Looking up an exported symbol by name.
//!
//! **Invariant:** the work is bounded by the size of the file.

use crate::dynamic::Dynamic;
use crate::{LoadPlan, raw};
use goblin::elf64::section_header::SHN_UNDEF;

/// Address of the defined symbol `name`, by the hash table that the image has.
pub(crate) fn find(plan: &LoadPlan<'_>, dynamic: &Dynamic<'_>, name: &[u8]) -> Option<u64> {
    if dynamic.symtab == 0 || dynamic.strtab == 0 {
        None
    } else if dynamic.gnu_hash != 0 {
        find_gnu(plan, dynamic, name)
    } else if dynamic.hash != 0 {
        find_sysv(plan, dynamic, name)
    } else {
        None
    }
}

/// Value of symbol `index` if it is defined and called `name`.
fn matching(plan: &LoadPlan<'_>, dynamic: &Dynamic<'_>, index: u32, name: &[u8]) -> Option<u64> {
    let symbol = dynamic.symbol(plan, index)?;
    let at = dynamic.strtab.checked_add(u64::from(symbol.st_name))?;
    let found = plan.file_bytes_from(at)?.strip_prefix(name)?;
    (found.first() == Some(&0) && u32::from(symbol.st_shndx) != SHN_UNDEF)
        .then_some(symbol.st_value)
}

/// GNU hash table: `{n_buckets, first_symbol, n_bloom, shift; u64 bloom[]; u32 buckets[], chain[]}`.
fn find_gnu(plan: &LoadPlan<'_>, dynamic: &Dynamic<'_>, name: &[u8]) -> Option<u64> {
    let table = plan.file_bytes_from(dynamic.gnu_hash)?;
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
            && let Some(value) = matching(plan, dynamic, index, name)
        {
            return Some(value);
        }
        if link & 1 != 0 {
            return None;
        }
        index = index.checked_add(1)?;
    }
}

/// System V hash table: `{n_buckets, n_chain; u32 buckets[], chain[]}`.
fn find_sysv(plan: &LoadPlan<'_>, dynamic: &Dynamic<'_>, name: &[u8]) -> Option<u64> {
    let table = plan.file_bytes_from(dynamic.hash)?;
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
        if let Some(value) = matching(plan, dynamic, index, name) {
            return Some(value);
        }
        index = raw::read_u32(table, chains + 4 * u64::from(index))?;
    }
    None
}
