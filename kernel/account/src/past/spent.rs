//! Measuring a TA's call from outside, around its entry.
//!
//! Two words of the pool's header are read on the way in and on the way out, at a place that is looked up once an
//! instance, and the maximum there is restarted.
//!
//! **Invariant:** what the TA's header says and does not add up counts as nothing.

use crate::book::Book;
use crate::heaps::{peak, ta_heap};
use crate::past::commands::{Commands, Spent};
use tally_abi::TeeResult;
use tally_core::ta::instance::Instance;
use tally_core::ta::task::{Cause, Exit, Ran, TaCall};
use tally_mem::addr::{PAGE_SIZE, PhysPage, UserVa};
use tally_mem::machine::Machine;
use tally_mem::stack_pattern;

/// Pages of a stack that are looked at.
const MAX_STACK_PAGES: u64 = 64;

/// What was so when a command was entered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entered {
    /// Ticks of the system counter.
    ticks: u64,
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

/// A TA is about to be entered.
pub(crate) fn begin<M: Machine>(
    commands: &Commands,
    machine: &M,
    found: &mut Instance<Book>,
    stack_pointer: u64,
) -> Entered {
    let live = peak::begins(found, machine);
    let detail = if commands.is_detailed(found.uuid) {
        Some(begin_detail(machine, found, stack_pointer))
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
pub(crate) fn end<M: Machine>(
    commands: &mut Commands,
    machine: &M,
    found: &mut Instance<Book>,
    call: TaCall,
    entered: &Entered,
    ran: Ran,
) {
    let ticks = machine.ticks().wrapping_sub(entered.ticks);
    // A pool that was sane before and is not now says nothing.
    let heap = peak::ends(found, machine).map(|after| {
        let net = after.live() as i64 - entered.live as i64;
        (net, after.max().saturating_sub(entered.live))
    });
    let detail = entered.detail.map(|before| {
        let now = allocations(machine, found);
        [
            now.allocations.wrapping_sub(before.allocations),
            now.releases.wrapping_sub(before.releases),
            call_depth(machine, found, ran),
        ]
    });
    let spent = Spent {
        ticks,
        failed: ran.exit != Exit::Return(TeeResult::SUCCESS.0),
        heap,
        detail,
    };
    commands.add(found.uuid, call, &spent, &mut found.notes.maxima.row);
}

fn begin_detail<M: Machine>(machine: &M, instance: &mut Instance<Book>, sp: u64) -> Detail {
    // The traces of earlier calls go, and what they told must not.
    let deepest = stack_depth(machine, instance);
    instance.stack_deepest = instance.stack_deepest.max(deepest);
    clear_stack(machine, instance, sp);
    allocations(machine, instance)
}

/// Restarts the deepest use of a stack. While a call may be inside, what lies there stays, and is the deepest use
/// since.
pub(crate) fn restart_stack<M: Machine>(found: &mut Instance<Book>, machine: &M) {
    found.stack_deepest = 0;
    if found.busy.is_none() {
        clear_stack(machine, found, found.stack_top);
    }
}

/// Makes what lies below a stack pointer, which is nobody's, as if it had never been written.
fn clear_stack<M: Machine>(machine: &M, instance: &Instance<Book>, sp: u64) {
    for_stack(instance, machine, |va, page| {
        let unused = sp.saturating_sub(va).min(PAGE_SIZE as u64) as usize;
        stack_pattern::fill(machine, page, unused);
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

/// Bytes from the top of the stack down to the lowest one that was written.
fn stack_depth<M: Machine>(machine: &M, instance: &Instance<Book>) -> u64 {
    let mut depth = 0;
    for_stack(instance, machine, |va, page| {
        let written = stack_pattern::first_written(machine, page);
        let lowest = written.map(|offset| va + offset as u64);
        depth = lowest.map_or(0, |lowest| instance.stack_top.saturating_sub(lowest));
        written.is_none()
    });
    depth
}

/// The same for a call that has ended, by its stack pointers as well.
fn call_depth<M: Machine>(machine: &M, instance: &Instance<Book>, ran: Ran) -> u64 {
    let written = stack_depth(machine, instance);
    match instance.fate {
        Some(fate) if fate.cause == Cause::StackOverflow => instance.stack_deepest,
        _ => written.max(instance.depth_of(ran.lowest_sp)),
    }
}

/// Calls `each` for the populated pages of a stack, from the lowest on, while it wants more. Of a stack that is larger
/// than [`MAX_STACK_PAGES`] these are the upper ones.
fn for_stack<M: Machine>(
    instance: &Instance<Book>,
    machine: &M,
    mut each: impl FnMut(u64, PhysPage) -> bool,
) {
    let Some(space) = &instance.space else { return };
    let len = instance.stack_len.min(MAX_STACK_PAGES * PAGE_SIZE as u64);
    let Some(low) = instance.stack_top.checked_sub(len) else {
        return;
    };
    let mut va = UserVa(low).page_base();
    while va.0 < instance.stack_top {
        let page = space.own_page(machine, va).map(PhysPage::containing);
        if page.is_some_and(|page| !each(va.0, page)) {
            return;
        }
        va = UserVa(va.0 + PAGE_SIZE as u64);
    }
}
