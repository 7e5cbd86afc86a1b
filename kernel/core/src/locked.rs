//! The state, locked, and what is told once it is unlocked.
//!
//! **Invariant:** what was refused last while the state was locked is told by who had locked it, with nothing locked.

use crate::kernel::{Kernel, State};
use crate::observer::Observer;
use core::fmt;
use core::ops::{Deref, DerefMut};
use spin::mutex::SpinMutexGuard;
use tally_mem::machine::Machine;

/// The state, locked. Once it is unlocked again, what was refused meanwhile is told.
pub struct Locked<'k, M: Machine + 'static, O: Observer> {
    // Dropped in this order.
    state: SpinMutexGuard<'k, State<O>>,
    afterwards: Afterwards<'k, M, O>,
}

/// What is done with nothing locked. There is little of it wherever the state is unlocked: two instructions.
struct Afterwards<'k, M: Machine + 'static, O: Observer> {
    kernel: &'k Kernel<M, O>,
    tells: bool,
}

impl<'k, M: Machine, O: Observer> Locked<'k, M, O> {
    #[inline(always)]
    pub(crate) const fn new(kernel: &'k Kernel<M, O>, state: SpinMutexGuard<'k, State<O>>) -> Self {
        let afterwards = Afterwards {
            kernel,
            tells: false,
        };
        Self { state, afterwards }
    }
}

impl<M: Machine, O: Observer> Deref for Locked<'_, M, O> {
    type Target = State<O>;

    #[inline(always)]
    fn deref(&self) -> &State<O> {
        &self.state
    }
}

impl<M: Machine, O: Observer> DerefMut for Locked<'_, M, O> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut State<O> {
        &mut self.state
    }
}

impl<M: Machine, O: Observer> fmt::Debug for Locked<'_, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

impl<M: Machine, O: Observer> Drop for Locked<'_, M, O> {
    #[inline(always)]
    fn drop(&mut self) {
        self.afterwards.tells = self.state.pages.is_refusing();
        if self.afterwards.tells {
            set_aside(self.afterwards.kernel, &mut self.state);
        }
    }
}

impl<M: Machine, O: Observer> Drop for Afterwards<'_, M, O> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.tells {
            tell(self.kernel);
        }
    }
}

/// Whoever locks the state next has nothing to do with it.
#[cold]
#[inline(never)]
fn set_aside<M: Machine, O: Observer>(kernel: &Kernel<M, O>, state: &mut State<O>) {
    let pages = state.pages.settle_refused();
    state.refusals.set_aside(kernel.machine.thread_id(), pages);
}

#[cold]
#[inline(never)]
fn tell<M: Machine, O: Observer>(kernel: &Kernel<M, O>) {
    let thread = kernel.machine.thread_id();
    loop {
        let told = kernel.state().refusals.take(thread);
        let Some(refused) = told else { return };
        O::refused(kernel, kernel.threads.guest(thread), &refused);
    }
}
