//! The kernel with its book, for whoever asks.

use crate::book::Book;
use crate::heaps::kernel_heap::HeapBooks;
use core::ops::Deref;
use tally_core::guest_id::GuestId;
use tally_core::kernel::Kernel;
use tally_mem::machine::Machine;

/// Looks into a guest's part of a kernel: TAs whole, heaps, regions, what was refused, what has ended. Nobody's
/// help is needed, and nothing is changed but what is said so.
pub struct Inspector<'k, M: 'static> {
    /// The kernel.
    pub kernel: &'k Kernel<M, Book>,
    /// The guest that asks.
    pub guest: GuestId,
}

impl<M> Clone for Inspector<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Inspector<'_, M> {}

impl<M> Deref for Inspector<'_, M> {
    type Target = Kernel<M, Book>;

    fn deref(&self) -> &Self::Target {
        self.kernel
    }
}

impl<M: Machine> Inspector<'_, M> {
    /// The kernel heap's books.
    #[must_use]
    pub fn heap(self) -> &'static dyn HeapBooks {
        self.kernel.shared.heap
    }

    /// A number that tells this boot from others, never 0. It is drawn when it is first asked for, so that
    /// boot does not wait for it.
    #[must_use]
    pub fn boot(self) -> u64 {
        let known = self.state().guest(self.guest).book.boot;
        if known != 0 {
            return known;
        }
        let drawn = self.random_u64().max(1);
        let mut state = self.state();
        let boot = &mut state.guest_mut(self.guest).book.boot;
        if *boot == 0 {
            *boot = drawn;
        }
        *boot
    }

    /// An address as the normal world may see it.
    #[must_use]
    pub fn shown_address(self, address: u64) -> u64 {
        if self.kernel.shared.shown.addresses {
            address
        } else {
            0
        }
    }
}
