//! Call stacks by frame pointers.
//!
//! **Invariant:** the walk reads only inside the bounds it was given, and only upwards, so it ends
//! after at most [`MAX_DEPTH`] frames whatever the stack holds.
//! **Knows nothing of:** symbols, images, which stack is the current one.

/// Most frames of a call stack.
pub const MAX_DEPTH: usize = 8;

/// Addresses `lo..hi` of the stack that the walk may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackBounds {
    /// Lowest address.
    pub lo: usize,
    /// One past the highest address.
    pub hi: usize,
}

/// Return addresses, innermost first, and their hash.
#[derive(Clone, Copy, Debug)]
pub struct CallStack {
    frames: [u64; MAX_DEPTH],
    len: usize,
    key: u64,
}

impl CallStack {
    /// No frames: counted at site 0.
    pub const EMPTY: Self = Self {
        frames: [0; MAX_DEPTH],
        len: 0,
        key: 0,
    };

    /// A stack of the given return addresses; those beyond [`MAX_DEPTH`] are dropped.
    pub fn from_frames(frames: &[u64]) -> Self {
        let mut stack = Self::EMPTY;
        for &frame in frames {
            stack.push(frame);
        }
        stack
    }

    /// The return addresses, innermost first.
    pub fn frames(&self) -> &[u64] {
        self.frames.get(..self.len).unwrap_or(&[])
    }

    /// Hash of the frames; 0 if and only if there are none.
    #[inline(always)]
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    #[inline(always)]
    fn push(&mut self, frame: u64) {
        if let Some(slot) = self.frames.get_mut(self.len) {
            *slot = frame;
            self.len += 1;
            // Bit 0 keeps the key from being 0.
            self.key = (self.key.rotate_left(23) ^ frame).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        }
    }
}

impl Default for CallStack {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The call stack of the function this is inlined into: the first frame is the address that
/// it returns to. Takes at most `depth` frames and reads only inside `bounds`, which must be
/// readable memory of the running stack (empty bounds give an empty stack).
///
/// Needs frame pointers (`-C force-frame-pointers=yes`). On other machines than AArch64 the
/// stack is empty.
#[inline(always)]
pub fn capture(depth: usize, bounds: StackBounds) -> CallStack {
    #[cfg(all(target_arch = "aarch64", target_os = "none"))]
    {
        aarch64::capture(depth, bounds)
    }
    #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
    {
        let _ = (depth, bounds);
        CallStack::EMPTY
    }
}

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod aarch64 {
    use super::{CallStack, StackBounds};
    use core::mem::MaybeUninit;

    #[inline(always)]
    pub(super) fn capture(depth: usize, bounds: StackBounds) -> CallStack {
        let mut fp: usize;
        // SAFETY: reads x29 into a register and touches nothing else.
        unsafe {
            core::arch::asm!("mov {}, x29", out(reg) fp, options(nomem, nostack, preserves_flags))
        };
        let mut stack = CallStack::EMPTY;
        let last = bounds.hi.wrapping_sub(16);
        let mut lo = bounds.lo;
        for _ in 0..depth {
            // A frame record is two words, 8-byte aligned at least.
            if fp < lo || fp > last || fp & 7 != 0 || last > bounds.hi {
                break;
            }
            let record = core::ptr::with_exposed_provenance::<[MaybeUninit<u64>; 2]>(fp);
            // SAFETY:
            // 1. `lo <= fp` and `fp + 16 <= hi`, and the caller gave bounds of readable memory.
            // 2. `fp` is aligned to 8. Any bits are a valid frame: they are used as numbers only.
            let [next, ret] = unsafe { core::ptr::read_volatile(record) };
            // SAFETY: stack memory that was read is as initialised as the hardware knows.
            let (next, ret) = unsafe { (next.assume_init(), ret.assume_init()) };
            if ret == 0 {
                break;
            }
            stack.push(ret);
            lo = fp + 16;
            fp = next as usize;
        }
        stack
    }
}
