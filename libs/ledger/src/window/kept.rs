//! Blocks that are kept for the next allocations of their class, and the records of slabs.
//!
//! **Invariant:** `top` of a class lies above the first place of its stack, and at most behind the last; only
//! blocks and runs of this window are kept.

use core::alloc::Layout;
use core::mem::{offset_of, size_of};
use core::ptr::NonNull;

use super::Window;
use super::accounts::settled;
use crate::classes::{self, CLASSES, RUN_CLASSES, SLAB_CLASSES, TABLE, UNIT};
use crate::entry;
use crate::layout::{KEPT_BLOCKS, KEPT_RUNS, Kept, first_kept_place};

/// A class as allocation and release need it; what is needed together lies together.
#[repr(C, align(32))]
pub(super) struct Class {
    /// Behind the last block that is kept, in the class's stack.
    top: NonNull<Kept>,
    /// The shift in the low byte, above it the number of blocks.
    shift_and_blocks: u64,
    inverse: u32,
    /// As in [`classes::Class::end`].
    end: u32,
}

const _: () = assert!(size_of::<Class>() == 32);

/// The class of the slab that `part` is an entry of.
#[cfg_attr(
    all(target_arch = "aarch64", target_os = "none"),
    expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "the block adds to a pointer and reads and writes nothing"
    )
)]
#[inline(always)]
fn class_at(window: NonNull<Window>, part: u32) -> NonNull<Class> {
    #[cfg(all(target_arch = "aarch64", target_os = "none"))]
    let biased = {
        let biased: *mut u8;
        // SAFETY: an addition. The compiler takes two steps for it.
        unsafe {
            core::arch::asm!(
                "add {biased}, {window}, {part:w}, uxtb #2",
                biased = lateout(reg) biased, window = in(reg) window.as_ptr(), part = in(reg) part,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        biased
    };
    #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
    let biased = window
        .as_ptr()
        .cast::<u8>()
        .wrapping_add(entry::class_offset(part));
    let class = biased.wrapping_add(offset_of!(Window, classes) - entry::CLASS_BIAS);
    // SAFETY: what `part` gives are five bits, so many as `classes` has places, and the bias.
    unsafe { NonNull::new_unchecked(class.cast()) }
}

/// A stack that is empty and full.
#[repr(C, align(256))]
struct NoPlaces([Kept; KEPT_BLOCKS]);

const _: () = assert!(size_of::<NoPlaces>() == 256 && KEPT_RUNS <= KEPT_BLOCKS);

const NO_PLACES: &NoPlaces = &NoPlaces(
    [Kept {
        block: 0,
        record: 0,
    }; KEPT_BLOCKS],
);

impl Class {
    /// Nothing is ever kept: `top` is above an empty place, and where a full stack's is.
    pub(super) const NONE: Self = {
        // SAFETY: just behind the constant.
        let top = unsafe { NonNull::from_ref(&NO_PLACES.0).cast().add(KEPT_BLOCKS) };
        Self::new(top, None)
    };

    /// Never looked at.
    pub(super) const DANGLING: Self = Self::new(NonNull::dangling(), None);

    /// A class whose stack ends at `top`; `params` are a slab's.
    pub(super) const fn new(top: NonNull<Kept>, params: Option<&classes::Class>) -> Self {
        match params {
            Some(params) => Self {
                top,
                shift_and_blocks: params.shift as u64 | (params.blocks as u64) << 8,
                inverse: params.inverse,
                end: params.end,
            },
            None => Self {
                top,
                shift_and_blocks: 0,
                inverse: 1,
                end: 0,
            },
        }
    }
}

/// A kept block: its class, where the class's stack ends without it, itself.
#[derive(Clone, Copy)]
pub(crate) struct NewestKept(usize, NonNull<Kept>, Kept);

/// Room in the stack of a class.
pub(crate) struct PlaceToKeep<'a>(&'a mut Class);

impl PlaceToKeep<'_> {
    /// Keeps a block here.
    #[inline(always)]
    pub(crate) fn keep(self, kept: Kept) {
        let top = self.0.top;
        // SAFETY: below the stack's end, hence a place of it.
        unsafe {
            top.write(kept);
            self.0.top = top.add(1);
        }
    }
}

/// A block in a slab.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) class: usize,
    /// The entry of its unit.
    part: u32,
    pub(crate) kept: Kept,
    /// Where its record is.
    place: NonNull<u64>,
    /// Who allocated it, if that is somebody.
    pub(crate) record: u64,
}

impl Slot {
    /// Bytes of the block.
    pub(crate) fn usable(&self) -> usize {
        TABLE.get(self.class).map_or(0, |class| class.size.into())
    }

    #[inline(always)]
    pub(crate) fn is_free(&self) -> bool {
        !entry::is_live(self.record)
    }
}

impl Window {
    /// The class of blocks for a size and an alignment of up to 16; `None` for others.
    #[inline(always)]
    pub(crate) fn class_by_layout(&self, layout: Layout) -> Option<usize> {
        let class = classes::class_by_layout(&self.by_size, layout)?;
        // SAFETY: `by_size` holds nothing above 31.
        unsafe { core::hint::assert_unchecked(class < CLASSES) };
        Some(class)
    }

    /// The block of a class that was kept last, if there is any.
    #[inline(always)]
    pub(crate) fn newest_kept(&self, class: usize) -> Option<NewestKept> {
        let hot = self.classes.get(class)?;
        // SAFETY: `top` is above the first place of the stack, so that this is a place of it.
        let (top, kept) = unsafe { (hot.top.sub(1), hot.top.sub(1).read()) };
        settled(kept.block as u64);
        // The first place is empty.
        (kept.record != 0).then_some(NewestKept(class, top, kept))
    }

    /// Takes what [`Window::newest_kept`] just found.
    #[inline(always)]
    pub(crate) fn take_newest(&mut self, newest: NewestKept) -> Kept {
        let NewestKept(class, top, kept) = newest;
        if let Some(hot) = self.classes.get_mut(class) {
            hot.top = top;
        }
        kept
    }

    /// Takes a block of a class that is kept, if there is any.
    pub(crate) fn take_kept(&mut self, class: usize) -> Option<Kept> {
        self.newest_kept(class)
            .map(|newest| self.take_newest(newest))
    }

    /// What is kept of a class, oldest first.
    pub(crate) fn kept(&self, class: usize) -> &[Kept] {
        let Some(hot) = self.classes.get(class) else {
            return &[];
        };
        if class >= SLAB_CLASSES + RUN_CLASSES || self.table == 0 {
            return &[];
        }
        let first = self.geometry.kept_offset + (first_kept_place(class) + 1) * size_of::<Kept>();
        // SAFETY: the second place of the stack, at which what is kept begins.
        let first = unsafe { self.base().add(first) };
        let n = (hot.top.addr().get() - first.addr().get()) / size_of::<Kept>();
        // SAFETY: so many places are in use up to `top`; the stack is borrowed through `self`.
        unsafe { NonNull::slice_from_raw_parts(first.cast(), n).as_ref() }
    }

    /// Where another block of a class can be kept, if there is room. `RUNS` says whether it is a class of
    /// runs.
    #[inline(always)]
    fn place_to_keep<const RUNS: bool>(class: &mut Class) -> Option<PlaceToKeep<'_>> {
        let places = if RUNS { KEPT_RUNS } else { KEPT_BLOCKS };
        // A stack is aligned to its size, so that only the end of it can be a multiple.
        let is_full = class.top.addr().get() & (places * size_of::<Kept>() - 1) == 0;
        (!is_full).then_some(PlaceToKeep(class))
    }

    /// Where the block of a slot can be kept, if there is room.
    #[inline(always)]
    pub(crate) fn place_for_slot(&mut self, slot: &Slot) -> Option<PlaceToKeep<'_>> {
        let mut class = class_at(NonNull::from_mut(self), slot.part);
        // SAFETY: a place of `classes`, which is borrowed mutably.
        Self::place_to_keep::<false>(unsafe { class.as_mut() })
    }

    /// Where a run of `more` units than the fewest can be kept, if there is room.
    #[inline(always)]
    pub(crate) fn place_for_run(&mut self, more: usize) -> Option<PlaceToKeep<'_>> {
        Self::place_to_keep::<true>(self.classes.get_mut(SLAB_CLASSES + more)?)
    }

    /// Keeps a block of a class of slabs; false if enough are kept.
    #[inline(always)]
    pub(crate) fn keep(&mut self, class: usize, kept: Kept) -> bool {
        let class = self.classes.get_mut(class);
        match class.and_then(Self::place_to_keep::<false>) {
            Some(place) => {
                place.keep(kept);
                true
            }
            None => false,
        }
    }

    /// Writes the record of a kept block, which then is somebody's.
    #[inline(always)]
    pub(crate) fn record_kept(&mut self, kept: Kept, record: u64) -> NonNull<u8> {
        // SAFETY: blocks of slabs lie inside the body with their records, runs inside the body with their
        // records in the unit table, where a record is two entries.
        unsafe {
            let block = self.body.offset(kept.block as isize);
            write_record(self.body, kept.record as isize, record);
            block
        }
    }

    /// A run as it is kept.
    #[inline(always)]
    pub(crate) fn kept_run(&self, unit: usize) -> Kept {
        Kept {
            block: (unit * UNIT) as i32,
            record: self.place_of_entry(unit),
        }
    }

    /// Writes the record of a slot.
    #[inline(always)]
    pub(crate) fn set_slot_record(&mut self, slot: &Slot, record: u64) {
        // SAFETY: `slot_at` made it point to a record, inside a slab.
        unsafe { slot.place.write(record) };
    }

    /// The slot whose block begins at `offset` in the body, in the slab that `part` (the entry
    /// of that unit) is part of.
    #[inline(always)]
    pub(crate) fn slot_at(&self, offset: usize, part: u32) -> Option<Slot> {
        // SAFETY: a place of `classes`, which is borrowed.
        let params = unsafe { class_at(NonNull::from_ref(self), part).as_ref() };
        let start = entry::slab_start(part);
        let (inside, shift) = ((offset as u32).wrapping_sub(start), params.shift_and_blocks);
        // A rotation looks at the low five bits only. The offset is inside the slab, so that this is at least 1.
        let number = classes::blocks_to_end(inside, params.inverse, params.end, shift as u32);
        if u64::from(number) > shift >> 8 {
            return None;
        }
        // The head is one word, which is the one that the number is more than the index.
        let record = (start + number * 8) as i32;
        let block = offset as i32;
        // SAFETY: the entry of a unit says of which slab it is part. Its records lie inside, each at a
        // multiple of 8.
        let place = unsafe { self.body.offset(record as isize).cast::<u64>() };
        Some(Slot {
            class: entry::class(part),
            part,
            kept: Kept { block, record },
            place,
            // SAFETY: as above.
            record: unsafe { place.read() },
        })
    }
}

/// Writes a record `at` bytes from the body's start.
///
/// # Safety
/// 8 bytes there are a record's, in the body or in the unit table; at a multiple of 4.
#[inline(always)]
unsafe fn write_record(body: NonNull<u8>, at: isize, record: u64) {
    #[cfg(all(target_arch = "aarch64", target_os = "none"))]
    // SAFETY: our contract. Being at no multiple of 8 is no error: alignment checks are off but for `sp`.
    unsafe {
        core::arch::asm!(
            "str {record}, [{body}, {at}]",
            record = in(reg) record, body = in(reg) body.as_ptr(), at = in(reg) at,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
    // SAFETY: our contract.
    unsafe {
        body.offset(at).cast::<u64>().write_unaligned(record);
    }
}
