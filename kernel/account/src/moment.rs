//! A moment: figures that add up, copied under one lock.
//!
//! **Invariant:** while a [`Moment`] lives nothing changes that its rows tell: the state is locked, and what the
//! kernel heap holds was copied at once after that. Nothing is allocated meanwhile.

use crate::book::Book;
use crate::heaps::kernel_heap::HeapMoment;
use crate::inspector::Inspector;
use crate::kinds::wire_kind;
use crate::tas::detail::Steps;
use alloc::vec::Vec;
use tally_abi::TeeResult;
use tally_core::guest::{Guest, MAX_INSTANCES};
use tally_core::kernel::LockedOwners;
use tally_core::locked::Locked;
use tally_core::owners::OwnerTable;
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_core::ta::session::Target;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::fallible::vec_with_capacity;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_mem::pages::{PageAllocator, PageUse};
use tally_mem::text::label;
use tally_records::{MeminfoRow, OwnerRow, PoolRow, PoolStats, TaDetail, consistency, pool_kind};

/// Rows of secure RAM by use.
pub const USES: usize = PageUse::ALL.len();

/// Secure RAM by use; the rows add up to all of it.
pub(crate) fn meminfo(pages: &PageAllocator) -> [MeminfoRow; USES] {
    let mut rows = [MeminfoRow::default(); USES];
    for (row, usage) in rows.iter_mut().zip(PageUse::ALL) {
        row.label = label(usage.label());
        row.pages = pages.used_for(*usage).into();
        row.bytes = row.pages * PAGE_SIZE as u64;
    }
    rows
}

/// A guest's figures, and the kernel's.
pub(crate) struct Moment<'k, M: Machine + 'static> {
    inspector: Inspector<'k, M>,
    // Dropped in this order: who unlocks the state may tell of something, and name owners.
    owners: LockedOwners<'k>,
    state: Locked<'k, M, Book>,
    heap: HeapMoment,
    /// Bytes and blocks that the kernel heap has of the sessions that each instance serves, by its slot.
    served: [(u32, u32); MAX_INSTANCES],
}

impl<'k, M: Machine> Inspector<'k, M> {
    /// Stops the time, until it is dropped.
    pub(crate) fn moment(self) -> Moment<'k, M> {
        let state = self.kernel.state();
        let heap = self.heap().moment();
        let mut served = [(0, 0); MAX_INSTANCES];
        for (_, session) in state.guest(self.guest).sessions.iter() {
            if let Target::Ta(instance) = session.target
                && let Some((bytes, blocks)) = served.get_mut(instance.slot())
            {
                let (more_bytes, more_blocks) = heap.account(session.owner);
                *bytes += more_bytes;
                *blocks += more_blocks;
            }
        }
        Moment {
            inspector: self,
            state,
            owners: self.kernel.owners(),
            heap,
            served,
        }
    }

    /// Owners with something to their name, all at one moment. What the list itself takes is left out.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn owner_rows(self) -> Result<Vec<OwnerRow>, TeeResult> {
        let mut room = self.kernel.owners().iter().count();
        loop {
            let list = self.as_owner(OwnerId::STATS, || vec_with_capacity::<OwnerRow>(room));
            let mut list = list.map_err(|_| TeeResult::OUT_OF_MEMORY)?;
            let moment = self.moment();
            room = moment.owner_names().iter().count();
            if room <= list.capacity() {
                list.extend(moment.owners());
                drop(moment);
                self.breathe();
                leave_out(&mut list);
                return Ok(list);
            }
        }
    }
}

/// Takes the list itself from the account of the statistics, to which it is charged.
fn leave_out(list: &mut Vec<OwnerRow>) {
    let own = list.capacity() * size_of::<OwnerRow>();
    let statistics = u32::from(OwnerId::STATS.0);
    if let Some(row) = list.iter_mut().find(|row| row.number == statistics) {
        row.heap_bytes = row.heap_bytes.saturating_sub(own as u32);
        row.heap_blocks = row.heap_blocks.saturating_sub(1);
    }
    list.retain(|row| row.heap_blocks != 0 || row.pages != 0);
}

impl<M: Machine> Moment<'_, M> {
    pub(crate) fn guest(&self) -> &Guest<Book> {
        self.state.guest(self.inspector.guest)
    }

    /// All owners' names.
    pub(crate) fn owner_names(&self) -> &OwnerTable {
        &self.owners
    }

    /// Secure RAM by use.
    pub(crate) fn meminfo(&self) -> [MeminfoRow; USES] {
        meminfo(&self.state.pages)
    }

    /// The kernel heap, and the pages that TAs draw from, whose free chunks were `walked` before and may have changed
    /// since.
    pub(crate) fn pools(&self, [heap, pages]: &[PoolStats; 2]) -> [PoolRow; 2] {
        let key = |pool: &PoolStats| (pool.num_get, pool.num_release, pool.alloc.size);
        let kernel = match self.heap.stats {
            now if key(&now) == key(heap) => *heap,
            now => PoolStats {
                inconsistent: now.inconsistent.max(consistency::CHANGING),
                ..now
            },
        };
        let row = |kind, pool| PoolRow {
            pool,
            kind,
            instance: 0,
        };
        let pages = self.inspector.ta_ram_by_now(&self.state, pages);
        [
            row(pool_kind::KERNEL_HEAP, kernel),
            row(pool_kind::TA_MEMORY, pages),
        ]
    }

    /// Owners with something to their name.
    pub(crate) fn owners(&self) -> impl Iterator<Item = OwnerRow> + '_ {
        self.owners.iter().filter_map(|(id, name)| {
            let (heap_bytes, heap_blocks) = self.heap.account(id);
            let pages = self.state.pages.owned_by(id);
            let (kind, session) = wire_kind(name.kind);
            (heap_blocks != 0 || pages != 0).then(|| OwnerRow {
                label: name.label.field(),
                kind,
                session,
                uuid: name.uuid,
                heap_bytes,
                heap_blocks,
                pages,
                number: id.0.into(),
            })
        })
    }

    /// An instance whole; what is not of this moment was found out before.
    pub(crate) fn ta(
        &self,
        (instance, found): (InstanceRef, &Instance<Book>),
        steps: &Steps,
    ) -> TaDetail {
        let (own_bytes, own_blocks) = self.heap.account(found.owner);
        let served = self.served.get(instance.slot());
        let (bytes, blocks) = served.copied().unwrap_or_default();
        let kernel_heap = (
            u64::from(own_bytes) + u64::from(bytes),
            u64::from(own_blocks) + u64::from(blocks),
        );
        self.inspector.detail(found, steps, kernel_heap)
    }
}
