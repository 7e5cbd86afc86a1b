//! Call stacks by frame pointers.
//!
//! **Invariant:** the walk reads only inside the bounds it was given and ends after at most
//! [`MAX_DEPTH`] frames, whatever the stack holds.
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

    /// No frames, to be captured in place.
    #[inline(always)]
    pub fn new() -> Self {
        // Not `EMPTY`, whose unused frames would be copied.
        Self {
            frames: [const { MaybeUninit::uninit() }; MAX_DEPTH],
            len: 0,
            key: 0,
        }
    }

    /// A stack of the given return addresses; those beyond [`MAX_DEPTH`] are dropped.
    pub fn from_frames(frames: &[u64]) -> Self {
        let mut stack = Self::EMPTY;
        for (slot, &frame) in stack.frames.iter_mut().zip(frames) {
            slot.write(frame);
            stack.key = mix(stack.key, frame);
            stack.len += 1;
        }
        stack.key |= u64::from(stack.len > 0);
        stack
    }

    /// The return addresses, innermost first.
    pub fn frames(&self) -> &[u64] {
        let frames = self.frames.get(..self.len).unwrap_or(&[]);
        // SAFETY: `from_frames` and `capture` initialised the first `len` frames.
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
}

/// Adds a frame to a hash.
#[inline(always)]
fn mix(key: u64, frame: u64) -> u64 {
    (key.rotate_left(23) ^ frame).wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
    let mut stack = CallStack::new();
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
        // Offset of the last frame record that there can be, in units of 16 bytes.
        let Some(last) = bounds
            .hi
            .checked_sub(bounds.lo)
            .and_then(|len| len.checked_sub(16))
        else {
            (stack.key, stack.len) = (0, 0);
            return;
        };
        let last = last >> 4;
        for slot in stack.frames.iter_mut().take(depth.min(MAX_DEPTH)) {
            // A frame record is aligned to 16 as the stack is: what is not, is beyond any bound
            // when its low bits are rotated to the top.
            if fp.wrapping_sub(bounds.lo).rotate_right(4) > last {
                break;
            }
            let (next, ret): (usize, u64);
            // SAFETY:
            // 1. `lo <= fp` and `fp + 16 <= hi`, and the caller gave bounds of readable memory
            //    of the running stack. `fp` is as aligned as `lo`.
            // 2. What was read is used as numbers only, and checked before the next step.
            unsafe {
                core::arch::asm!(
                    "ldp {next}, {ret}, [{fp}]",
                    fp = in(reg) fp, next = out(reg) next, ret = out(reg) ret,
                    options(readonly, nostack, preserves_flags),
                );
            }
            slot.write(ret);
            key = mix(key, ret);
            len += 1;
            fp = next;
        }
        (stack.key, stack.len) = (key | u64::from(len > 0), len);
    }
}
