//! A spin lock that is safe to take with interrupts unmasked.
//!
//! **Invariant:** whoever holds it runs with interrupts masked, so it is never held across a
//! suspension by a foreign interrupt.

use core::arch::asm;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use spin::{Mutex, MutexGuard};

/// A spin lock that masks interrupts while it is held.
#[derive(Debug, Default)]
pub struct IrqLock<T>(Mutex<T>);

/// A held [`IrqLock`].
#[derive(Debug)]
pub struct IrqGuard<'a, T> {
    // Dropped before `mask`, in this order.
    guard: MutexGuard<'a, T>,
    _mask: Mask,
}

impl<T> IrqLock<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Masks interrupts and waits for the lock.
    #[inline]
    pub fn lock(&self) -> IrqGuard<'_, T> {
        let mask = Mask::new();
        IrqGuard {
            guard: self.0.lock(),
            _mask: mask,
        }
    }

    /// Takes the lock if it is free. For crash reports.
    pub fn try_lock(&self) -> Option<IrqGuard<'_, T>> {
        let mask = Mask::new();
        let guard = self.0.try_lock()?;
        Some(IrqGuard { guard, _mask: mask })
    }
}

impl<T> Deref for IrqGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for IrqGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Interrupts masked; dropping it restores what was.
#[derive(Debug)]
struct Mask {
    daif: u64,
    /// The mask is this CPU's.
    not_send: PhantomData<*const ()>,
}

impl Mask {
    #[inline]
    fn new() -> Self {
        let daif;
        // SAFETY: masks interrupts.
        unsafe {
            asm!("mrs {}, daif", "msr daifset, #3", out(reg) daif, options(nostack, preserves_flags));
        }
        Self {
            daif,
            not_send: PhantomData,
        }
    }
}

impl Drop for Mask {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: restores what `new` saw on this CPU.
        unsafe { asm!("msr daif, {}", in(reg) self.daif, options(nostack, preserves_flags)) };
    }
}
