//! The kernel's translation tables.
//!
//! **Invariant:** no page is writable and executable; the image's pages appear in one place only.
//!
//! Source: Arm ARM DDI 0487, D8.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::{addr_of, read_volatile, write_volatile};

use crate::config::*;

/// Memory attributes: index 0 device-nGnRE, index 1 normal write-back.
pub(crate) const MAIR: u64 = 0xff04;

/// TCR_EL1 without the physical address size: 39-bit ranges, 4 KiB granules, inner-shareable
/// write-back walks, 8-bit ASIDs from TTBR0.
pub(crate) const TCR: u64 = {
    let t0 = 25 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12;
    let t1 = 25 << 16 | 0b01 << 24 | 0b01 << 26 | 0b11 << 28 | 0b10 << 30;
    t0 | t1
};

/// SCTLR_EL1 with PAN never set by exceptions (bit 23, for CPUs without PAN): MMU and caches on,
/// stack alignment checks, writable implies never executable, DC ZVA and wait instructions
/// allowed at EL0, cache maintenance at EL0 not.
pub(crate) const SCTLR: u64 = {
    let res1 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;
    let on = 1 << 0 | 1 << 2 | 1 << 12;
    let stack_alignment = 1 << 3 | 1 << 4;
    let el0 = 1 << 14 | 1 << 16 | 1 << 18;
    let wxn = 1 << 19;
    res1 | on | stack_alignment | el0 | wxn
};

const PAGE: u64 = 4096;
const BLOCK: u64 = 2 << 20;
const GIB: u64 = 1 << 30;

/// Start of the block that an address lies in.
pub(crate) const fn block(pa: u64) -> u64 {
    pa & !(BLOCK - 1)
}

/// The block with the secure UART's registers.
pub(crate) const UART: u64 = block(tally_board::SECURE_UART);
/// The block with the distributor's.
pub(crate) const GIC: u64 = block(tally_board::GICD);

const VALID: u64 = 1;
const TABLE: u64 = 0b11;
const LEAF_PAGE: u64 = 0b11;
const LEAF_BLOCK: u64 = 0b01;
const NORMAL: u64 = 1 << 2;
const DEVICE: u64 = 0 << 2;
const NON_SECURE: u64 = 1 << 5;
const READ_ONLY: u64 = 0b10 << 6;
const SHARED: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;

const CODE: u64 = NORMAL | READ_ONLY | SHARED | ACCESSED | UXN;
const CONSTANTS: u64 = CODE | PXN;
const WRITABLE: u64 = NORMAL | SHARED | ACCESSED | UXN | PXN;
const REGISTERS: u64 = DEVICE | ACCESSED | UXN | PXN;

/// A translation table.
#[repr(C, align(4096))]
pub(crate) struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: written through raw pointers alone: by the boot CPU before any other runs, then only the
// entries of a stack that is lent or returned, by the CPU that has claimed its thread.
unsafe impl Sync for Table {}

impl Table {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; 512]))
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])* #[unsafe(link_section = ".bss.tally_tables")]
        pub(crate) static $name: Table = Table::new();)*
    };
}

tables! {
    /// TTBR0 of CPUs that run no TA: the boot page where it lies physically.
    IDMAP_L1,
    IDMAP_L2,
    IDMAP_L3,
    /// TTBR1.
    KERNEL_L1,
    IMAGE_L2,
    DIRECT_L2,
    /// For GiBs of normal-world RAM that are not mapped whole.
    RAM_L2_A,
    RAM_L2_B,
    RAM_L2_C,
}

/// The image's pages, where it is linked and in the direct map, from the start of the block that it begins in.
#[unsafe(link_section = ".bss.tally_tables")]
static IMAGE_L3: [Table; IMAGE_BLOCKS] = [const { Table::new() }; IMAGE_BLOCKS];
#[unsafe(link_section = ".bss.tally_tables")]
static DIRECT_L3: [Table; IMAGE_BLOCKS] = [const { Table::new() }; IMAGE_BLOCKS];

/// The stacks' pages, in ascending order.
#[unsafe(link_section = ".bss.tally_tables")]
pub(crate) static STACKS_L3: [Table; STACK_TABLES] = [const { Table::new() }; STACK_TABLES];

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __sites_start: u8;
    static __sites_end: u8;
    static __zero_start: u8;
    static __tables_end: u8;
    static __stacks_end: u8;
    static __image_end: u8;
}

/// Sets one entry. Volatile, so that no call to memset (unfit for the MMU-off state) comes of it.
///
/// # Safety
/// `table` must point to a table that no one else writes.
unsafe fn set(table: *const Table, index: u64, value: u64) {
    let entry = table
        .cast::<u64>()
        .cast_mut()
        .wrapping_add((index & 511) as usize);
    // SAFETY: in the table, by the mask; ours to write, by contract.
    unsafe { write_volatile(entry, value) };
}

/// Maps `pages` pages at entry `index` of a level 3 table.
///
/// # Safety
/// As [`set`].
unsafe fn set_pages(table: *const Table, index: u64, start: u64, end: u64, attributes: u64) {
    let mut index = index;
    let mut pa = start;
    while pa < end {
        // SAFETY: by contract.
        unsafe { set(table, index, pa | attributes | LEAF_PAGE) };
        index += 1;
        pa += PAGE;
    }
}

/// Maps pages of the image's blocks, of which the first begins at `first`, at entries of the tables at `tables`.
///
/// # Safety
/// As [`set`]; there are [`IMAGE_BLOCKS`] of them.
unsafe fn set_image_pages(tables: *const Table, first: u64, start: u64, end: u64, attributes: u64) {
    let mut pa = start;
    while pa < end {
        let table = tables.wrapping_add(((pa - first) >> 21) as usize);
        // SAFETY: by contract; the linker script sees to it that the image ends in the last of its blocks.
        unsafe { set(table, pa >> 12, pa | attributes | LEAF_PAGE) };
        pa += PAGE;
    }
}

/// Builds every table but the normal world's RAM. Runs where the image lies physically, MMU off:
/// addresses come from the program counter, and nothing here may refer to memory through a
/// constant pointer.
///
/// # Safety
/// Called once by the boot code, MMU off, with the tables zeroed.
pub(crate) unsafe extern "C" fn build_tables() {
    let image = addr_of!(__image_start) as u64;
    let text_end = addr_of!(__text_end) as u64;
    let rodata_end = addr_of!(__rodata_end) as u64;
    let sites = addr_of!(__sites_start) as u64;
    let sites_end = addr_of!(__sites_end) as u64;
    let tables = addr_of!(__zero_start) as u64;
    let tables_end = addr_of!(__tables_end) as u64;
    let bss = addr_of!(__stacks_end) as u64;
    let image_end = addr_of!(__image_end) as u64;
    let index = |pa: u64| pa >> 12;
    // SAFETY: single-threaded, MMU off, tables are ours by contract.
    unsafe {
        let idmap_attributes = CODE | NOT_GLOBAL;
        set(
            &raw const IDMAP_L1,
            image >> 30,
            addr_of!(IDMAP_L2) as u64 | TABLE,
        );
        set(
            &raw const IDMAP_L2,
            image >> 21,
            addr_of!(IDMAP_L3) as u64 | TABLE,
        );
        set_pages(
            &raw const IDMAP_L3,
            index(image),
            image,
            image + PAGE,
            idmap_attributes,
        );

        set(&raw const KERNEL_L1, 511, addr_of!(IMAGE_L2) as u64 | TABLE);
        let first = block(image);
        let mut table = 0;
        while table < IMAGE_BLOCKS as u64 {
            let (image_l3, direct_l3) = (addr_of!(IMAGE_L3) as u64, addr_of!(DIRECT_L3) as u64);
            let at = (image >> 21) + table;
            set(&raw const IMAGE_L2, at, (image_l3 + table * PAGE) | TABLE);
            set(&raw const DIRECT_L2, at, (direct_l3 + table * PAGE) | TABLE);
            table += 1;
        }
        let mut table = 0;
        while table < STACK_TABLES as u64 {
            set(
                &raw const IMAGE_L2,
                (STACKS_BASE >> 21) + table,
                (addr_of!(STACKS_L3) as u64 + table * PAGE) | TABLE,
            );
            table += 1;
        }
        let image_l3 = addr_of!(IMAGE_L3).cast();
        set_image_pages(image_l3, first, image, text_end, CODE);
        set_image_pages(image_l3, first, text_end, rodata_end, CONSTANTS);
        set_image_pages(image_l3, first, rodata_end, sites, WRITABLE);
        set_image_pages(image_l3, first, sites, sites_end, CONSTANTS);
        set_image_pages(image_l3, first, tables, tables_end, WRITABLE);
        set_image_pages(image_l3, first, bss, image_end, WRITABLE);

        let mut stack = tables_end;
        let mut slot = 0;
        while slot < STACK_SLOTS as u64 {
            let lent = slot >= RESIDENT_THREADS as u64 && slot < NUM_THREADS as u64;
            if !lent {
                let bytes = stack_bytes(slot as usize) as u64;
                let at = (slot + 1) * STACK_SLOT_BYTES - bytes;
                set_pages(stacks_table(at), at >> 12, stack, stack + bytes, WRITABLE);
                stack += bytes;
            }
            slot += 1;
        }

        let boot_stack = BOOT_STACK_BYTES as u64;
        let at = STACKS_END - boot_stack - STACKS_BASE;
        set_pages(
            stacks_table(at),
            at >> 12,
            tables_end,
            tables_end + boot_stack,
            WRITABLE,
        );

        // The direct map: free secure RAM (and the hole, whose tail is free) and the devices.
        set(&raw const KERNEL_L1, 0, addr_of!(DIRECT_L2) as u64 | TABLE);
        let direct_l3 = addr_of!(DIRECT_L3).cast();
        let image_blocks_end = first + IMAGE_BLOCKS as u64 * BLOCK;
        set_image_pages(direct_l3, first, sites, sites_end, WRITABLE);
        set_image_pages(direct_l3, first, image_end, image_blocks_end, WRITABLE);
        let mut block = image_blocks_end;
        while block < tally_board::SECURE_RAM_END {
            set(
                &raw const DIRECT_L2,
                block >> 21,
                block | WRITABLE | LEAF_BLOCK,
            );
            block += BLOCK;
        }
        set(
            &raw const DIRECT_L2,
            UART >> 21,
            UART | REGISTERS | LEAF_BLOCK,
        );
        set(
            &raw const DIRECT_L2,
            GIC >> 21,
            GIC | REGISTERS | LEAF_BLOCK,
        );
    }
}

/// The table of the stacks' address range that has `offset` bytes from its start.
fn stacks_table(offset: u64) -> *const Table {
    (&raw const STACKS_L3)
        .cast::<Table>()
        .wrapping_add((offset >> 21) as usize)
}

/// Bytes of the stack in `slot`.
pub(crate) const fn stack_bytes(slot: usize) -> usize {
    if slot < NUM_THREADS {
        THREAD_STACK_BYTES
    } else if slot < NUM_THREADS + MAX_CPUS {
        CPU_STACK_BYTES
    } else {
        EMERGENCY_STACK_BYTES
    }
}

/// Bytes of all stacks.
pub(crate) const ALL_STACK_BYTES: usize =
    RESIDENT_THREADS * THREAD_STACK_BYTES + MAX_CPUS * (CPU_STACK_BYTES + EMERGENCY_STACK_BYTES);

/// Memory of the stacks that are never lent, in slot order.
#[repr(C, align(4096))]
pub(crate) struct Stacks(UnsafeCell<[u8; ALL_STACK_BYTES]>);

// SAFETY: reached only as the memory behind the stack slots.
unsafe impl Sync for Stacks {}

#[unsafe(link_section = ".bss.tally_stacks")]
pub(crate) static STACKS: Stacks = Stacks(UnsafeCell::new([0; ALL_STACK_BYTES]));

/// Address just above the stack in `slot`.
pub(crate) const fn stack_top(slot: usize) -> u64 {
    STACKS_BASE + (slot as u64 + 1) * STACK_SLOT_BYTES
}

/// What a stack is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackKind {
    /// A kernel thread's.
    Thread(usize),
    /// A CPU's, for fast calls and thread switches.
    Cpu(usize),
    /// A CPU's, for crash reports.
    Emergency(usize),
    /// The first CPU's at boot.
    Boot,
}

/// The stack in whose slot, guard included, an address lies.
pub(crate) fn stack_at(address: u64) -> Option<(StackKind, Range<u64>)> {
    if !(STACKS_BASE..STACKS_END).contains(&address) {
        return None;
    }
    let slot = ((address - STACKS_BASE) / STACK_SLOT_BYTES) as usize;
    let kind = if slot < NUM_THREADS {
        StackKind::Thread(slot)
    } else if slot < NUM_THREADS + MAX_CPUS {
        StackKind::Cpu(slot - NUM_THREADS)
    } else if slot < STACK_SLOTS {
        StackKind::Emergency(slot - NUM_THREADS - MAX_CPUS)
    } else {
        return Some((
            StackKind::Boot,
            STACKS_END - BOOT_STACK_BYTES as u64..STACKS_END,
        ));
    };
    let top = stack_top(slot);
    Some((kind, top - stack_bytes(slot) as u64..top))
}

/// The leaf entry of an address in the stacks' range.
pub(crate) fn stack_entry(va: u64) -> *mut u64 {
    let offset = va - STACKS_BASE;
    stacks_table(offset)
        .cast::<u64>()
        .cast_mut()
        .wrapping_add((offset >> 12 & 511) as usize)
}

/// What a leaf entry says for a page of a stack.
pub(crate) const fn stack_leaf(pa: u64) -> u64 {
    pa | WRITABLE | LEAF_PAGE
}

/// The physical address in a leaf entry.
pub(crate) const fn leaf_address(leaf: u64) -> u64 {
    leaf & 0x0000_ffff_ffff_f000
}

/// Address of a physical address in the direct map.
pub(crate) const fn direct(pa: u64) -> u64 {
    DIRECT_BASE + pa
}

/// Physical address of something in the image.
pub(crate) fn image_pa<T: ?Sized>(item: *const T) -> u64 {
    (item as *const () as u64).wrapping_sub(IMAGE_OFFSET)
}

/// Maps the 2 MiB blocks that `range` touches (outwards) or fills (inwards) as memory of the
/// normal world. What is mapped already stays. Returns the part that is mapped now.
///
/// # Safety
/// Called by the boot CPU before any other runs.
pub(crate) unsafe fn map_normal(range: Range<u64>, outwards: bool) -> Range<u64> {
    let up = |pa: u64| (pa.saturating_add(BLOCK - 1)) & !(BLOCK - 1);
    let down = |pa: u64| pa & !(BLOCK - 1);
    // The first GiB holds secure RAM and devices and is never taken for the normal world's.
    let limits = GIB..DIRECT_LIMIT;
    let clip = |pa: u64| pa.clamp(limits.start, limits.end);
    let (start, end) = if outwards {
        (clip(down(range.start)), clip(up(range.end)))
    } else {
        (clip(up(range.start)), clip(down(range.end)))
    };
    let attributes = WRITABLE | NON_SECURE;
    let mut pa = start;
    while pa < end {
        let l1 = (&raw const KERNEL_L1)
            .cast::<u64>()
            .wrapping_add((pa >> 30) as usize);
        // SAFETY: in the table, as `pa` is below DIRECT_LIMIT; no one writes it meanwhile.
        let entry = unsafe { read_volatile(l1) };
        let gib_end = (pa & !(GIB - 1)) + GIB;
        if entry & VALID == 0 && pa & (GIB - 1) == 0 && end >= gib_end {
            // SAFETY: as above; the entry was invalid, so no stale translation exists.
            unsafe { set(&raw const KERNEL_L1, pa >> 30, pa | attributes | LEAF_BLOCK) };
            pa = gib_end;
            continue;
        }
        if entry & TABLE == LEAF_BLOCK {
            pa = gib_end;
            continue;
        }
        let table = if entry & VALID == 0 {
            let pool = [&RAM_L2_A, &RAM_L2_B, &RAM_L2_C];
            let taken = |table: u64| {
                (0..511).any(|index| {
                    let l1 = (&raw const KERNEL_L1).cast::<u64>().wrapping_add(index);
                    // SAFETY: in the table; no one writes it meanwhile.
                    unsafe { read_volatile(l1) == table | TABLE }
                })
            };
            let Some(table) = pool.into_iter().find(|&table| !taken(image_pa(table))) else {
                return start..pa;
            };
            // SAFETY: as above.
            unsafe { set(&raw const KERNEL_L1, pa >> 30, image_pa(table) | TABLE) };
            &raw const *table
        } else {
            let table = (entry & 0x0000_ffff_ffff_f000).wrapping_add(IMAGE_OFFSET);
            table as *const Table
        };
        while pa < end && pa < gib_end {
            // SAFETY: one of our tables; a block that was mapped already gets the same entry.
            unsafe { set(table, pa >> 21, pa | attributes | LEAF_BLOCK) };
            pa += BLOCK;
        }
    }
    // SAFETY: barriers only.
    unsafe { core::arch::asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    start..end.max(start)
}
