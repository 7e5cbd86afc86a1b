//! Breaking the kernel on purpose, so that its crash reports can be tested.
//!
//! **Invariant:** only in builds with the feature `test-hooks`.
//! **Knows nothing of:** what the reports look like.

use core::hint::black_box;
use tally_abi::pta::control::fault;

/// Breaks the kernel; returns if there is no such way.
pub(crate) fn fault(kind: u32) {
    match kind {
        fault::PANIC => panic!("asked for by the control pTA"),
        fault::BAD_READ => read_unmapped(),
        fault::STACK_OVERFLOW => {
            recurse(0);
        }
        fault::WRITE_CODE => write_code(),
        _ => {}
    }
}

#[inline(never)]
fn read_unmapped() {
    let nowhere = black_box(0xdead_0000_usize) as *const u64;
    // SAFETY: meant to end the machine; nothing is mapped there.
    unsafe { nowhere.read_volatile() };
}

#[inline(never)]
fn write_code() {
    let code = fault as fn(u32) as usize as *mut u32;
    // SAFETY: meant to end the machine; code is not writable.
    unsafe { code.write_volatile(0) };
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "meant to overflow the stack")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(depth + 1) + frame[0]
}
