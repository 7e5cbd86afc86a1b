//! Deepest use of a TA's stack, found from outside.
//!
//! A stack's pages hold a pattern when they are first touched ([`tally_mem::stack_pattern`]), so the lowest byte that differs
//! from it was written last. Stack pointers at traps, and what was deeper before somebody filled the stack anew, are
//! noted in the instance.
//!
//! **Invariant:** looks at a bounded number of pages under one lock.

use crate::book::Book;
use crate::inspector::Inspector;
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_mem::addr::{PAGE_SIZE, PhysPage, UserVa};
use tally_mem::machine::Machine;
use tally_mem::space::Target;
use tally_mem::stack_pattern;

/// Populated pages looked at under one lock.
const STEP_PAGES: usize = 16;
/// Pages looked for under one lock, populated or not.
const STEP_ADDRESSES: usize = 512;

/// Where a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// This is the lowest address that was written.
    Found(u64),
    /// Nothing below this address was written.
    UpTo(u64),
}

/// Looks for the deepest use of the stack, from the page at `from` upwards.
fn search<M: Machine>(found: &Instance<Book>, machine: &M, from: u64) -> Search {
    let Some(space) = &found.space else {
        return Search::Found(found.stack_top);
    };
    let mut looked_at = 0;
    let mut page = from;
    for _ in 0..STEP_ADDRESSES {
        if page >= found.stack_top || looked_at == STEP_PAGES {
            break;
        }
        if let Some(Target::Secure(pa)) = space.resident(machine, UserVa(page)) {
            looked_at += 1;
            let used = stack_pattern::first_written(machine, PhysPage::containing(pa));
            if let Some(offset) = used {
                return Search::Found(page + offset as u64);
            }
        }
        page += PAGE_SIZE as u64;
    }
    if page >= found.stack_top {
        Search::Found(found.stack_top)
    } else {
        Search::UpTo(page)
    }
}

fn low(found: &Instance<Book>) -> u64 {
    found.stack_low() & !(PAGE_SIZE as u64 - 1)
}

/// Deepest use of the stack if `lowest` is the lowest address that was written.
fn deepest(found: &Instance<Book>, lowest: u64) -> u64 {
    found
        .stack_top
        .saturating_sub(lowest)
        .max(found.stack_deepest)
}

impl<M: Machine> Inspector<'_, M> {
    /// Deepest use of an instance's stack in bytes; 0 if it has none. Takes the state's lock, for
    /// a step at a time.
    #[must_use]
    pub fn stack_deepest(&self, instance: InstanceRef) -> u64 {
        let mut from = None;
        loop {
            let state = self.state();
            let Some(found) = state.instance(instance) else {
                return 0;
            };
            let at = from.unwrap_or_else(|| low(found));
            match search(found, &self.machine, at) {
                Search::Found(at) => return deepest(found, at),
                Search::UpTo(at) => from = Some(at),
            }
            drop(state);
            self.breathe();
        }
    }
}
