//! Call stacks by frame pointers.
//!
//! **Invariant:** the walk reads only inside the bounds it was given, and only upwards, so it ends
//! after at most [`MAX_DEPTH`] frames whatever the stack holds.
//! **Knows nothing of:** symbols, images, which stack is the current one.

use core::mem::MaybeUninit;

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
#[derive(Clone, Copy)]
pub struct CallStack {
    /// The first `len` are initialised.
    frames: [MaybeUninit<u64>; MAX_DEPTH],
    len: usize,
    key: u64,
}

impl CallStack {
    /// No frames: counted at site 0.
    pub const EMPTY: Self = Self {
        frames: [MaybeUninit::uninit(); MAX_DEPTH],
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
        let frames = self.frames.get(..self.len).unwrap_or(&[]);
        // SAFETY: `push` and `capture` initialised the first `len` frames.
        unsafe { frames.assume_init_ref() }
    }

    /// Hash of the frames; 0 if and only if there are none.
    #[inline(always)]
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Captures the call stack of the function this is inlined into: see [`capture`]. Where the
    /// stack is made in place, nothing need be copied.
    #[inline(always)]
    pub fn capture(&mut self, depth: usize, bounds: StackBounds) {
        #[cfg(all(target_arch = "aarch64", target_os = "none"))]
        aarch64::capture(self, depth, bounds);
        #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
        {
            let _ = (depth, bounds);
            (self.len, self.key) = (0, 0);
        }
    }

    #[inline(always)]
    fn push(&mut self, frame: u64) {
        if let Some(slot) = self.frames.get_mut(self.len) {
            slot.write(frame);
            self.len += 1;
            self.key = mix(self.key, frame);
        }
    }
}

/// Adds a frame to a hash. Bit 0 keeps it from being 0.
#[inline(always)]
fn mix(key: u64, frame: u64) -> u64 {
    (key.rotate_left(23) ^ frame).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

impl core::fmt::Debug for CallStack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.frames()).finish()
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
    let mut stack = CallStack::EMPTY;
    stack.capture(depth, bounds);
    stack
}

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod aarch64 {
    use super::{CallStack, MAX_DEPTH, StackBounds, mix};

    #[inline(always)]
    pub(super) fn capture(stack: &mut CallStack, depth: usize, bounds: StackBounds) {
        let mut fp: usize;
        // SAFETY: reads x29 into a register and touches nothing else.
        unsafe {
            core::arch::asm!("mov {}, x29", out(reg) fp, options(nomem, nostack, preserves_flags));
        }
        let (mut key, mut len) = (0, 0);
        let (mut lo, last) = (bounds.lo, bounds.hi.saturating_sub(16));
        for slot in stack.frames.iter_mut().take(depth.min(MAX_DEPTH)) {
            // A frame record is two words.
            if fp < lo || fp > last || fp & 7 != 0 {
                break;
            }
            let (next, ret): (usize, u64);
            // SAFETY:
            // 1. `lo <= fp` and `fp + 16 <= hi`, and the caller gave bounds of readable memory
            //    of the running stack. `fp` is aligned to 8.
            // 2. What was read is used as numbers only, and checked before the next step.
            unsafe {
                core::arch::asm!(
                    "ldp {next}, {ret}, [{fp}]",
                    fp = in(reg) fp, next = out(reg) next, ret = out(reg) ret,
                    options(readonly, nostack, preserves_flags),
                );
            }
            if ret == 0 {
                break;
            }
            slot.write(ret);
            key = mix(key, ret);
            len += 1;
            lo = fp + 16;
            fp = next;
        }
        (stack.key, stack.len) = (key, len);
    }
}
