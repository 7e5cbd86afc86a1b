//! Deepest use of a TA's stack, found from outside.
//!
//! A stack's pages are zero when they are first touched, so the lowest byte that is not zero was the
//! deepest use, as far as use leaves traces. What was deeper before somebody cleared it is remembered.
//!
//! **Invariant:** looks at a bounded number of pages under one lock.

use crate::book::Book;
use crate::inspector::Inspector;
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, UserVa};
use tally_mem::machine::{Machine, SecureMemory};
use tally_mem::space::Target;
use zerocopy::IntoBytes;

/// Populated pages looked at under one lock.
const STEP_PAGES: usize = 16;
/// Pages looked for under one lock, populated or not.
const STEP_ADDRESSES: usize = 512;

/// Where a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// This is the lowest address with something in it.
    Found(u64),
    /// Everything below this address is zero.
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
            if let Some(offset) = first_used(machine, pa) {
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
    found.stack_top.saturating_sub(found.stack_len) & !(PAGE_SIZE as u64 - 1)
}

/// Deepest use of the stack in bytes, as far as one step tells: at least this much is certain to be
/// enough.
#[must_use]
pub(crate) fn deepest_at_once<M: Machine>(found: &Instance<Book>, machine: &M) -> u64 {
    match search(found, machine, low(found)) {
        Search::Found(at) | Search::UpTo(at) => deepest(found, at),
    }
}

/// Deepest use of the stack if `lowest` is the lowest address with something in it.
fn deepest(found: &Instance<Book>, lowest: u64) -> u64 {
    let now = found.stack_top.saturating_sub(lowest);
    now.max(found.notes.maxima.stack_deepest)
}

/// Offset of the first byte of a page that is not zero. What is looked at is a copy: a TA that runs on another CPU
/// writes to its stack meanwhile.
fn first_used(machine: &impl SecureMemory, page: PhysAddr) -> Option<usize> {
    let mut words = [0_u64; 64];
    for at in (0..PAGE_SIZE).step_by(size_of_val(&words)) {
        machine.read_secure(PhysAddr(page.0 + at as u64), words.as_mut_bytes());
        if let Some(word) = words.iter().position(|word| *word != 0) {
            let byte = words[word].to_le().trailing_zeros() as usize / 8;
            return Some(at + word * 8 + byte);
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::first_used;
    use tally_mem::addr::PAGE_SIZE;
    use tally_mem::machine::SecureMemory;
    use tally_mem::owner::OwnerId;
    use tally_mem::pages::PageUse;
    use tally_mem::testing::TestMachine;

    #[test]
    fn the_first_byte_in_use_is_found() {
        let machine = TestMachine::new(4, 1);
        let mut pages = machine.page_allocator();
        let page = pages.alloc(PageUse::TaStack, OwnerId::KERNEL).unwrap();
        let mut bytes = [0; PAGE_SIZE];
        machine.write_secure(page.addr(), &bytes);
        assert_eq!(first_used(&machine, page.addr()), None);
        for at in [PAGE_SIZE - 1, 4093, 8, 7, 0] {
            bytes[at] = 1;
            machine.write_secure(page.addr(), &bytes);
            assert_eq!(first_used(&machine, page.addr()), Some(at));
        }
    }
}
