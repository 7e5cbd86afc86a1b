//! One TA instance whole: what it is, what it does, and every byte that is its.
//!
//! **Invariant:** figures hold at any moment, whether the TA is idle, busy, dead or without a
//! session; an instance that ends meanwhile is left out.

use crate::book::Book;
use crate::heaps::ta_heap::HeapKey;
use crate::inspector::Inspector;
use crate::kinds::wire_cause;
use crate::past::remains::Remains;
use crate::selected::{instance_from, means};
use tally_core::guest::Guest;
use tally_core::kernel::State;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_core::ta::session::{Opener, Target as SessionTarget};
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::Machine;
use tally_mem::region::{Backing, Prot, RegionKind};
use tally_mem::space::{AddressSpace, Target};
use tally_records::{PoolStats, Selector, SessionRow, TaDetail, state as wire_state};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const PAGE: u64 = PAGE_SIZE as u64;

/// What of an address space is whose, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sizes {
    virtual_size: u64,
    resident: u64,
    own: u64,
    shared: u64,
    code: u64,
    data: u64,
}

/// Which instance something was found out of, and when of its heap.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Known {
    /// The instance's number.
    instance: u32,
    /// Its slot.
    slot: u32,
    /// Its heap before anything was found out of it.
    heap: HeapKey,
}

/// What of an instance is found out in steps, before the rest is at one moment.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Steps {
    /// First, so that it can be read alone.
    pub(crate) known: Known,
    /// Its heap.
    pub(crate) heap: PoolStats,
    /// What of the memory that it shares is its own part.
    shared_part: u64,
    /// How deep its stack was.
    stack_deepest: u64,
}

impl Steps {
    /// Whether they are of an instance in a slot before this one's.
    pub(crate) fn are_before(&self, instance: InstanceRef) -> bool {
        (self.known.slot as usize) < instance.slot()
    }

    /// Whether they are of this instance.
    pub(crate) fn are_of(&self, instance: InstanceRef) -> bool {
        self.known.slot as usize == instance.slot() && self.known.instance == instance.generation
    }
}

impl<M: Machine> Inspector<'_, M> {
    /// The next instance that is meant, whole, and where to go on.
    #[must_use]
    pub(crate) fn next_ta(&self, of: &Selector, cursor: u64) -> Option<(TaDetail, u64)> {
        let mut from = cursor as usize;
        loop {
            let instance = instance_from(self.state().guest(self.guest), of, from)?.0;
            from = instance.slot() + 1;
            if let Some(detail) = self.ta_detail(instance) {
                return Some((detail, from as u64));
            }
        }
    }

    /// An instance whole; `None` if it is gone.
    fn ta_detail(&self, instance: InstanceRef) -> Option<TaDetail> {
        let steps = self.steps(instance)?;
        let state = self.state();
        let found = state.instance(instance)?;
        let kernel_heap = self.kernel_heap_of(&state, instance, found);
        Some(self.detail(found, &steps, kernel_heap))
    }

    /// What of an instance takes several steps; `None` if it is gone.
    pub(crate) fn steps(&self, instance: InstanceRef) -> Option<Steps> {
        let heap = HeapKey::of(&self.machine, self.state().instance(instance)?);
        let stack_deepest = self.stack_deepest(instance);
        Some(Steps {
            known: Known {
                instance: instance.generation,
                slot: instance.slot() as u32,
                heap,
            },
            heap: self.ta_pool_in_steps(instance)?,
            shared_part: self.shared_part(instance),
            stack_deepest,
        })
    }

    /// As [`Self::steps`], as far as it is told without any. Bounded work.
    pub(crate) fn steps_at_once(&self, found: &Instance<Book>) -> Steps {
        Steps {
            heap: self.ta_pool_by_now(found, &PoolStats::default()),
            stack_deepest: found.stack_deepest,
            ..Steps::default()
        }
    }

    /// The instance, if its heap has changed since its steps.
    pub(crate) fn has_changed<'g>(
        &self,
        guest: &'g Guest<Book>,
        known: &Known,
    ) -> Option<&'g Instance<Book>> {
        let instance = guest.instances.get(known.slot as usize);
        let found = instance.filter(|found| found.generation == known.instance)?;
        (HeapKey::of(&self.machine, found) != known.heap).then_some(found)
    }

    /// An instance whole, with bytes and blocks of the kernel heap. Bounded work.
    pub(crate) fn detail(
        &self,
        found: &Instance<Book>,
        steps: &Steps,
        (kernel_heap, kernel_blocks): (u64, u64),
    ) -> TaDetail {
        let mut detail = TaDetail {
            uuid: found.uuid,
            instance: found.generation,
            state: wire_life(found),
            sessions: found.sessions,
            flags: found.flags,
            image_id: found.image_id,
            stack: found.stack_len,
            loaded_ms: self.millis_at(found.loaded_at),
            heap: steps.heap,
            kernel_heap,
            kernel_blocks,
            ..TaDetail::default()
        };
        if let Some(holdings) = found.holdings() {
            detail.objects = holdings.objects.len() as u32;
            detail.operations = holdings.states.len() as u32;
            detail.crypto = holdings.bytes() as u64;
        }
        if let Some(fate) = found.fate {
            (detail.cause, detail.panic_code) = wire_cause(fate.cause);
            detail.died_ms = self.millis_at(fate.at);
        }
        if let Some(task) = found.task.or(found.fate.and_then(|fate| fate.task)) {
            detail.function = task.function;
            detail.command = task.command;
            detail.session = task.session;
            detail.busy_since_ms = self.millis_at(task.since);
        }
        if let Some(space) = &found.space {
            let sp = match (found.task, found.busy) {
                (Some(_), Some(thread)) => self.threads.user_sp(thread),
                _ => found.stack_top,
            };
            // It may have run since its steps.
            detail.stack_deepest = steps.stack_deepest.max(found.stack_deepest);
            detail.stack_pointer = self.shown_address(sp);
            self.add_memory(space, &mut detail);
            detail.pss = detail.uss + steps.shared_part.min(detail.shared);
        } else if let Some(remains) = found.notes.remains {
            detail.stack_deepest = remains.stack_deepest;
            detail.heap_reserved = remains.heap_reserved;
            detail.quota = u64::from(remains.limit) * PAGE;
            detail.charged_max = u64::from(remains.charged_max) * PAGE;
        }
        detail
    }

    fn add_memory(&self, space: &AddressSpace, detail: &mut TaDetail) {
        let sizes = sizes(space);
        let heap = space.heap();
        detail.regions = space.regions().len() as u32;
        detail.code = sizes.code;
        detail.data = sizes.data;
        detail.heap_committed = heap.map_or(0, |heap| heap.committed);
        detail.heap_reserved = heap.map_or(0, |heap| heap.max);
        detail.tables = u64::from(space.table_pages()) * PAGE;
        detail.shared = sizes.shared;
        detail.quota = u64::from(space.limit_pages()) * PAGE;
        detail.charged = u64::from(space.charged_pages()) * PAGE;
        detail.charged_max = u64::from(space.charged_max()) * PAGE;
        detail.vss = sizes.virtual_size;
        detail.rss = sizes.resident;
        detail.uss = sizes.own;
    }

    /// Bytes and blocks that the kernel heap has of an instance and of the sessions that it serves.
    fn kernel_heap_of(
        &self,
        state: &State<Book>,
        instance: InstanceRef,
        found: &Instance<Book>,
    ) -> (u64, u64) {
        let all = state.guest(self.guest).sessions.iter();
        let served = all.filter(|(_, session)| session.target == SessionTarget::Ta(instance));
        let sessions = served.map(|(_, session)| session.owner);
        let owners = core::iter::once(found.owner).chain(sessions);
        owners.fold((0, 0), |(all_bytes, all_blocks), owner| {
            let (bytes, blocks) = self.heap().account(owner);
            (all_bytes + u64::from(bytes), all_blocks + u64::from(blocks))
        })
    }

    /// What of the memory that an instance shares is its own part. A step for each region.
    fn shared_part(&self, instance: InstanceRef) -> u64 {
        let mut part = 0;
        let mut from = UserVa(0);
        loop {
            let state = self.state();
            let found = state.instance(instance);
            let Some(space) = found.and_then(|found| found.space.as_ref()) else {
                return part;
            };
            let next = space
                .regions()
                .iter()
                .find(|region| region.va() >= from && region.backing() == Backing::Borrowed);
            let Some(region) = next else {
                return part;
            };
            from = UserVa(region.va().0 + region.bytes());
            let first = space.first_page(&self.machine, region);
            let others = first.map_or(0, |page| self.other_users(&state, instance, page));
            // The lender, this instance, and all others.
            part += region.resident_bytes() / (2 + others);
        }
    }

    /// How many other instances have a region that is borrowed and begins at this page.
    fn other_users(&self, state: &State<Book>, instance: InstanceRef, page: Target) -> u64 {
        let instances = state.guest(self.guest).instances.iter();
        let others = instances.filter(|(slot, _)| *slot != instance.slot());
        let users = others.filter(|(_, other)| {
            other.space.as_ref().is_some_and(|space| {
                space.regions().iter().any(|region| {
                    region.backing() == Backing::Borrowed
                        && space.first_page(&self.machine, region) == Some(page)
                })
            })
        });
        users.count() as u64
    }

    /// What is kept of an instance that is about to lose its memory.
    #[must_use]
    pub fn remains(&self, instance: InstanceRef) -> Option<Remains> {
        let stack_deepest = self.stack_deepest(instance);
        let walked = self.c_pool_at_end(instance);
        let state = self.state();
        let found = state.instance(instance)?;
        let space = found.space.as_ref()?;
        Some(Remains {
            heap: walked.unwrap_or_else(|| self.ta_pool_at_once(found)),
            heap_reserved: space.heap().map_or(0, |heap| heap.max),
            limit: space.limit_pages(),
            stack_deepest,
            charged_max: space.charged_max(),
        })
    }

    /// The next session that a TA serves which is meant, and where to go on.
    #[must_use]
    pub(crate) fn next_session(&self, of: &Selector, cursor: u64) -> Option<(SessionRow, u64)> {
        let state = self.state();
        let mut sessions = state.guest(self.guest).sessions.iter();
        sessions.find_map(|(slot, session)| {
            let SessionTarget::Ta(instance) = session.target else {
                return None;
            };
            let found = state.instance(instance)?;
            if (slot as u64) < cursor || !means(of, found) {
                return None;
            }
            let row = SessionRow {
                uuid: found.uuid,
                instance: found.generation,
                session: session.id,
                opener: u32::from(session.opener != Opener::Normal),
                busy: u32::from(!session.operations.is_empty()),
                kernel_heap: u64::from(self.heap().account(session.owner).0),
            };
            Some((row, slot as u64 + 1))
        })
    }
}

fn sizes(space: &AddressSpace) -> Sizes {
    let mut sizes = Sizes::default();
    for region in space.regions() {
        sizes.virtual_size += region.bytes();
        sizes.resident += region.resident_bytes();
        match region.backing() {
            Backing::Zero | Backing::Lent => sizes.own += region.resident_bytes(),
            Backing::Borrowed => sizes.shared += region.resident_bytes(),
        }
        if region.kind() == RegionKind::Segment {
            if region.prot().contains(Prot::WRITE) {
                sizes.data += region.bytes();
            } else {
                sizes.code += region.bytes();
            }
        }
    }
    sizes
}

/// [`wire_state`] of an instance.
const fn wire_life(found: &Instance<Book>) -> u32 {
    match (found.life, found.task) {
        (Life::Loading, _) => wire_state::LOADING,
        (Life::Ready, None) => wire_state::IDLE,
        (Life::Ready, Some(_)) => wire_state::BUSY,
        (Life::Dead, _) => wire_state::DEAD,
    }
}
