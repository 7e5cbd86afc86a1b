//! Regions of TAs' address spaces and of the kernel's, row by row.
//!
//! **Invariant:** a listing goes by address, so that regions which come and go meanwhile cannot
//! make it show another twice.

use crate::book::Book;
use crate::inspector::Inspector;
use crate::selected::instance_from;
use tally_abi::TeeUuid;
use tally_core::ta::instance::Instance;
use tally_mem::addr::UserVa;
use tally_mem::machine::{KernelMapping, Machine};
use tally_mem::region::{Backing, Prot, Region, RegionKind};
use tally_mem::space::Target;
use tally_mem::text::label;
use tally_records::{RegionRow, Selector, prot};

/// Where the slot of a TA, counted from 1, stands in a cursor; below it is the address to go on from. Cursors in the
/// kernel's half are addresses.
const SLOT_SHIFT: u32 = 48;
/// Addresses from here on are the kernel's.
const KERNEL_HALF: u64 = 1 << 63;

/// Where the regions of the TA in a slot begin.
pub(crate) const fn first_region(slot: usize) -> u64 {
    (slot as u64 + 1) << SLOT_SHIFT
}

/// Name of a kind for people, at most 15 bytes.
fn kind_name(region: &Region) -> &'static str {
    match region.kind() {
        RegionKind::LdelfCode => "loader code",
        RegionKind::LdelfData => "loader data",
        RegionKind::Image => "image",
        RegionKind::Segment if region.prot().contains(Prot::EXECUTE) => "code",
        RegionKind::Segment if region.prot().contains(Prot::WRITE) => "data",
        RegionKind::Segment => "constants",
        RegionKind::Stack => "stack",
        RegionKind::Heap => "heap",
        RegionKind::Param => "parameter",
        RegionKind::Buffer => "buffer",
        RegionKind::Mapped => "mapped",
    }
}

fn wire_prot(region: &Region, first: Option<Target>) -> u32 {
    let pairs = [
        (Prot::READ, prot::READ),
        (Prot::WRITE, prot::WRITE),
        (Prot::EXECUTE, prot::EXECUTE),
    ];
    let mut bits = 0;
    for (has, bit) in pairs {
        if region.prot().contains(has) {
            bits |= bit;
        }
    }
    if matches!(first, Some(Target::Normal(_))) {
        bits |= prot::NON_SECURE;
    }
    if region.backing() != Backing::Zero {
        bits |= prot::SHARED;
    }
    bits
}

impl<M: Machine> Inspector<'_, M> {
    /// One region, with its addresses.
    fn region_row(&self, found: &Instance<Book>, region: &Region) -> RegionRow {
        let first = found
            .space
            .as_ref()
            .and_then(|space| space.first_page(&self.machine, region));
        let pa = match first {
            Some(Target::Secure(pa) | Target::Normal(pa)) => pa.0,
            None => 0,
        };
        let is_param = region.kind() == RegionKind::Param;
        RegionRow {
            va: region.va().0,
            pa,
            bytes: region.bytes(),
            usable: region.committed_bytes(),
            populated: region.resident_bytes(),
            prot: wire_prot(region, first),
            session: found
                .task
                .filter(|_| is_param)
                .map_or(0, |task| task.session),
            owner: found.uuid,
            label: label(kind_name(region)),
            instance: found.generation,
            reserved: 0,
        }
    }

    /// The next region that is meant, the kernel's first, as the normal world may see it, and where to go on.
    pub(crate) fn next_region(&self, of: &Selector, cursor: u64) -> Option<(RegionRow, u64)> {
        let (mut row, behind) = self.next_region_with_addresses(of, cursor)?;
        row.va = self.shown_address(row.va);
        row.pa = self.shown_address(row.pa);
        Some((row, behind))
    }

    /// As [`Self::next_region`], for the secure console.
    pub(crate) fn next_region_with_addresses(
        &self,
        of: &Selector,
        cursor: u64,
    ) -> Option<(RegionRow, u64)> {
        let in_kernel = cursor == 0 || cursor >= KERNEL_HALF;
        if in_kernel
            && of.means_the_kernel()
            && let Some((row, behind)) = self.next_kernel_region(cursor)
        {
            return Some((row, behind.unwrap_or(first_region(0))));
        }
        let cursor = if in_kernel { first_region(0) } else { cursor };
        let mut slot = (cursor >> SLOT_SHIFT).saturating_sub(1) as usize;
        let mut from = cursor & ((1 << SLOT_SHIFT) - 1);
        loop {
            let state = self.state();
            let (instance, found) = instance_from(state.guest(self.guest), of, slot)?;
            if instance.slot() != slot {
                (slot, from) = (instance.slot(), 0);
            }
            let space = found.space.as_ref();
            let mut regions = space.map_or(&[][..], |space| space.regions()).iter();
            if let Some(region) = regions.find(|region| region.va() >= UserVa(from)) {
                let behind = first_region(slot) | (region.va().0 + region.bytes());
                return Some((self.region_row(found, region), behind));
            }
            (slot, from) = (slot + 1, 0);
        }
    }

    /// The kernel's mapping at or behind the address `from`, and where to go on, if there is an address.
    fn next_kernel_region(&self, from: u64) -> Option<(RegionRow, Option<u64>)> {
        let KernelMapping {
            va,
            pa,
            bytes,
            prot,
            label: name,
        } = self.machine.kernel_mapping(from)?;
        let row = RegionRow {
            va,
            pa,
            bytes,
            usable: if prot == 0 { 0 } else { bytes },
            populated: if prot == 0 { 0 } else { bytes },
            prot,
            owner: TeeUuid::nil(),
            label: label(name),
            ..RegionRow::default()
        };
        Some((row, va.checked_add(bytes)))
    }
}
