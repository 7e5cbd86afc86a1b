//! Breaking the kernel on purpose, so that its crash reports can be tested, and a look at its books.
//!
//! **Invariant:** only in builds with the feature `test-hooks`.

extern crate alloc;

use alloc::vec::Vec;
use core::hint::black_box;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicUsize, Ordering};
use tally_abi::pta::control::fault;
use tally_arch::Arm;
use tally_crypto::symmetric::sample::{EXPECTED, TEXT, sample};
use tally_mem::machine::ThreadControl;
use tally_mem::owner::OwnerId;

/// Bytes of the block that is lost.
const LOST_BYTES: usize = 40;

/// The address of the block that was lost, its bits inverted: no pointer to it. 0 if none was.
static LOST: AtomicUsize = AtomicUsize::new(0);

/// Breaks the kernel; false if there is no such way, or its books are wrong.
pub(crate) fn fault(kind: u32) -> bool {
    match kind {
        fault::LOSE_BLOCK => return lose_block(),
        fault::FREE_LOST => return free_lost(),
        fault::CHECK_PAGES => return crate::roof::pages_add_up(),
        fault::SAMPLE_CRYPTO => return sample_crypto(),
        fault::PANIC => panic!("asked for by the control pTA"),
        fault::BAD_READ => read_unmapped(),
        fault::STACK_OVERFLOW => {
            recurse(0);
        }
        fault::WRITE_CODE => write_code(),
        _ => {}
    }
    false
}

/// Whether cryptography gives what it should by the CPU's instructions and without.
fn sample_crypto() -> bool {
    let mut text = Vec::new();
    if text.try_reserve_exact(TEXT).is_err() {
        return false;
    }
    text.resize(TEXT, 0);
    let results = [false, true].map(|with_instructions| {
        tally_arch::use_crypto_instructions(with_instructions);
        sample(&mut text)
    });
    results == [Ok(EXPECTED); 2]
}

/// Allocates for the kernel itself, and forgets it. False if there is one already, or no memory.
#[inline(never)]
fn lose_block() -> bool {
    let owner = Arm.set_owner(OwnerId::KERNEL);
    let block = block_to_lose();
    Arm.set_owner(owner);
    let allocated = block.capacity() != 0;
    let mut block = ManuallyDrop::new(block);
    let hidden = !block.as_mut_ptr().expose_provenance();
    let kept = allocated
        && LOST
            .compare_exchange(0, hidden, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if !kept {
        drop(ManuallyDrop::into_inner(block));
    }
    kept
}

/// A function of its own, so that a call stack begins in its caller. Empty without memory.
#[inline(never)]
fn block_to_lose() -> Vec<u8> {
    let mut block = Vec::new();
    match block.try_reserve_exact(LOST_BYTES) {
        Ok(()) => block,
        Err(_) => Vec::new(),
    }
}

/// Frees it. False if there is none.
fn free_lost() -> bool {
    let hidden = LOST.swap(0, Ordering::Relaxed);
    let block = core::ptr::with_exposed_provenance_mut::<u8>(!hidden);
    if hidden == 0 {
        return false;
    }
    // SAFETY: the vector that `lose_block` forgot, of this capacity and no bytes; the swap has given it
    // to us alone.
    drop(unsafe { Vec::from_raw_parts(block, 0, LOST_BYTES) });
    true
}

#[inline(never)]
fn read_unmapped() {
    let nowhere = black_box(0xdead_0000_usize) as *const u64;
    // SAFETY: meant to end the machine; nothing is mapped there.
    unsafe { nowhere.read_volatile() };
}

#[inline(never)]
fn write_code() {
    let code = fault as fn(u32) -> bool as usize as *mut u32;
    // SAFETY: meant to end the machine; code is not writable.
    unsafe { code.write_volatile(0) };
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "meant to overflow the stack")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(depth + 1) + frame[0]
}
