//! Entries from the normal world, and kernel threads with their own stacks.
//!
//! **Invariant:** a suspended thread's context lies on its own stack and is complete before the
//! roof hears of the suspension, so any CPU may resume it. The current thread is told from the
//! stack pointer, never from per-CPU data, so it is right wherever the thread runs.
//! **Knows nothing of:** which thread is free; the roof decides that in [`Hooks::yield_entry`].

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering};

use tally_abi::opteed::ret;
use tally_abi::smc;
use tally_mem::machine::ThreadControl;
use tally_mem::owner::OwnerId;

use crate::config::*;
use crate::{Arm, crash, gic, mmu, percpu, vectors};
use tally_core::call::entry::Entry;

/// What the roof does for the machine floor. Everything but [`Self::thread_main`] runs on a CPU's
/// small stack with every interrupt masked, and must not suspend.
pub trait Hooks {
    /// Answers a fast call; x0..x7 in, x0..x3 out.
    fn fast_call(&self, args: &[u64; 8]) -> [u64; 4];
    /// Decides what becomes of a yielding call. [`Entry::Start`] and [`Entry::Resume`] claim the
    /// thread: it must be free or suspended, and no other call may be given it.
    fn yield_entry(&self, args: &[u64; 8]) -> Entry;
    /// Runs a yielding call on its thread's stack; x0..x3 out.
    fn thread_main(&self, thread: usize, args: &[u64; 8]) -> [u64; 4];
    /// A thread returned from [`Self::thread_main`] and is free from now on.
    fn thread_done(&self, thread: usize);
    /// A thread is suspended and may be resumed from now on.
    fn thread_suspended(&self, thread: usize);
    /// Prints the account of memory after a crash. Locks may be held: try, never wait.
    fn panic_account(&self, out: &mut dyn fmt::Write);
}

/// A thread's state outside of its stack.
struct Thread {
    /// Stack pointer while suspended.
    saved_sp: AtomicU64,
    /// Where the resuming call's arguments go, while suspended: on the thread's stack.
    resume_args: UnsafeCell<*mut [u64; 8]>,
    /// Owner of the heap blocks it allocates.
    owner: AtomicU16,
}

// SAFETY: the cells are used by the thread itself until it is suspended, then by the one CPU to
// which the roof gave it by `Entry::Resume`.
unsafe impl Sync for Thread {}

static THREADS: [Thread; NUM_THREADS] = [const {
    Thread {
        saved_sp: AtomicU64::new(0),
        resume_args: UnsafeCell::new(core::ptr::null_mut()),
        owner: AtomicU16::new(OwnerId::KERNEL.0),
    }
}; NUM_THREADS];

/// A reference to a trait object as something that a pointer can point to.
struct HooksCell(UnsafeCell<&'static (dyn Hooks + Sync)>);

// SAFETY: written by `set_hooks` alone, before `HOOKS` points to it.
unsafe impl Sync for HooksCell {}

static ROOF: HooksCell = HooksCell(UnsafeCell::new(&Parked));
static PARKED: HooksCell = HooksCell(UnsafeCell::new(&Parked));
static HOOKS: AtomicPtr<&'static (dyn Hooks + Sync)> = AtomicPtr::new(PARKED.0.get());

/// The hooks of a machine that has crashed: whoever enters stays.
struct Parked;

impl Hooks for Parked {
    fn fast_call(&self, _: &[u64; 8]) -> [u64; 4] {
        crash::park()
    }
    fn yield_entry(&self, _: &[u64; 8]) -> Entry {
        crash::park()
    }
    fn thread_main(&self, _: usize, _: &[u64; 8]) -> [u64; 4] {
        crash::park()
    }
    fn thread_done(&self, _: usize) {}
    fn thread_suspended(&self, _: usize) {}
    fn panic_account(&self, _: &mut dyn fmt::Write) {}
}

/// Registers the roof. Called once, before the normal world runs.
pub(crate) fn set_hooks(hooks: &'static (dyn Hooks + Sync)) {
    // SAFETY: no CPU reads `ROOF` before the store below, and this is called once.
    unsafe { *ROOF.0.get() = hooks };
    HOOKS.store(ROOF.0.get(), Ordering::Release);
}

/// Makes every CPU that enters from now on stay here. Returns the hooks that were registered.
pub(crate) fn park_all() -> &'static (dyn Hooks + Sync) {
    let old = HOOKS.swap(PARKED.0.get(), Ordering::AcqRel);
    // SAFETY: `HOOKS` always points to one of the two cells, whose contents are set by then.
    unsafe { *old }
}

fn hooks() -> &'static (dyn Hooks + Sync) {
    // SAFETY: as in `park_all`.
    unsafe { *HOOKS.load(Ordering::Acquire) }
}

global_asm!(
    r#"
    .pushsection .text.vectors, "ax"
    // x0..x7: a fast call.
    .balign 64
    .global tally_fast_entry
tally_fast_entry:
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #{cpu_stack}]
    sub     sp, x9, #96
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    mov     x0, sp
    add     x1, sp, #64
    mov     x29, xzr
    bl      {fast}
1:  ldp     x1, x2, [sp, #64]
    ldp     x3, x4, [sp, #80]
    // x1..x4: to the normal world.
2:  mov     w0, #{call_done}
    movk    w0, #0xbe00, lsl #16
    smc     #0
    b       .

    // x0..x7: a yielding call.
    .balign 64
    .global tally_yield_entry
tally_yield_entry:
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #{cpu_stack}]
    sub     sp, x9, #96
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    mov     x0, sp
    add     x1, sp, #64
    mov     x29, xzr
    bl      {yielding}
    cbz     x0, 1b
    mov     sp, x0
    cbz     x1, 3f
    // A new thread: its stack holds arguments and room for the answer.
    add     x1, sp, #64
    mov     x29, xzr
    bl      {main}
    ldp     x19, x20, [sp, #64]
    ldp     x21, x22, [sp, #80]
    mov     x0, sp
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #{cpu_stack}]
    mov     sp, x9
    mov     x29, xzr
    bl      {done}
    b       4f
    // A suspended thread: returns from tally_thread_suspend.
3:  ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #96
    ret

    // x0: answer, x1: where the stack pointer is kept.
    .global tally_thread_suspend
tally_thread_suspend:
    sub     sp, sp, #96
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mov     x9, sp
    str     x9, [x1]
    ldp     x19, x20, [x0]
    ldp     x21, x22, [x0, #16]
    mov     x0, sp
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #{cpu_stack}]
    mov     sp, x9
    mov     x29, xzr
    bl      {suspended}
4:  mov     x1, x19
    mov     x2, x20
    mov     x3, x21
    mov     x4, x22
    b       2b

    // A secure interrupt came while the normal world ran.
    .global tally_fiq_entry
tally_fiq_entry:
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #{cpu_stack}]
    mov     sp, x9
    mov     x29, xzr
    bl      {native}
    mov     w0, #{fiq_done}
    movk    w0, #0xbe00, lsl #16
    smc     #0
    b       .
    .popsection
    "#,
    cpu_stack = const percpu::CPU_STACK,
    fast = sym fast_call,
    yielding = sym yielding_call,
    main = sym thread_main,
    done = sym thread_done,
    suspended = sym thread_suspended,
    native = sym native_interrupt,
    call_done = const ret::CALL_DONE & 0xffff,
    fiq_done = const ret::FIQ_DONE & 0xffff,
);

unsafe extern "C" {
    /// Saves the caller, tells the roof, leaves with `out`; returns when resumed.
    fn tally_thread_suspend(out: *const [u64; 4], saved_sp: *mut u64);
}

extern "C" fn fast_call(args: &[u64; 8], out: &mut [u64; 4]) {
    *out = hooks().fast_call(args);
}

/// Where to go after a yielding call was looked at.
#[repr(C)]
struct Switch {
    /// Stack to switch to, 0 to reply at once.
    sp: u64,
    /// 1 to start a thread there, 0 to resume one.
    start: u64,
}

extern "C" fn yielding_call(args: &[u64; 8], out: &mut [u64; 4]) -> Switch {
    match hooks().yield_entry(args) {
        Entry::Reply(reply) => {
            *out = reply;
            Switch { sp: 0, start: 0 }
        }
        Entry::Start(thread) => {
            THREADS[thread]
                .owner
                .store(OwnerId::KERNEL.0, Ordering::Relaxed);
            let sp = mmu::stack_top(thread) - SWITCH_FRAME_BYTES;
            // SAFETY: the top of a free thread's stack, by the contract of `yield_entry`.
            unsafe { (sp as *mut [u64; 8]).write(*args) };
            Switch { sp, start: 1 }
        }
        Entry::Resume(thread) => {
            let thread = &THREADS[thread];
            // SAFETY:
            // 1. The thread is suspended and ours alone, by the contract of `yield_entry`.
            // 2. So `resume_args` points to the array that `suspend` keeps alive on its stack.
            unsafe {
                (*thread.resume_args.get()).write(*args);
                Switch {
                    sp: thread.saved_sp.load(Ordering::Relaxed),
                    start: 0,
                }
            }
        }
    }
}

extern "C" fn thread_main(args: &[u64; 8], out: &mut [u64; 4]) {
    *out = hooks().thread_main(thread_at(args.as_ptr() as u64).unwrap_or(0), args);
}

extern "C" fn thread_done(sp: u64) {
    hooks().thread_done(thread_at(sp).unwrap_or(0));
}

extern "C" fn thread_suspended(sp: u64) {
    hooks().thread_suspended(thread_at(sp).unwrap_or(0));
}

extern "C" fn native_interrupt() {
    gic::handle_native();
}

/// A foreign interrupt came in an interruptible window; called by the vector on the thread's
/// stack with every register saved there.
pub(crate) extern "C" fn foreign_interrupt() {
    let thread = current_thread().unwrap_or(0);
    suspend([u64::from(smc::ret::RPC_FOREIGN_INTR), 0, 0, thread as u64]);
}

fn suspend(out: [u64; 4]) -> [u64; 8] {
    let mut args = [0; 8];
    let Some(thread) = current_thread() else {
        unreachable!("only threads suspend");
    };
    vectors::take();
    let thread = &THREADS[thread];
    // SAFETY:
    // 1. The cells are the current thread's own until it is suspended.
    // 2. `args` and `out` live on this stack until the thread is resumed.
    unsafe {
        *thread.resume_args.get() = &raw mut args;
        tally_thread_suspend(&raw const out, thread.saved_sp.as_ptr());
    }
    args
}

/// Stack pointer of a thread that is suspended; of another one, where it was last.
pub(crate) fn saved_stack_pointer(thread: usize) -> u64 {
    let thread = THREADS.get(thread);
    thread.map_or(0, |thread| thread.saved_sp.load(Ordering::Relaxed))
}

fn stack_pointer() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

fn thread_at(address: u64) -> Option<usize> {
    let slot = (address.wrapping_sub(STACKS_BASE) / STACK_SLOT_BYTES) as usize;
    (slot < NUM_THREADS).then_some(slot)
}

/// The thread that runs this; `None` at boot, in fast calls, entries and crash reports.
#[must_use]
pub fn current_thread() -> Option<usize> {
    thread_at(stack_pointer())
}

/// Whom a heap block allocated here and now belongs to. A few instructions, no lock.
#[must_use]
pub fn current_owner() -> OwnerId {
    let owner = match current_thread() {
        Some(thread) => &THREADS[thread].owner,
        // Never suspended here, as this is not a thread.
        None => &percpu::this().owner,
    };
    OwnerId(owner.load(Ordering::Relaxed))
}

/// The running stack from here up to its top, as addresses: what a walk by frame pointers may read.
#[inline(always)]
#[must_use]
pub fn stack_bounds() -> (usize, usize) {
    let sp = stack_pointer();
    // A stack lies at the end of its slot, and slots are aligned to their size.
    (sp as usize, ((sp | (STACK_SLOT_BYTES - 1)) + 1) as usize)
}

/// Sets whom heap blocks belong to that this CPU allocates outside of threads; returns the
/// previous owner. Not for threads.
pub fn set_default_owner(owner: OwnerId) -> OwnerId {
    OwnerId(percpu::set_owner(owner.0))
}

impl ThreadControl for Arm {
    fn suspend(&self, out: [u64; 4]) -> [u64; 8] {
        suspend(out)
    }

    #[inline]
    fn interruptible<R>(&self, work: impl FnOnce() -> R) -> R {
        // SAFETY: the vectors save everything; the caller is a thread and holds no lock.
        unsafe { asm!("msr daifclr, #3", options(nostack, preserves_flags)) };
        let result = work();
        // SAFETY: masks.
        unsafe { asm!("msr daifset, #3", options(nostack, preserves_flags)) };
        result
    }

    fn thread_id(&self) -> usize {
        current_thread().unwrap_or(0)
    }

    fn set_owner(&self, owner: OwnerId) -> OwnerId {
        let cell = match current_thread() {
            Some(thread) => &THREADS[thread].owner,
            None => &percpu::this().owner,
        };
        // The owner is the thread's own: no one else writes it, so no atomic swap is needed.
        let old = cell.load(Ordering::Relaxed);
        cell.store(owner.0, Ordering::Relaxed);
        OwnerId(old)
    }

    fn stack_left(&self) -> usize {
        let sp = stack_pointer();
        mmu::stack_at(sp).map_or(0, |(_, stack)| sp.saturating_sub(stack.start) as usize)
    }
}
