//! Regions of TAs' address spaces and of the kernel's, row by row.
//!
//! **Invariant:** a listing goes by address, so that regions which come and go meanwhile cannot
//! make it show another twice.

use crate::book::Book;
use crate::inspector::Inspector;
use crate::which::{Which, instance_from};
use tally_abi::TeeUuid;
use tally_core::ta::instance::Instance;
use tally_mem::addr::UserVa;
use tally_mem::machine::{KernelMapping, Machine};
use tally_mem::region::{Backing, Prot, Region, RegionKind};
use tally_mem::space::Target;
use tally_mem::text::label;
use tally_records::{RegionRow, prot};

/// Where a listing of TAs' regions stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionCursor {
    /// Slot of the instance.
    pub slot: usize,
    /// Address from which on its regions are still to come.
    pub from: u64,
}

/// Name of a kind for people, at most 15 octets.
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
    if region.backing() == Backing::Borrowed {
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

    /// The next region of the TAs that `which` means, as the normal world may see it, and where to go on.
    #[must_use]
    pub fn next_region(
        &self,
        which: Which,
        cursor: RegionCursor,
    ) -> Option<(RegionRow, RegionCursor)> {
        let (mut row, cursor) = self.next_region_with_addresses(which, cursor)?;
        row.va = self.shown_address(row.va);
        row.pa = self.shown_address(row.pa);
        Some((row, cursor))
    }

    /// As [`Self::next_region`], for the secure console.
    #[must_use]
    pub fn next_region_with_addresses(
        &self,
        which: Which,
        mut cursor: RegionCursor,
    ) -> Option<(RegionRow, RegionCursor)> {
        loop {
            let state = self.state();
            let (instance, found) = instance_from(state.guest(self.guest), which, cursor.slot)?;
            let slot = instance.slot();
            if slot != cursor.slot {
                cursor = RegionCursor { slot, from: 0 };
            }
            let regions = found
                .space
                .as_ref()
                .map_or(&[][..], |space| space.regions());
            let next = regions
                .iter()
                .find(|region| region.va() >= UserVa(cursor.from));
            if let Some(region) = next {
                cursor.from = region.va().0 + region.bytes();
                return Some((self.region_row(found, region), cursor));
            }
            cursor = RegionCursor {
                slot: slot + 1,
                from: 0,
            };
        }
    }

    /// The kernel's mapping at or behind the address `from`, and where to go on.
    #[must_use]
    pub fn next_kernel_region(&self, from: u64) -> Option<(RegionRow, u64)> {
        let KernelMapping {
            va,
            pa,
            bytes,
            prot,
            label: name,
        } = self.machine.kernel_mapping(from)?;
        let row = RegionRow {
            va: self.shown_address(va),
            pa: self.shown_address(pa),
            bytes,
            usable: if prot == 0 { 0 } else { bytes },
            populated: if prot == 0 { 0 } else { bytes },
            prot,
            owner: TeeUuid::nil(),
            label: label(name),
            ..RegionRow::default()
        };
        Some((row, va.checked_add(bytes)?))
    }
}
