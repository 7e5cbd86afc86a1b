//! One 64-bit entry a unit: what the unit is part of.
//!
//! ```text
//! bits     0..4   4..8   8..12   12..24  24..44  44..64
//! free     1      length of the run <4..24>       prev    next
//! block    2      size <4..16>, owner <16..32>, site <32..48>, epoch <48..64>: its record
//! tail     3      length <4..24>
//! large    8      slack <4..16>, owner <16..32>, site <32..48>, epoch <48..64>
//! length   9      length <4..24>                  second unit of a large block
//! kept     10     length <4..24>                  a freed run that waits for its next block
//! back     11     distance <4..24>                to the first unit of the large block that this is in
//! slab     4      class   left    part <12..16>   free mask <32..64> in part 0, links in part 1
//! ```
//!
//! Only a slab's kind has bit 2 set. `left` counts the units from this one to
//! the slab's end; the free mask has block 0 at bit 63. A block of up to 4095 bytes has as many units as
//! its size needs; a large one says its length in its second unit, and in every 16th of the pool where it begins.
//!
//! **Invariant:** zero is "inside something that another entry describes", so that new memory,
//! which reads as zero, is never mistaken for the start of a block.
//! **Knows nothing of:** the table that the entries lie in.

/// No unit.
pub(crate) const NONE: u32 = 0xf_ffff;
/// Longest run a pool can have, in units.
pub(crate) const MAX_UNITS: usize = (1 << 17) - 1;

pub(crate) const INSIDE: u64 = 0;
pub(crate) const FREE: u64 = 1;
pub(crate) const BLOCK: u64 = 2;
pub(crate) const TAIL: u64 = 3;
pub(crate) const SLAB: u64 = 4;
pub(crate) const LARGE: u64 = 8;
pub(crate) const LENGTH: u64 = 9;
pub(crate) const KEPT: u64 = 10;
pub(crate) const BACK: u64 = 11;

/// Of so many units of a large block one says where the block begins.
pub(crate) const BACK_STEP: u32 = 16;

const LINK: u64 = 0xf_ffff;

#[inline(always)]
pub(crate) fn kind(entry: u64) -> u64 {
    entry & 15
}

#[inline(always)]
pub(crate) fn free(len: u32, next: u32) -> u64 {
    FREE | u64::from(len) << 4 | u64::from(NONE) << 24 | u64::from(next) << 44
}

/// A freed run kept as it is.
#[inline(always)]
pub(crate) fn kept(len: u32) -> u64 {
    KEPT | u64::from(len) << 4
}

#[inline(always)]
pub(crate) fn tail(len: u32) -> u64 {
    TAIL | u64::from(len) << 4
}

#[inline(always)]
pub(crate) fn length(len: u32) -> u64 {
    LENGTH | u64::from(len) << 4
}

#[inline(always)]
pub(crate) fn back(distance: u32) -> u64 {
    BACK | u64::from(distance) << 4
}

/// Length of a `FREE`, `TAIL`, `KEPT` or `LENGTH` entry, distance of a `BACK` entry.
#[inline(always)]
pub(crate) fn len(entry: u64) -> u32 {
    (entry >> 4 & LINK) as u32
}

#[inline(always)]
pub(crate) fn prev(entry: u64) -> u32 {
    (entry >> 24 & LINK) as u32
}

#[inline(always)]
pub(crate) fn next(entry: u64) -> u32 {
    (entry >> 44) as u32
}

#[inline(always)]
pub(crate) fn with_prev(entry: u64, prev: u32) -> u64 {
    entry & !(LINK << 24) | u64::from(prev) << 24
}

#[inline(always)]
pub(crate) fn with_next(entry: u64, next: u32) -> u64 {
    entry & !(LINK << 44) | u64::from(next) << 44
}

/// Largest size that a record holds.
pub(crate) const MAX_RECORD_SIZE: usize = 0xfff;

/// Head of an allocated run too large for a record; who allocated it as in `record`.
#[inline(always)]
pub(crate) fn large(slack: u32, record: u64) -> u64 {
    LARGE | u64::from(slack) << 4 | record & !0xffff
}

#[inline(always)]
pub(crate) fn slack(entry: u64) -> u32 {
    (entry >> 4 & 0xfff) as u32
}

/// Part `part` of a slab of class `class`, with `left` units from there on.
#[inline(always)]
pub(crate) fn slab(part: u32, left: u32, class: usize) -> u64 {
    SLAB | (class as u64) << 4 | u64::from(left) << 8 | u64::from(part) << 12
}

/// Bytes from the start of this part to the slab's end.
#[inline(always)]
pub(crate) fn left_bytes(entry: u64) -> u32 {
    // `left << 8` is `left` units.
    (entry & 0xf00) as u32
}

#[inline(always)]
pub(crate) fn part(entry: u64) -> u32 {
    (entry >> 12 & 15) as u32
}

#[inline(always)]
pub(crate) fn class(entry: u64) -> usize {
    (entry >> 4 & 15) as usize
}

/// What [`class_offset`] gives too much.
pub(crate) const CLASS_BIAS: usize = SLAB as usize;

/// Offset of a slab's class in an array of classes of 16 bytes, and [`CLASS_BIAS`]: the low octet as it is.
#[inline(always)]
pub(crate) fn class_offset(entry: u64) -> usize {
    (entry & 0xff) as usize
}

#[inline(always)]
pub(crate) fn free_mask(entry: u64) -> u32 {
    (entry >> 32) as u32
}

#[inline(always)]
pub(crate) fn with_free_mask(entry: u64, mask: u32) -> u64 {
    entry & 0xffff_ffff | u64::from(mask) << 32
}

/// Whether a slab's record is that of somebody's block; if not, it is 0.
#[inline(always)]
pub(crate) fn is_live(record: u64) -> bool {
    record & BLOCK != 0
}

/// The size in a record.
#[inline(always)]
pub(crate) fn record_size(record: u64) -> usize {
    (record >> 4 & 0xfff) as usize
}

/// A record that has neither with a site, given as a multiple of 32, and a size.
#[inline(always)]
pub(crate) fn with_site_and_size(record: u64, site_times_32: usize, size: usize) -> u64 {
    // The rotation is a shift, as the topmost bits are zero; but it is taken in the same step as the `|`.
    record | ((site_times_32 as u64) << 23 | size as u64).rotate_left(4)
}

/// A record with another size, at most [`MAX_RECORD_SIZE`].
#[inline(always)]
pub(crate) fn with_size(record: u64, size: usize) -> u64 {
    record & !0xfff0 | (size as u64 & 0xfff) << 4
}

/// Who allocated a block: kind `<0..4>` ([`BLOCK`]), size `<4..16>` (0 yet), owner `<16..32>`, site
/// `<32..48>`, epoch `<48..64>`. (First fit puts something else into the low half.)
#[inline(always)]
pub(crate) fn record(owner: u16, site: u16, epoch: u16) -> u64 {
    BLOCK | u64::from(owner) << 16 | u64::from(site) << 32 | u64::from(epoch) << 48
}

#[inline(always)]
pub(crate) fn record_low(record: u64) -> u32 {
    (record & 0xffff) as u32
}

#[inline(always)]
pub(crate) fn record_owner(record: u64) -> u16 {
    (record >> 16) as u16
}

#[inline(always)]
pub(crate) fn record_site(record: u64) -> u16 {
    (record >> 32) as u16
}

#[inline(always)]
pub(crate) fn record_epoch(record: u64) -> u16 {
    (record >> 48) as u16
}
