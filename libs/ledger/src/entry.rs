//! One 64-bit entry a unit: what the unit is part of.
//!
//! ```text
//! bits    0..4   4..8    8..12   12..24  24..44  44..64
//! free    1      length of the run <4..24>       prev    next
//! tail    2      length <4..24>
//! big     3/4    slack <4..16>, owner <16..32>, site <32..48>, epoch <48..64>
//! length  5      length <4..24>                  second unit of a block of several units
//! cached  7      length <4..24>                  depth   next    second unit stays as it was
//! slab    8      part    left    class <12..16>  free mask <32..64> in part 0, links in part 1
//! ```
//!
//! Only a slab's kind has bit 3 set. `left` counts the units from this one to the slab's end; the free
//! mask has block 0 at bit 63.
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
pub(crate) const TAIL: u64 = 2;
pub(crate) const BIG_ONE: u64 = 3;
pub(crate) const BIG_MANY: u64 = 4;
pub(crate) const LENGTH: u64 = 5;
pub(crate) const SLAB: u64 = 8;
pub(crate) const CACHED: u64 = 7;

const LINK: u64 = 0xf_ffff;

#[inline(always)]
pub(crate) fn kind(entry: u64) -> u64 {
    entry & 15
}

#[inline(always)]
pub(crate) fn free(len: u32, next: u32) -> u64 {
    FREE | u64::from(len) << 4 | u64::from(NONE) << 24 | u64::from(next) << 44
}

/// A freed run kept as it is, with `depth` such runs from here to the end of its list.
#[inline(always)]
pub(crate) fn cached(len: u32, depth: u32, next: u32) -> u64 {
    CACHED | u64::from(len) << 4 | u64::from(depth) << 24 | u64::from(next) << 44
}

#[inline(always)]
pub(crate) fn tail(len: u32) -> u64 {
    TAIL | u64::from(len) << 4
}

#[inline(always)]
pub(crate) fn length(len: u32) -> u64 {
    LENGTH | u64::from(len) << 4
}

/// Length of a `FREE`, `TAIL`, `CACHED` or `LENGTH` entry.
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

/// Head of an allocated run; `record` as [`record`] made it.
#[inline(always)]
pub(crate) fn big(units: u32, slack: u32, record: u64) -> u64 {
    let kind = if units == 1 { BIG_ONE } else { BIG_MANY };
    kind | u64::from(slack) << 4 | record & !0xffff
}

#[inline(always)]
pub(crate) fn slack(entry: u64) -> u32 {
    (entry >> 4 & 0xfff) as u32
}

/// Part `part` of a slab of class `class`, with `left` units from there on.
#[inline(always)]
pub(crate) fn slab(part: u32, left: u32, class: usize) -> u64 {
    SLAB | u64::from(part) << 4 | u64::from(left) << 8 | (class as u64) << 12
}

/// Bytes from the start of this part to the slab's end.
#[inline(always)]
pub(crate) fn left_bytes(entry: u64) -> u32 {
    // `left << 8` is `left` units.
    (entry & 0xf00) as u32
}

#[inline(always)]
pub(crate) fn part(entry: u64) -> u32 {
    (entry >> 4 & 15) as u32
}

#[inline(always)]
pub(crate) fn class(entry: u64) -> usize {
    (entry >> 12 & 15) as usize
}

#[inline(always)]
pub(crate) fn free_mask(entry: u64) -> u32 {
    (entry >> 32) as u32
}

#[inline(always)]
pub(crate) fn with_free_mask(entry: u64, mask: u32) -> u64 {
    entry & 0xffff_ffff | u64::from(mask) << 32
}

/// In the low half of a slab's record, beside the size: the block is somebody's.
pub(crate) const LIVE: u64 = 1 << 15;

/// The size in a slab's record.
#[inline(always)]
pub(crate) fn slot_size(record: u64) -> u32 {
    (record & (LIVE - 1)) as u32
}

/// Who allocated a block: size (or other low half) `<0..16>`, owner `<16..32>`, site `<32..48>`,
/// epoch `<48..64>`.
#[inline(always)]
pub(crate) fn record(low: u16, owner: u16, site: u16, epoch: u16) -> u64 {
    u64::from(low) | u64::from(owner) << 16 | u64::from(site) << 32 | u64::from(epoch) << 48
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
