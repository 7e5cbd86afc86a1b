//! Memory layout: the kernel's image and the free part of secure RAM.
//!
//! **Invariant:** the regions of [`layout`] follow each other without a gap from
//! `tally_board::KERNEL_BASE` to `tally_board::SECURE_RAM_END`.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use tally_abi::shdr::{self, BuildId};
use tally_abi::sites::Table;
use tally_mem::addr::{PAGE_SIZE, PhysAddr};

use crate::mmu;

/// What a region of secure RAM is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Instructions.
    Text,
    /// Constants.
    Rodata,
    /// Variables with an initial value.
    Data,
    /// The table of call sites (its used pages).
    Sites,
    /// Pages behind the table of call sites: free.
    FreeHole,
    /// The kernel's own translation tables.
    Tables,
    /// Stacks of threads and CPUs.
    Stacks,
    /// Variables that start as zero.
    Bss,
    /// The kernel heap ([`take_heap`]).
    Heap,
    /// Free pages.
    Free,
}

/// Part of secure RAM; page-aligned, may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// What for.
    pub usage: Use,
    /// First address.
    pub start: PhysAddr,
    /// Address behind the last.
    pub end: PhysAddr,
}

impl Region {
    /// Bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.end.0 - self.start.0
    }
}

/// The kernel's part of secure RAM, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// All regions; they touch each other.
    pub regions: [Region; 10],
}

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __sites_start: u8;
    static __sites_end: u8;
    static __tables_end: u8;
    static __stacks_end: u8;
    static __image_end: u8;
    /// What the linker wrote into the note behind its header (linker/kernel.ld).
    static __build_id: BuildId;
}

macro_rules! symbol {
    ($name:ident) => {
        // The linker's symbol is an address, not a variable.
        mmu::image_pa(&raw const $name)
    };
}

/// End of the heap; 0 before it was taken.
static HEAP_END: AtomicU64 = AtomicU64::new(0);

/// How the kernel's part of secure RAM is used.
#[must_use]
pub fn layout() -> Layout {
    let sites_start = symbol!(__sites_start);
    let sites_end = symbol!(__sites_end);
    let sites_used = (sites_start + sites().map_or(0, |table| table.len_bytes() as u64))
        .next_multiple_of(PAGE_SIZE as u64);
    let image_end = symbol!(__image_end);
    let heap_end = HEAP_END.load(Ordering::Acquire).max(image_end);
    let ends = [
        (Use::Text, symbol!(__text_end)),
        (Use::Rodata, symbol!(__rodata_end)),
        (Use::Data, sites_start),
        (Use::Sites, sites_used.min(sites_end)),
        (Use::FreeHole, sites_end),
        (Use::Tables, symbol!(__tables_end)),
        (Use::Stacks, symbol!(__stacks_end)),
        (Use::Bss, image_end),
        (Use::Heap, heap_end),
        (Use::Free, tally_board::SECURE_RAM_END),
    ];
    let mut start = PhysAddr(symbol!(__image_start));
    let regions = ends.map(|(usage, end)| {
        let region = Region {
            usage,
            start,
            end: PhysAddr(end),
        };
        start = region.end;
        region
    });
    Layout { regions }
}

/// The table of call sites that was appended to the image; `None` if there is none. Offsets are
/// those of [`image_offset`].
#[must_use]
pub fn sites() -> Option<Table<'static>> {
    let hole = (symbol!(__sites_end) - symbol!(__sites_start)) as usize;
    // SAFETY:
    // 1. The hole is mapped, read-only, for good.
    // 2. What lies behind the table may be in other use through the direct map, but the table
    //    keeps no reference to it: it is cut to its own length.
    Table::parse(unsafe { core::slice::from_raw_parts(&raw const __sites_start, hole) })
}

/// Offset of an address in the kernel's text from the image's start: what call stacks are printed
/// and stored as. `None` elsewhere.
#[must_use]
pub fn image_offset(address: u64) -> Option<u64> {
    let text = &raw const __image_start as u64..&raw const __text_end as u64;
    text.contains(&address).then(|| address - text.start)
}

/// What tells this image from others: the linker's hash over the whole ELF file.
#[must_use]
pub fn build_id() -> BuildId {
    // SAFETY:
    // 1. The linker script asserts that the note has a header of 16 bytes and these 20 behind it.
    // 2. Constants of the image: mapped read-only for good, and bytes of any value are valid.
    unsafe { __build_id }
}

/// What reports show of it.
#[must_use]
pub fn short_id() -> u64 {
    shdr::short_id(&build_id())
}

/// Physical address of something that lies in the kernel's image.
#[must_use]
pub fn image_address(item: *const u8) -> PhysAddr {
    PhysAddr(mmu::image_pa(item))
}

/// Physical address of something in memory that [`take_heap`] gave.
#[must_use]
pub fn direct_address(item: *const u8) -> PhysAddr {
    PhysAddr((item as u64).wrapping_sub(mmu::direct(0)))
}

/// Takes the kernel heap from the start of the free pages: `bytes` (whole pages), zeroed or not.
/// `None` if it was taken before or does not fit.
#[must_use]
pub fn take_heap(bytes: usize) -> Option<&'static mut [MaybeUninit<u8>]> {
    let start = symbol!(__image_end);
    let end = start.checked_add(bytes as u64)?;
    if !bytes.is_multiple_of(PAGE_SIZE) || end > tally_board::SECURE_RAM_END {
        return None;
    }
    HEAP_END
        .compare_exchange(0, end, Ordering::AcqRel, Ordering::Acquire)
        .ok()?;
    let pointer = mmu::direct(start) as *mut MaybeUninit<u8>;
    // SAFETY:
    // 1. Mapped writable by the direct map.
    // 2. Given out once, by the exchange; `layout` no longer calls it free.
    Some(unsafe { core::slice::from_raw_parts_mut(pointer, bytes) })
}

/// Addresses of the kernel's variables: those with an initial value, and those that start as zero.
pub(crate) fn variables() -> [Range<u64>; 2] {
    let address = |symbol: *const u8| symbol as u64;
    [
        address(&raw const __rodata_end)..address(&raw const __sites_start),
        address(&raw const __stacks_end)..address(&raw const __image_end),
    ]
}

/// Addresses of what [`take_heap`] gave.
pub(crate) fn heap() -> Range<u64> {
    let start = symbol!(__image_end);
    let end = HEAP_END.load(Ordering::Acquire).max(start);
    mmu::direct(start)..mmu::direct(end)
}

/// First physical address that the direct map has of secure RAM.
pub(crate) fn direct_start() -> u64 {
    symbol!(__sites_start)
}

/// Where `bytes` bytes at physical address `pa` are seen, if they are constants of the image. The
/// loader at EL0 is among them, and its data is read on its behalf.
pub(crate) fn constants_at(pa: u64, bytes: usize) -> Option<*const u8> {
    let (start, end) = (symbol!(__text_end), symbol!(__rodata_end));
    let inside = pa >= start && pa < end && bytes as u64 <= end - pa;
    inside.then(|| (&raw const __text_end).wrapping_add((pa - start) as usize))
}
