//! Call-site names: a compact table from return addresses to function, file and line.
//!
//! xtask writes the table from an image's DWARF; the kernel carries its own, a TA's lies beside
//! its image in the normal world (`UUID.sites`).
//!
//! **Invariant:** no bytes make [`Table::parse`] or [`Table::lookup`] panic or read outside the
//! table: `parse` checks the frame, `lookup` checks everything that it walks over.
//! [`Table::validate`] walks over all of it.
//!
//! Layout, little-endian: a header of [`HEADER_BYTES`]; an index of (`u32` offset of the first site's return
//! address, `u32` offset of its record) for each block of [`BLOCK_SITES`] sites; records;
//! functions; files. Numbers marked v are LEB128, z are zigzag LEB128.
//!
//! - A file: `u8` length, name.
//! - A function: v offset of its file, v base line, `u8` length, name.
//! - The first record of a block: v offset of its function, z line minus base line.
//! - Any other record: a tag byte; v distance in instructions if the tag's low 6 bits are 0;
//!   unless [`SAME_FUNCTION`], z function offset minus the previous one's, z line minus base
//!   line; else, unless [`SAME_LINE`], z line minus the previous one.

/// First word of a table: "SITE".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SITE");
/// Bytes of the header: magic, total length, number of sites, lengths of the records, the
/// functions and the files, each a `u32`.
pub const HEADER_BYTES: usize = 24;
/// Sites in a block of the index.
pub const BLOCK_SITES: usize = 32;
/// Tag bit: the record's function is the previous record's.
pub const SAME_FUNCTION: u8 = 1 << 6;
/// Tag bit, with [`SAME_FUNCTION`]: the line is the previous record's.
pub const SAME_LINE: u8 = 1 << 7;
/// Tag bits: distance from the previous return address in instructions; 0: it follows.
pub const DISTANCE_MASK: u8 = SAME_FUNCTION - 1;

/// Files of ours that every allocation goes through: of a call, who is behind them is named.
const ALLOCATORS: [&str; 3] = [
    "kernel/src/heap.rs",
    "kernel/mem/src/fallible.rs",
    "ta-runtime/src/heap.rs",
];

/// Whether a function with this name, in this file, is only the way into the allocator: the compiler's, the
/// standard library's, or ours. Who allocates is the innermost one that is not.
#[must_use]
pub fn is_allocator(function: &str, file: &str) -> bool {
    let name = function.rsplit("::").next().unwrap_or(function);
    name.starts_with("__rust_")
        || (file.is_empty() && function.starts_with("alloc::"))
        || is_std(file)
        || ALLOCATORS.contains(&file)
}

/// Whether a source file is the standard library's.
#[must_use]
pub fn is_std(file: &str) -> bool {
    ["core/src/", "alloc/src/", "std/src/", "compiler_builtins/"]
        .iter()
        .any(|prefix| file.starts_with(prefix))
        || file.starts_with("compiler_builtins-")
}

/// Where a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteName<'a> {
    /// The innermost function of the program's own, inlined or not: its last two path segments.
    pub function: &'a str,
    /// Source file, relative to the repository's root or beginning with the crate's name.
    pub file: &'a str,
    /// Line in it, from 1.
    pub line: u32,
}

/// A parsed table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
    n_sites: usize,
    index: &'a [u8],
    records: &'a [u8],
    functions: &'a [u8],
    files: &'a [u8],
}

impl<'a> Table<'a> {
    /// Reads the table at the start of `bytes`, which may be longer than the table. Costs the
    /// same for every size. `None` when its frame does not hold.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |n: usize| Some(u32::from_le_bytes(*bytes.get(4 * n..)?.first_chunk()?));
        if word(0)? != MAGIC {
            return None;
        }
        let size = |n: usize| usize::try_from(word(n)?).ok();
        let (total, n_sites) = (size(1)?, size(2)?);
        let bytes = bytes.get(..total)?;
        let rest = bytes.get(HEADER_BYTES..)?;
        let (index, rest) = rest.split_at_checked(n_sites.div_ceil(BLOCK_SITES).checked_mul(8)?)?;
        let (records, rest) = rest.split_at_checked(size(3)?)?;
        let (functions, rest) = rest.split_at_checked(size(4)?)?;
        let (files, rest) = rest.split_at_checked(size(5)?)?;
        rest.is_empty().then_some(Self {
            bytes,
            n_sites,
            index,
            records,
            functions,
            files,
        })
    }

    /// Names the return address `pc_offset` bytes above the image's base. `None` when the table
    /// has no such site.
    #[must_use]
    pub fn lookup(&self, pc_offset: u64) -> Option<SiteName<'a>> {
        let wanted = u32::try_from(pc_offset).ok()?;
        // The last block that does not begin behind it.
        let (mut low, mut high) = (0, self.index.len() / 8);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.block(middle)?.0 <= wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut cursor = self.cursor(low.checked_sub(1)?)?;
        while cursor.pc < wanted && cursor.left > 0 {
            cursor.step(self)?;
        }
        if cursor.pc == wanted {
            self.name(&cursor)
        } else {
            None
        }
    }

    /// Bytes of the table.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Number of sites.
    #[must_use]
    pub fn n_sites(&self) -> usize {
        self.n_sites
    }

    /// Whether every site of the table can be named and the sites ascend.
    #[must_use]
    pub fn validate(&self) -> bool {
        let mut last = None;
        (0..self.index.len() / 8).all(|block| {
            let Some(mut cursor) = self.cursor(block) else {
                return false;
            };
            loop {
                if self.name(&cursor).is_none() || last >= Some(cursor.pc) {
                    return false;
                }
                last = Some(cursor.pc);
                if cursor.left == 0 {
                    return true;
                }
                if cursor.step(self).is_none() {
                    return false;
                }
            }
        })
    }

    fn block(&self, n: usize) -> Option<(u32, usize)> {
        let entry: &[u8; 8] = self.index.get(n.checked_mul(8)?..)?.first_chunk()?;
        let [p0, p1, p2, p3, r0, r1, r2, r3] = *entry;
        let record = u32::from_le_bytes([r0, r1, r2, r3]);
        Some((
            u32::from_le_bytes([p0, p1, p2, p3]),
            usize::try_from(record).ok()?,
        ))
    }

    fn cursor(&self, block: usize) -> Option<Cursor<'a>> {
        let (pc, record) = self.block(block)?;
        let mut records = Reader(self.records.get(record..)?);
        let function = records.unsigned()?;
        let line_delta = records.signed()?;
        let left = self.n_sites.checked_sub(block.checked_mul(BLOCK_SITES)?)?;
        let mut cursor = Cursor {
            records,
            pc,
            function,
            line: 0,
            left: left.min(BLOCK_SITES).checked_sub(1)?,
        };
        cursor.line = self.base_line(function)?.checked_add_signed(line_delta)?;
        Some(cursor)
    }

    fn function(&self, offset: u32) -> Option<Reader<'a>> {
        Some(Reader(self.functions.get(usize::try_from(offset).ok()?..)?))
    }

    fn base_line(&self, function: u32) -> Option<u32> {
        let mut entry = self.function(function)?;
        entry.unsigned()?;
        entry.unsigned()
    }

    fn name(&self, cursor: &Cursor<'a>) -> Option<SiteName<'a>> {
        let mut entry = self.function(cursor.function)?;
        let file = entry.unsigned()?;
        entry.unsigned()?;
        let function = entry.text()?;
        let file = Reader(self.files.get(usize::try_from(file).ok()?..)?).text()?;
        Some(SiteName {
            function,
            file,
            line: cursor.line,
        })
    }
}

/// A site, and where the next record is.
struct Cursor<'a> {
    records: Reader<'a>,
    pc: u32,
    function: u32,
    line: u32,
    /// Sites left in the block.
    left: usize,
}

impl Cursor<'_> {
    fn step(&mut self, table: &Table<'_>) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let tag = self.records.byte()?;
        let distance = match u32::from(tag & DISTANCE_MASK) {
            0 => self.records.unsigned()?,
            short => short,
        };
        self.pc = self.pc.checked_add(distance.checked_mul(4)?)?;
        if tag & SAME_FUNCTION == 0 {
            self.function = self.function.checked_add_signed(self.records.signed()?)?;
            self.line = table
                .base_line(self.function)?
                .checked_add_signed(self.records.signed()?)?;
        } else if tag & SAME_LINE == 0 {
            self.line = self.line.checked_add_signed(self.records.signed()?)?;
        }
        Some(())
    }
}

#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn unsigned(&mut self) -> Option<u32> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0xf {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i32> {
        let value = self.unsigned()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(self.byte()?);
        core::str::from_utf8(self.0.get(..len)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sites 8 (`f` line 10), 16 (`f` line 10), 20 (`f` line 9), 1020 (`g` line 70).
    const BYTES: &[u8] = &[
        b'S',
        b'I',
        b'T',
        b'E',
        62,
        0,
        0,
        0,
        4,
        0,
        0,
        0,
        11,
        0,
        0,
        0,
        11,
        0,
        0,
        0,
        8,
        0,
        0,
        0,
        // Index.
        8,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        // Records.
        0,
        0,
        0xc0 | 2,
        0x40 | 1,
        1,
        0,
        0xfa,
        0x01,
        8,
        20,
        0,
        // Functions: `f` at 0, `g` at 4 with a base line of 60; padding.
        0,
        10,
        1,
        b'f',
        4,
        60,
        1,
        b'g',
        0,
        0,
        0,
        // Files.
        3,
        b'a',
        b'.',
        b'r',
        3,
        b'b',
        b'.',
        b'r',
    ];

    fn check(pc_offset: u64, expected: Option<(&str, &str, u32)>) {
        let table = Table::parse(BYTES).unwrap();
        let found = table
            .lookup(pc_offset)
            .map(|site| (site.function, site.file, site.line));
        assert_eq!(found, expected, "at {pc_offset}");
    }

    #[test]
    fn every_site_is_named() {
        check(8, Some(("f", "a.r", 10)));
        check(16, Some(("f", "a.r", 10)));
        check(20, Some(("f", "a.r", 9)));
        check(1020, Some(("g", "b.r", 70)));
        assert!(Table::parse(BYTES).unwrap().validate());
    }

    #[test]
    fn other_addresses_have_no_name() {
        for pc_offset in [0, 4, 9, 12, 24, 1016, 1024, u64::MAX] {
            check(pc_offset, None);
        }
    }

    #[test]
    fn longer_buffer_is_cut_to_the_table() {
        let mut longer = BYTES.to_vec();
        longer.extend_from_slice(&[0xff; 9]);
        assert_eq!(Table::parse(&longer).unwrap().len_bytes(), BYTES.len());
    }

    #[test]
    fn shorter_buffer_is_refused() {
        for len in 0..BYTES.len() {
            assert!(Table::parse(&BYTES[..len]).is_none());
        }
    }

    #[test]
    fn altered_table_never_panics() {
        for at in 0..BYTES.len() {
            for flip in 1..=255u8 {
                let mut bytes = BYTES.to_vec();
                bytes[at] ^= flip;
                if let Some(table) = Table::parse(&bytes) {
                    let _ = table.validate();
                    for pc_offset in [0, 8, 16, 20, 1020, 0xffff_fffc] {
                        let _ = table.lookup(pc_offset);
                    }
                }
            }
        }
    }
}
