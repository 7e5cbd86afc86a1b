//! Stacks for as many calls as there are threads, of which few are in flight most of the time.
//!
//! **Invariant:** a thread beyond the resident ones has a stack, of pages that count as the kernel's, from
//! the start of its call to its end, and none otherwise.

use crate::guest_id::GuestId;
use crate::kernel::Kernel;
use crate::observer::Observer;
use tally_mem::addr::{PhysAddr, PhysPage};
use tally_mem::machine::{Machine, STACK_PAGES};
use tally_mem::owner::OwnerId;
use tally_mem::pages::PageUse;

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// Claims a free thread for a call of a guest and sees to its stack. `None` when all threads are taken, or secure RAM has
    /// no room for one more stack.
    pub fn start_thread(&self, guest: GuestId) -> Option<usize> {
        if let Some(thread) = self.threads.start(guest) {
            if thread < self.machine.resident_threads() || self.lend_stack(thread) {
                return Some(thread);
            }
            self.threads.done(thread);
        }
        self.threads.turn_away();
        None
    }

    /// `thread` has ended and runs on its stack no more.
    pub fn thread_done(&self, thread: usize) {
        if thread >= self.machine.resident_threads() {
            let pages = self.machine.return_stack(thread);
            self.free_stack(&pages);
        }
        self.threads.done(thread);
    }

    fn lend_stack(&self, thread: usize) -> bool {
        let mut pages = [PhysPage::containing(PhysAddr(0)); STACK_PAGES];
        for taken in 0..STACK_PAGES {
            let page = {
                let mut state = self.state();
                let page = state.pages.alloc(PageUse::KernelStack, OwnerId::KERNEL);
                // No thread is there yet that could tell of a refusal; that the call was turned away is told.
                state.pages.settle_refused();
                page
            };
            match page {
                Ok(page) => {
                    self.machine.zero_page(page);
                    pages[taken] = page;
                }
                Err(_) => {
                    self.free_stack(&pages[..taken]);
                    return false;
                }
            }
        }
        self.machine.lend_stack(thread, &pages);
        true
    }

    fn free_stack(&self, pages: &[PhysPage]) {
        let mut state = self.state();
        for page in pages {
            if let Err(err) = state.pages.free(*page) {
                log::error!("a stack's page is nobody's: {err:?}");
            }
        }
    }
}
