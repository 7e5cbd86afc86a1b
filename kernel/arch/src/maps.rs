//! Kernel mappings, listed from the translation tables themselves.
//!
//! **Invariant:** a mapping is told as the hardware would translate it; only the labels come from
//! the layout.

use core::ptr::read_volatile;
use tally_records::prot;

use tally_mem::machine::{KernelMap, KernelMapping, ThreadControl as _};

use crate::Arm;
use crate::config::{DIRECT_BASE, IMAGE_OFFSET, STACKS_BASE, STACKS_END};
use crate::layout::{Layout, Use, layout};
use crate::mmu::{self, StackKind, Table, block};

/// First address that TTBR1 translates (39 bits).
const FIRST: u64 = DIRECT_BASE;
/// Descriptors looked at between two moments at which interrupts come through.
const STEPS: u32 = 256;
/// Bytes that an entry of level 1, 2 and 3 stands for.
const SIZES: [u64; 3] = [1 << 30, 2 << 20, 4096];
const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 2;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// What of a descriptor decides over rights and kind of memory (Arm ARM DDI 0487, D8.3).
const ATTRIBUTES: u64 = !(ADDRESS | VALID | TABLE_OR_PAGE);
const ATTR_INDEX: u64 = 0b111 << 2;
const NON_SECURE: u64 = 1 << 5;
const READ_ONLY: u64 = 1 << 7;
const PXN: u64 = 1 << 53;

/// What the tables say of one address.
struct Walked {
    /// Bytes from it to the end of its entry.
    bytes: u64,
    /// Physical address and attributes, if it is mapped.
    mapped: Option<(u64, u64)>,
}

fn walk(va: u64) -> Walked {
    let mut table: *const Table = &raw const mmu::KERNEL_L1;
    for (level, size) in SIZES.into_iter().enumerate() {
        let offset = va & (size - 1);
        let index = (va / size) as usize & 511;
        let entry = table.cast::<u64>().wrapping_add(index);
        // SAFETY:
        // 1. One of the kernel's tables, which lie in the image for good, and within it by the mask.
        // 2. Once boot is over only the entries of lent stacks change, each as a whole.
        let entry = unsafe { read_volatile(entry) };
        let bytes = size - offset;
        if entry & VALID == 0 {
            return Walked {
                bytes,
                mapped: None,
            };
        }
        if level == SIZES.len() - 1 || entry & TABLE_OR_PAGE == 0 {
            let pa = (entry & ADDRESS & !(size - 1)) + offset;
            return Walked {
                bytes,
                mapped: Some((pa, entry & ATTRIBUTES)),
            };
        }
        table = (entry & ADDRESS).wrapping_add(IMAGE_OFFSET) as *const Table;
    }
    unreachable!("the last level has no tables")
}

fn rights(attributes: u64) -> u32 {
    let mut rights = prot::READ;
    let mut set = |condition, bit| {
        if condition {
            rights |= bit;
        }
    };
    set(attributes & READ_ONLY == 0, prot::WRITE);
    set(attributes & PXN == 0, prot::EXECUTE);
    set(attributes & NON_SECURE != 0, prot::NON_SECURE);
    set(attributes & ATTR_INDEX == 0, prot::DEVICE);
    rights
}

/// What lies at a mapped address, and how many bytes of it follow at most.
fn label(layout: &Layout, va: u64, pa: u64) -> (&'static str, u64) {
    if let Some((kind, range)) = mmu::stack_at(va) {
        let label = match kind {
            StackKind::Thread(_) => "thread stack",
            StackKind::Cpu(_) => "CPU stack",
            StackKind::Emergency(_) => "emergency stack",
            StackKind::Boot => "boot stack",
        };
        return (label, range.end - va);
    }
    let image = va >= IMAGE_OFFSET;
    if let Some(region) = layout
        .regions
        .iter()
        .find(|region| region.start.0 <= pa && pa < region.end.0)
    {
        let label = match region.usage {
            Use::Text => "text",
            Use::Rodata => "rodata",
            Use::Data => "data",
            Use::Sites if image => "sites",
            Use::FreeHole if image => "sites, unused",
            Use::Sites | Use::FreeHole => "sites, free",
            Use::Tables => "page tables",
            Use::Stacks => "stacks",
            Use::Bss => "bss",
            Use::Heap => "heap, records",
            Use::Free => "TA memory",
        };
        return (label, region.end.0 - pa);
    }
    let other = match block(pa) {
        mmu::GIC => "GIC",
        mmu::UART => "UART",
        _ => "normal RAM",
    };
    (other, u64::MAX)
}

impl KernelMap for Arm {
    fn kernel_mapping(&self, from: u64) -> Option<KernelMapping> {
        let layout = layout();
        let mut va = from.max(FIRST);
        loop {
            let walked = walk(va);
            let Some((pa, attributes)) = walked.mapped else {
                let next = va.checked_add(walked.bytes)?;
                if (STACKS_BASE..STACKS_END).contains(&va) {
                    return Some(guard(va));
                }
                va = next;
                continue;
            };
            let (label_here, limit) = label(&layout, va, pa);
            let mut bytes = walked.bytes.min(limit);
            for steps in 1_u32.. {
                if bytes >= limit {
                    break;
                }
                if steps.is_multiple_of(STEPS) {
                    self.interruptible(|| ());
                }
                let (Some(next_va), Some(next_pa)) = (va.checked_add(bytes), pa.checked_add(bytes))
                else {
                    break;
                };
                let next = walk(next_va);
                if next.mapped != Some((next_pa, attributes))
                    || label(&layout, next_va, next_pa).0 != label_here
                {
                    break;
                }
                bytes += next.bytes.min(limit - bytes);
            }
            return Some(KernelMapping {
                va,
                pa,
                bytes,
                prot: rights(attributes),
                label: label_here,
            });
        }
    }
}

/// Unmapped addresses between stacks, from `va` up to the next one.
fn guard(va: u64) -> KernelMapping {
    let mut end = va;
    while end < STACKS_END {
        let walked = walk(end);
        if walked.mapped.is_some() {
            break;
        }
        end = end.saturating_add(walked.bytes);
    }
    KernelMapping {
        va,
        pa: 0,
        bytes: end.min(STACKS_END) - va,
        prot: 0,
        label: "guard",
    }
}
