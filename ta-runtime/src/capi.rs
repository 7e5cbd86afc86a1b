//! GlobalPlatform's and C's memory functions, for C code linked into a TA.
//!
//! **Invariant:** the same heap, accounts and call sites as Rust's allocations; blocks are aligned
//! to 16.

use crate::heap;
use core::alloc::Layout;
use core::ptr::{self, NonNull};

const ALIGN: usize = 16;

/// `TEE_MALLOC_NO_FILL` (GPD_SPE_010 4.11.4): the memory need not be zero.
const HINT_NO_FILL: u32 = 1;

#[inline(always)]
fn allocate(size: usize) -> *mut u8 {
    match Layout::from_size_align(size, ALIGN) {
        Ok(layout) => heap::allocate(layout),
        Err(_) => ptr::null_mut(),
    }
}

#[inline(always)]
fn allocate_zeroed(size: usize) -> *mut u8 {
    let block = allocate(size);
    if !block.is_null() {
        // SAFETY: a block of at least `size` bytes, ours.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

/// A zeroed block of `size` bytes, or null (GPD_SPE_010 4.11.4).
#[unsafe(export_name = "TEE_Malloc")]
extern "C" fn tee_malloc(size: usize, hint: u32) -> *mut u8 {
    if hint & HINT_NO_FILL != 0 {
        allocate(size)
    } else {
        allocate_zeroed(size)
    }
}

/// Resizes a block; null leaves it as it was (GPD_SPE_010 4.11.5). What it gains is zeroed, as libraries that were
/// written for OP-TEE expect.
///
/// # Safety
/// `block` is null or a live block, not used under its old address afterwards.
#[unsafe(export_name = "TEE_Realloc")]
unsafe extern "C" fn tee_realloc(block: *mut u8, size: usize) -> *mut u8 {
    let Some(block) = NonNull::new(block) else {
        return allocate_zeroed(size);
    };
    let had = heap::size_of(block);
    // SAFETY: our contract is the same.
    let moved = unsafe { heap::reallocate(block, ALIGN, size, &heap::call_stack()) };
    if !moved.is_null() && had < size {
        // SAFETY: a block of at least `size` bytes, ours; its user knows of the first `had`.
        unsafe { moved.add(had).write_bytes(0, size - had) };
    }
    moved
}

/// Frees a block; null is none (GPD_SPE_010 4.11.6).
///
/// # Safety
/// `block` is null or a live block, not used any more.
#[unsafe(export_name = "TEE_Free")]
unsafe extern "C" fn tee_free(block: *mut u8) {
    if let Some(block) = NonNull::new(block) {
        // SAFETY: our contract is the same.
        unsafe { heap::free(block) };
    }
}

/// C's `malloc`.
#[unsafe(export_name = "malloc")]
extern "C" fn malloc(size: usize) -> *mut u8 {
    allocate(size)
}

/// C's `calloc`.
#[unsafe(export_name = "calloc")]
extern "C" fn calloc(n: usize, size: usize) -> *mut u8 {
    n.checked_mul(size).map_or(ptr::null_mut(), allocate_zeroed)
}

/// C's `realloc`.
///
/// # Safety
/// As [`tee_realloc`].
#[unsafe(export_name = "realloc")]
unsafe extern "C" fn realloc(block: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: our contract is the same.
    unsafe { tee_realloc(block, size) }
}

/// C's `free`.
///
/// # Safety
/// As [`tee_free`].
#[unsafe(export_name = "free")]
unsafe extern "C" fn free(block: *mut u8) {
    // SAFETY: our contract is the same.
    unsafe { tee_free(block) }
}
