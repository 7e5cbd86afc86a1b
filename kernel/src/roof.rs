//! What the kernel does until its real parts are wired: fast calls and an echo.
//!
//! **Invariant:** none worth the name; for bringing up the machine floor.
//! **Knows nothing of:** messages.

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use log::info;
use tally_abi::smc::{self, FunctionId, ret};
use tally_arch::config::NUM_THREADS;
use tally_arch::{Arm, BootInfo, Entry, Hooks};
use tally_core::machine::ThreadControl;

tally_arch::entry!(main);

const FREE: u8 = 0;
const RUNNING: u8 = 1;
const SUSPENDED: u8 = 2;

struct Roof {
    threads: [AtomicU8; NUM_THREADS],
}

static ROOF: Roof = Roof {
    threads: [const { AtomicU8::new(FREE) }; NUM_THREADS],
};

fn main(boot: &BootInfo) -> &'static (dyn Hooks + Sync) {
    info!("device tree at {:?}", boot.device_tree);
    &ROOF
}

fn code(value: u32) -> [u64; 4] {
    [u64::from(value), 0, 0, 0]
}

impl Hooks for Roof {
    fn fast_call(&self, args: &[u64; 8]) -> [u64; 4] {
        match FunctionId(args[0] as u32) {
            FunctionId::CALLS_UID => smc::CALLS_UID.map(u64::from),
            FunctionId::CALLS_COUNT => code(smc::CALLS_COUNT),
            FunctionId::GET_THREAD_COUNT => [u64::from(ret::OK), NUM_THREADS as u64, 0, 0],
            _ => code(ret::UNKNOWN_FUNCTION),
        }
    }

    fn yield_entry(&self, args: &[u64; 8]) -> Entry {
        let claim = |thread: usize, from| {
            self.threads[thread]
                .compare_exchange(from, RUNNING, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        };
        if FunctionId(args[0] as u32) == FunctionId::RETURN_FROM_RPC {
            let thread = args[3] as usize;
            if thread < NUM_THREADS && claim(thread, SUSPENDED) {
                return Entry::Resume(thread);
            }
            return Entry::Reply(code(ret::ERESUME));
        }
        match (0..NUM_THREADS).find(|&thread| claim(thread, FREE)) {
            Some(thread) => Entry::Start(thread),
            None => Entry::Reply(code(ret::ETHREAD_LIMIT)),
        }
    }

    fn thread_main(&self, thread: usize, args: &[u64; 8]) -> [u64; 4] {
        let back = Arm.suspend([u64::from(ret::RPC_CMD), args[1], args[2], thread as u64]);
        [0, args[1], args[2], back[1]]
    }

    fn thread_done(&self, thread: usize) {
        self.threads[thread].store(FREE, Ordering::Release);
    }

    fn thread_suspended(&self, thread: usize) {
        self.threads[thread].store(SUSPENDED, Ordering::Release);
    }

    fn panic_account(&self, out: &mut dyn fmt::Write) {
        let _ = writeln!(out, "no account yet");
    }
}

/// No heap yet.
struct NoHeap;

// SAFETY: never gives memory out.
unsafe impl core::alloc::GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
}

#[global_allocator]
static HEAP: NoHeap = NoHeap;
