//! One 32-bit entry a unit: what the unit is part of; and the 64-bit record that each block has.
//!
//! ```text
//! bits     0..4    4..8    8..32
//! inside   0       0       0
//! block    2       size <4..16>, owner <16..32>           the low half of the block's record
//! large    10      slack <4..16>, owner <16..32>          the same, but for the size
//! detail   1 <0..3>, site <3..16>, mark <16..32>         the high half of a record: the second unit of a block;
//!                                                         the mark's bytes are swapped
//!   light  1 <0>, return address <1..24>, mark <24..32>  the same of a pool that tracks lightly: low bits of both
//! slab     4 <0..3>, class <3..8>, offset of the slab's first byte in the body, a multiple of 512
//! free     8       0       length of the run
//! tail     8       1       length of the run
//! kept     8       2       length of the run              a freed run that waits for its next block
//! length   8       3       length of the run              third unit of a large block
//! back     8       4       distance to the first unit of the large block that this is in
//! ```
//!
//! Only a slab's kind has bit 2 set, and only a detail has bit 0. A block of up to 4095 bytes
//! has as many units as its size needs, and at least two; a large one says its length in its third unit, and
//! in every 16th of the pool where it begins.
//!
//! **Invariant:** zero is "inside something that another entry describes", so that new memory,
//! which reads as zero, is never mistaken for the start of a block.

use crate::classes::UNIT;

/// No unit.
pub(crate) const NONE: u32 = 0xffff;
/// Longest run a pool can have, in units: a link is 16 bits.
pub(crate) const MAX_UNITS: usize = NONE as usize;
/// Fewest units of a run that is a block: two halves of a record.
pub(crate) const MIN_BLOCK_UNITS: u32 = 2;

pub(crate) const INSIDE: u32 = 0;
pub(crate) const BLOCK: u32 = 2;
pub(crate) const SLAB: u32 = 4;
pub(crate) const LARGE: u32 = 10;
pub(crate) const FREE: u32 = 0x08;
pub(crate) const TAIL: u32 = 0x18;
pub(crate) const KEPT: u32 = 0x28;
pub(crate) const LENGTH: u32 = 0x38;
pub(crate) const BACK: u32 = 0x48;
/// What [`kind`] says of the high half of a record.
pub(crate) const DETAIL: u32 = 1;
/// What [`kind`] says of an entry that cannot be.
const NOTHING: u32 = u32::MAX;

/// Of so many units of a large block one says where the block begins.
pub(crate) const BACK_STEP: u32 = 16;

/// One of the constants above.
#[inline(always)]
pub(crate) fn kind(entry: u32) -> u32 {
    if entry & DETAIL != 0 {
        return DETAIL;
    }
    if entry & SLAB != 0 {
        return SLAB;
    }
    match entry & 15 {
        kind @ (BLOCK | LARGE) => kind,
        FREE => entry & 0xff,
        _ if entry == INSIDE => INSIDE,
        _ => NOTHING,
    }
}

/// Whether `entry` is that of the first unit of a block of at most [`MAX_RECORD_SIZE`] bytes.
#[inline(always)]
pub(crate) fn is_block(entry: u32) -> bool {
    entry & 15 == BLOCK
}

/// Whether `entry` is that of the first unit of a free run.
#[inline(always)]
pub(crate) fn is_free(entry: u32) -> bool {
    entry & 0xff == FREE
}

#[inline(always)]
pub(crate) fn free(len: u32) -> u32 {
    FREE | len << 8
}

/// A freed run kept as it is.
#[inline(always)]
pub(crate) fn kept(len: u32) -> u32 {
    KEPT | len << 8
}

#[inline(always)]
pub(crate) fn tail(len: u32) -> u32 {
    TAIL | len << 8
}

#[inline(always)]
pub(crate) fn length(len: u32) -> u32 {
    LENGTH | len << 8
}

#[inline(always)]
pub(crate) fn back(distance: u32) -> u32 {
    BACK | distance << 8
}

/// Length of a `FREE`, `TAIL`, `KEPT` or `LENGTH` entry, distance of a `BACK` entry.
#[inline(always)]
pub(crate) fn len(entry: u32) -> u32 {
    entry >> 8
}

/// A unit of the slab of class `class` that begins at unit `first`.
#[inline(always)]
pub(crate) fn slab(first: u32, class: usize) -> u32 {
    SLAB | (class as u32) << 3 | (first * UNIT as u32)
}

/// Offset in the body of the slab that a unit is part of.
#[inline(always)]
pub(crate) fn slab_start(entry: u32) -> u32 {
    entry & !(UNIT as u32 - 1)
}

/// First unit of the slab that a unit is part of.
#[inline(always)]
pub(crate) fn slab_unit(entry: u32) -> u32 {
    entry / UNIT as u32
}

#[inline(always)]
pub(crate) fn class(entry: u32) -> usize {
    (entry >> 3 & 31) as usize
}

/// What [`class_offset`] gives too much.
pub(crate) const CLASS_BIAS: usize = (SLAB as usize) << 2;

/// Offset of a slab's class in an array of classes of 32 bytes, and [`CLASS_BIAS`]: four times the low byte.
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
#[inline(always)]
pub(crate) fn class_offset(entry: u32) -> usize {
    usize::from(entry as u8) << 2
}

/// What a slab says of itself at its front: which of its blocks are free (block 0 at bit 63), and its neighbours
/// in its class's list. It stands beside blocks that may be overrun, so that none of it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlabHead {
    /// Block 0 at bit 31.
    pub(crate) free_mask: u32,
    /// Unit of the slab before this one, or [`NONE`].
    pub(crate) prev: u32,
    /// Unit of the slab behind this one, or [`NONE`].
    pub(crate) next: u32,
}

impl SlabHead {
    /// As a word of the body.
    pub(crate) fn word(self) -> u64 {
        u64::from(self.free_mask) << 32
            | u64::from(self.prev & 0xffff) << 16
            | u64::from(self.next & 0xffff)
    }

    pub(crate) fn of(word: u64) -> Self {
        Self {
            free_mask: (word >> 32) as u32,
            prev: (word >> 16) as u32 & 0xffff,
            next: word as u32 & 0xffff,
        }
    }
}

/// Largest size that a record holds.
pub(crate) const MAX_RECORD_SIZE: usize = 0xfff;

/// The bit that makes the high half of a record a [`DETAIL`].
const DETAIL_BIT: u64 = (DETAIL as u64) << 32;
/// Where the site is in a record.
const SITE: u32 = 35;
/// Most sites that a record tells apart.
pub(crate) const MAX_SITES: u16 = 1 << 13;

/// The entries of the first two units of a large block; who allocated it as in `record`.
#[inline(always)]
pub(crate) fn large(slack: u32, record: u64) -> u64 {
    u64::from(LARGE | slack << 4) | record & !0xffff
}

/// Bytes of a large block's units that it did not ask for.
#[inline(always)]
pub(crate) fn slack(entry: u32) -> u32 {
    entry >> 4 & 0xfff
}

/// The record that the entries of a block's first two units are.
#[inline(always)]
pub(crate) fn joined(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

/// Whether a slab's record is that of somebody's block; if not, it is 0.
#[inline(always)]
pub(crate) fn is_live(record: u64) -> bool {
    record & BLOCK as u64 != 0
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
    record | ((site_times_32 as u64) << (SITE - 4 - 5) | size as u64).rotate_left(4)
}

/// A record with another size, at most [`MAX_RECORD_SIZE`].
#[inline(always)]
pub(crate) fn with_size(record: u64, size: usize) -> u64 {
    record & !0xfff0 | (size as u64 & 0xfff) << 4
}

/// Who allocated a block: kind `<0..4>` ([`BLOCK`]), size `<4..16>` (0 yet), owner `<16..32>`, 1 `<32..35>`, site
/// `<35..48>`, mark with its bytes swapped `<48..64>`. (Chunks put something else into the low half.)
#[inline(always)]
pub(crate) fn record(owner: u16, site: u16, mark: u16) -> u64 {
    u64::from(BLOCK)
        | u64::from(owner) << 16
        | DETAIL_BIT
        | u64::from(site) << SITE
        | u64::from(mark.swap_bytes()) << 48
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
    (record >> SITE) as u16 & (MAX_SITES - 1)
}

/// The site in a record times 32, with other bits below and above it.
#[inline(always)]
pub(crate) fn site_times_32(record: u64) -> u64 {
    record >> (SITE - 5)
}

#[inline(always)]
pub(crate) fn record_mark(record: u64) -> u16 {
    ((record >> 48) as u16).swap_bytes()
}

/// A record without a size given one, at most [`MAX_RECORD_SIZE`].
#[inline(always)]
pub(crate) fn with_first_size(record: u64, size: usize) -> u64 {
    record | (size as u64) << 4
}

/// Where a record of [`crate::Tracking::Light`] has the low bits of a return address, in place of the site and of
/// the mark's high byte. The lowest two, which are 0, fall beside the bit of a [`DETAIL`].
const RETURN: u32 = 33;
/// Bytes of code that return addresses are told apart in.
const CODE_WINDOW: u64 = 1 << 23;

/// A record with a return address, which is a multiple of 4.
#[inline(always)]
pub(crate) fn with_return(record: u64, address: u64) -> u64 {
    debug_assert!(address.is_multiple_of(4));
    let low = CODE_WINDOW - 1;
    record & !(low << RETURN) | (address & low) << RETURN
}

/// The low bits of the return address in a record.
#[inline(always)]
pub(crate) fn record_return(record: u64) -> u32 {
    (record >> RETURN & (CODE_WINDOW - 1)) as u32 & !3
}

/// How far behind the start of the code a return address is of which these are the low bits; 0 if there is none.
/// (The one address whose low bits are all 0 counts as none.)
pub(crate) fn offset_in_code(low: u32, code: u64) -> u32 {
    match low {
        0 => 0,
        low => (u64::from(low).wrapping_sub(code) % CODE_WINDOW) as u32,
    }
}

/// The mark in a record that has its low byte alone: the latest one that is not after `now`.
pub(crate) fn light_mark(record: u64, now: u16) -> u16 {
    let age = (now as u8).wrapping_sub((record >> 56) as u8);
    now.wrapping_sub(age.into())
}
