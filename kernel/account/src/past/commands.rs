//! Cost of each TA command: calls, growth, peak, ticks, measured from outside around each entry.
//!
//! Cheap figures are kept always: two words of the pool's header are read on the way in and on the way
//! out, at a place that is looked up once an instance, and the maximum there is restarted. Allocations, releases and the
//! depth of the stack take a walk over the pool's sites and over the stack; they are kept only for
//! TAs that somebody asked it for ([`Commands::set_detail`]).
//!
//! **Invariant:** the table is bounded and counts what it drops. What the TA's header says and does not add up
//! counts as nothing.

use crate::book::Book;
use crate::heaps::peak;
use crate::heaps::ta_heap;
use alloc::vec::Vec;
use tally_abi::ta::entry;
use tally_abi::{TeeResult, TeeUuid};
use tally_core::ta::instance::Instance;
use tally_core::ta::task::{Exit, TaCall};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, UserVa};
use tally_mem::fallible::{HeapExhausted, vec_with_capacity};
use tally_mem::machine::Machine;
use tally_mem::space::AddressSpace;
use tally_records::CommandRow;
use zerocopy::IntoBytes;

/// Commands that are told apart.
pub const MAX_ROWS: usize = 64;
/// TAs whose calls are looked at in detail at a time.
pub const MAX_DETAIL: usize = 4;
/// Pages of a stack that are looked at.
const MAX_STACK_PAGES: u64 = 64;

/// The table.
#[derive(Debug)]
pub struct Commands {
    rows: Vec<CommandRow>,
    detail: [Option<TeeUuid>; MAX_DETAIL],
    /// How many of them are set.
    details: usize,
    /// Calls of commands that had no row.
    dropped: u64,
}

/// What was so when a command was entered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entered {
    /// Ticks of the system counter.
    pub ticks: u64,
    /// Heap bytes.
    live: u64,
    detail: Option<Detail>,
}

/// What was so as well, if somebody asked for it.
#[derive(Clone, Copy, Debug, Default)]
struct Detail {
    allocations: u64,
    releases: u64,
}

impl Commands {
    /// An empty table.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new() -> Result<Self, HeapExhausted> {
        Ok(Self {
            rows: vec_with_capacity(MAX_ROWS)?,
            detail: [None; MAX_DETAIL],
            details: 0,
            dropped: 0,
        })
    }

    /// Rows of a TA, or of all if `uuid` is nil, in the order of their first calls.
    #[must_use]
    pub fn row(&self, uuid: TeeUuid, index: usize) -> Option<&CommandRow> {
        let of_ta = |row: &&CommandRow| uuid == TeeUuid::nil() || row.uuid == uuid;
        self.rows.iter().filter(of_ta).nth(index)
    }

    /// Calls of commands that had no row.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets the rows of a TA, or all if `uuid` is nil.
    pub fn clear(&mut self, uuid: TeeUuid) {
        self.rows
            .retain(|row| uuid != TeeUuid::nil() && row.uuid != uuid);
        if uuid == TeeUuid::nil() {
            self.dropped = 0;
        }
    }

    /// Looks at the calls of a TA in detail, or no more. False when there are too many such TAs.
    pub fn set_detail(&mut self, uuid: TeeUuid, on: bool) -> bool {
        for place in &mut self.detail {
            if *place == Some(uuid) {
                *place = None;
            }
        }
        let free = self.detail.iter_mut().find(|place| place.is_none());
        let done = match free {
            Some(place) if on => {
                *place = Some(uuid);
                true
            }
            Some(_) => true,
            None => !on,
        };
        self.details = self.detail.iter().flatten().count();
        done
    }

    fn is_detailed(&self, uuid: TeeUuid) -> bool {
        self.details != 0 && self.detail.contains(&Some(uuid))
    }

    /// A TA is about to be entered.
    pub fn enter<M: Machine>(
        &self,
        machine: &M,
        instance: &mut Instance<Book>,
        sp: u64,
    ) -> Entered {
        let live = peak::begins(instance, machine);
        let detail = if self.is_detailed(instance.uuid) {
            Some(begin_detail(machine, instance, sp))
        } else {
            None
        };
        Entered {
            ticks: machine.ticks(),
            live,
            detail,
        }
    }

    /// A TA returned, or died. Its memory is still there.
    pub fn leave<M: Machine>(
        &mut self,
        machine: &M,
        instance: &mut Instance<Book>,
        call: TaCall,
        entered: &Entered,
        exit: Exit,
    ) {
        let failed = exit != Exit::Return(TeeResult::SUCCESS.0);
        let ticks = machine.ticks().wrapping_sub(entered.ticks);
        let after = peak::ends(instance, machine);
        let detail = entered.detail.map(|detail| {
            let now = allocations(machine, instance);
            (
                now.allocations.wrapping_sub(detail.allocations),
                now.releases.wrapping_sub(detail.releases),
                stack_depth(machine, instance),
            )
        });
        let Some(row) = self.row_for(instance, call) else {
            self.dropped += 1;
            return;
        };
        row.calls += 1;
        row.failed += u64::from(failed);
        row.ticks = row.ticks.wrapping_add(ticks);
        // A pool that was sane before and is not now says nothing.
        if let Some(after) = after {
            row.net_bytes = row
                .net_bytes
                .wrapping_add(after.live() as i64 - entered.live as i64);
            let above = after.max().saturating_sub(entered.live);
            row.heap_above_entry = row.heap_above_entry.max(above);
        }
        if let Some((allocations, releases, depth)) = detail {
            row.detailed += 1;
            row.allocations = row.allocations.wrapping_add(allocations);
            row.releases = row.releases.wrapping_add(releases);
            row.stack_deepest = row.stack_deepest.max(depth);
        }
    }

    fn row_for(&mut self, instance: &mut Instance<Book>, call: TaCall) -> Option<&mut CommandRow> {
        let function = call.function as u32;
        let is_it = |row: &CommandRow| {
            row.command == call.command && row.function == function && row.uuid == instance.uuid
        };
        let last = instance.notes.heap.row;
        let at = if self.rows.get(last).is_some_and(is_it) {
            last
        } else if let Some(at) = self.rows.iter().position(is_it) {
            at
        } else if self.rows.len() < MAX_ROWS {
            self.rows.push(CommandRow {
                uuid: instance.uuid,
                function,
                command: call.command,
                ..CommandRow::default()
            });
            self.rows.len() - 1
        } else {
            return None;
        };
        instance.notes.heap.row = at;
        self.rows.get_mut(at)
    }
}

/// Whether a call is one of a command's, as opposed to a session's beginning and end.
#[must_use]
pub const fn is_command(call: &TaCall) -> bool {
    call.function == entry::INVOKE_COMMAND
}

fn begin_detail<M: Machine>(machine: &M, instance: &mut Instance<Book>, sp: u64) -> Detail {
    // The traces of earlier calls go, and what they told must not.
    let deepest = stack_depth(machine, instance);
    instance.notes.heap.stack_deepest = instance.notes.heap.stack_deepest.max(deepest);
    clear_stack(machine, instance, sp);
    allocations(machine, instance)
}

/// Restarts the deepest use of a stack. While a call may be inside, what lies there stays, and is the deepest use
/// since.
pub(crate) fn restart_stack<M: Machine>(found: &mut Instance<Book>, machine: &M) {
    found.notes.heap.stack_deepest = 0;
    if found.busy.is_none() {
        clear_stack(machine, found, found.stack_top);
    }
}

/// Zeroes what lies below a stack pointer, which is nobody's.
fn clear_stack<M: Machine>(machine: &M, instance: &Instance<Book>, sp: u64) {
    for_stack(instance, |space, page_va| {
        let Some(page) = space.own_page(machine, page_va) else {
            return true;
        };
        let unused = sp.saturating_sub(page_va.0).min(PAGE_SIZE as u64) as usize;
        const ZEROS: [u8; 256] = [0; 256];
        let mut done = 0;
        while done < unused {
            let piece = (unused - done).min(ZEROS.len());
            machine.write_secure(PhysAddr(page.0 + done as u64), &ZEROS[..piece]);
            done += piece;
        }
        true
    });
}

fn allocations<M: Machine>(machine: &M, instance: &Instance<Book>) -> Detail {
    let (Some(space), Some(heap)) = (&instance.space, instance.heap) else {
        return Detail::default();
    };
    let stats = ta_heap::figures(machine, space, heap);
    Detail {
        allocations: stats.num_get,
        releases: stats.num_release,
    }
}

/// Bytes from the top of the stack down to the lowest one that is not zero.
fn stack_depth<M: Machine>(machine: &M, instance: &Instance<Book>) -> u64 {
    let mut depth = 0;
    for_stack(instance, |space, page_va| {
        let Some(page) = space.own_page(machine, page_va) else {
            return true;
        };
        let mut chunk = [0_u64; 64];
        for at in (0..PAGE_SIZE as u64).step_by(size_of_val(&chunk)) {
            machine.read_secure(PhysAddr(page.0 + at), chunk.as_mut_bytes());
            if let Some(word) = chunk.iter().position(|&word| word != 0) {
                let zeros = u64::from(chunk[word].to_le().trailing_zeros() / 8);
                let lowest = page_va.0 + at + 8 * word as u64 + zeros;
                depth = instance.stack_top.saturating_sub(lowest);
                return false;
            }
        }
        true
    });
    depth
}

/// Calls `each` for the pages of a stack, from the lowest on, while it wants more.
fn for_stack(instance: &Instance<Book>, mut each: impl FnMut(&AddressSpace, UserVa) -> bool) {
    let Some(space) = &instance.space else { return };
    let len = instance.stack_len.min(MAX_STACK_PAGES * PAGE_SIZE as u64);
    let Some(low) = instance.stack_top.checked_sub(len) else {
        return;
    };
    let mut page = UserVa(low).page_base();
    while page.0 < instance.stack_top && each(space, page) {
        page = UserVa(page.0 + PAGE_SIZE as u64);
    }
}
