//! Call stacks by frame pointers.
//!
//! **Invariant:** the walk reads only inside the bounds it was given and ends after at most
//! [`MAX_DEPTH`] frames, whatever the stack holds.

use core::mem::MaybeUninit;

/// Most frames of a call stack.
pub const MAX_DEPTH: usize = 8;

/// Odd, with its bits well mixed: 2^32 over the golden ratio.
pub(crate) const SPREAD: u64 = 0x9e37_79b1;

/// Addresses `lo..hi` of the stack that the walk may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackBounds {
    /// Lowest address.
    pub lo: usize,
    /// One past the highest address.
    pub hi: usize,
}

impl StackBounds {
    /// Where frame records may begin.
    #[inline(always)]
    #[must_use]
    pub const fn walkable(self) -> Walkable {
        Walkable {
            lo: self.lo,
            len: self.hi.saturating_sub(self.lo).saturating_sub(15),
            spread: SPREAD,
            own_code: 0,
        }
    }
}

/// Addresses `lo..lo + len` at which a frame record of 16 bytes lies inside the stack. Kept by those
/// who walk often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walkable {
    lo: usize,
    len: usize,
    /// [`SPREAD`]: to load it with the rest takes less than to make it.
    spread: u64,
    /// Frames that return to lower addresses are left out by [`Origin::own_caller`].
    own_code: u64,
}

impl Default for Walkable {
    fn default() -> Self {
        Self::NOWHERE
    }
}

impl Walkable {
    /// Nowhere.
    pub const NOWHERE: Self = Self {
        lo: 0,
        len: 0,
        spread: SPREAD,
        own_code: 0,
    };

    /// The same, but frames that return below `own_code` say nothing: there lies code through which the program
    /// allocates.
    #[must_use]
    pub const fn with_own_code(self, own_code: u64) -> Self {
        Self { own_code, ..self }
    }

    /// The first of `ret` and the return addresses from the frame at `fp` on that is the program's own, else `ret`.
    fn own_caller(self, mut fp: usize, ret: u64) -> u64 {
        for _ in 0..MAX_DEPTH {
            let Some((next, outer)) = self.record(fp) else {
                break;
            };
            if outer >= self.own_code {
                // An address of an instruction, unless somebody wrote over the stack.
                return outer & !3;
            }
            fp = next;
        }
        ret
    }

    /// The frame record at `fp`: the caller's frame pointer, and where to return to.
    #[inline(always)]
    fn record(self, fp: usize) -> Option<(usize, u64)> {
        if fp.wrapping_sub(self.lo) >= self.len {
            return None;
        }
        read_record(fp)
    }
}

/// Where a function was called from: the hash of its call stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller(u64);

/// A return address and the frame that it returns to: enough to find the frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    ret: u64,
    next: usize,
}

impl Caller {
    /// The caller of the function that this is inlined into, as [`capture`] would find it.
    ///
    /// # Safety
    /// That function is compiled with frame pointers (`-C force-frame-pointers=yes`).
    #[inline(always)]
    pub unsafe fn capture(depth: usize, stack: Walkable) -> Self {
        // The function's own record lies on its stack: that needs no check.
        let Some((next, ret)) = own_record().filter(|_| depth > 0) else {
            return Self::default();
        };
        let (mut key, mut fp) = (ret, next);
        for _ in 1..depth.min(MAX_DEPTH) {
            let Some((next, ret)) = stack.record(fp) else {
                break;
            };
            key = mix(key, ret, stack.spread);
            fp = next;
        }
        Self(key)
    }

    /// See [`crate::Pool::own_caller`].
    ///
    /// # Safety
    /// As [`Caller::capture`].
    #[inline(always)]
    pub(crate) unsafe fn capture_own(depth: usize, stack: Walkable) -> Option<Self> {
        match own_record().filter(|_| depth > 0) {
            Some((_, ret)) => (ret >= stack.own_code).then_some(Self(ret)),
            None => Some(Self::default()),
        }
    }

    /// The caller with a given call stack.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of(stack: &CallStack) -> Self {
        Self(stack.key)
    }

    /// Hash of the call stack.
    #[inline(always)]
    #[must_use]
    pub fn key(&self) -> u64 {
        self.0
    }

    /// The call stack of one frame, or of none, whose hash this is.
    #[must_use]
    pub fn as_stack(&self) -> CallStack {
        match self.0 {
            0 => CallStack::new(),
            ret => CallStack::from_frames(&[ret]),
        }
    }
}

impl Origin {
    /// Where the function that this is inlined into was called from.
    ///
    /// # Safety
    /// As [`Caller::capture`].
    #[inline(always)]
    pub unsafe fn capture() -> Self {
        let (next, ret) = own_record().unwrap_or_default();
        Self { ret, next }
    }

    /// The frames, while the function that was called, or one that it calls, is running still.
    #[must_use]
    pub fn stack(self, depth: usize, stack: Walkable) -> CallStack {
        let mut frames = CallStack::new();
        if self.ret != 0 && depth > 0 {
            frames.push(self.ret);
            frames.walk(self.next, depth, stack);
        }
        frames
    }

    /// The innermost caller that is the program's own code, or the innermost one if none is; nobody without
    /// `depth`.
    #[must_use]
    pub fn own_caller(self, depth: usize, stack: Walkable) -> Caller {
        match depth {
            0 => Caller::default(),
            _ if self.ret >= stack.own_code => Caller(self.ret),
            _ => Caller(stack.own_caller(self.next, self.ret)),
        }
    }
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
            stack.key = mix(stack.key, frame, SPREAD);
            stack.len += 1;
        }
        if stack.len > 0 && stack.key == 0 {
            stack.key = 1;
        }
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

    #[inline(always)]
    fn push(&mut self, ret: u64) {
        if let Some(slot) = self.frames.get_mut(self.len) {
            slot.write(ret);
            self.key = mix(self.key, ret, SPREAD);
            self.len += 1;
        }
    }

    /// Adds frames from `fp` on until there are `depth`.
    #[inline(always)]
    fn walk(&mut self, mut fp: usize, depth: usize, stack: Walkable) {
        for _ in self.len..depth.min(MAX_DEPTH) {
            let Some((next, ret)) = stack.record(fp) else {
                break;
            };
            self.push(ret);
            fp = next;
        }
    }

    /// Captures the call stack of the function this is inlined into: see [`capture`]. Where the
    /// stack is made in place, nothing need be copied.
    #[inline(always)]
    pub fn capture(&mut self, depth: usize, bounds: StackBounds) {
        self.walk(frame_pointer(), depth, bounds.walkable());
    }
}

/// Adds a frame to a hash: a polynomial of the frames, in [`SPREAD`].
#[inline(always)]
fn mix(key: u64, frame: u64, spread: u64) -> u64 {
    key.wrapping_mul(spread).wrapping_add(frame)
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

/// The frame pointer of the function this is inlined into.
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[inline(always)]
fn frame_pointer() -> usize {
    let fp: usize;
    // SAFETY: reads x29 into a register and touches nothing else. As x30 is said to change, the
    // function has saved it, and has made its frame record, before this.
    unsafe {
        core::arch::asm!(
            "mov {}, x29",
            out(reg) fp, out("x30") _,
            options(nomem, nostack, preserves_flags),
        );
    }
    fp
}

#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
fn frame_pointer() -> usize {
    0
}

/// Reads the frame record of the function this is inlined into, which must have one.
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[inline(always)]
fn own_record() -> Option<(usize, u64)> {
    let (next, ret): (usize, u64);
    // SAFETY: the callers, of `Caller` and `Origin`, demand frame pointers. As x30 is said to change,
    // the function has saved it, and has made its frame record, before this.
    unsafe {
        core::arch::asm!(
            "ldp {next}, {ret}, [x29]",
            next = out(reg) next, ret = out(reg) ret, out("x30") _,
            options(readonly, nostack, preserves_flags),
        );
    }
    Some((next, ret))
}

#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
fn own_record() -> Option<(usize, u64)> {
    None
}

/// Reads a frame record inside the bounds of the stack.
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[inline(always)]
fn read_record(fp: usize) -> Option<(usize, u64)> {
    let (next, ret): (usize, u64);
    // SAFETY:
    // 1. `Walkable::record` has checked `fp` against bounds that were given as readable memory of the
    //    running stack. Being unaligned is no error: alignment checks are off but for `sp`.
    // 2. What was read is used as numbers only, and checked before the next step.
    unsafe {
        core::arch::asm!(
            "ldp {next}, {ret}, [{fp}]",
            fp = in(reg) fp, next = lateout(reg) next, ret = lateout(reg) ret,
            options(readonly, nostack, preserves_flags),
        );
    }
    Some((next, ret))
}

#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
fn read_record(_: usize) -> Option<(usize, u64)> {
    None
}
