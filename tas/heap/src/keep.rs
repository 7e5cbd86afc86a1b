//! Blocks to which there is one pointer, in a known place.
//!
//! **Invariant:** what is kept is freed when it is replaced or forgotten.
extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::hint::black_box;
use core::mem::ManuallyDrop;
use ta_runtime::{Error, ErrorKind, Result};
use ta_uuids::heap::keep;

struct Node {
    next: Option<Box<Node>>,
    block: Vec<u8>,
}

/// A block that only a pointer to its middle is kept of.
struct Inside {
    middle: *mut u8,
    len: usize,
    capacity: usize,
}

impl Inside {
    fn new(block: Vec<u8>) -> Self {
        let mut block = ManuallyDrop::new(block);
        let (len, capacity) = (block.len(), block.capacity());
        Self {
            middle: block.as_mut_ptr().wrapping_add(len / 2),
            len,
            capacity,
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let start = self.middle.wrapping_sub(self.len / 2);
        // SAFETY: the parts of the vector that `new` took apart.
        drop(unsafe { Vec::from_raw_parts(start, self.len, self.capacity) });
    }
}

struct Kept {
    plain: Option<Vec<u8>>,
    list: Option<Box<Node>>,
    inside: Option<Inside>,
}

struct Place(UnsafeCell<Kept>);

// SAFETY: the kernel lets one call at a time into an instance.
unsafe impl Sync for Place {}

static KEPT: Place = Place(UnsafeCell::new(Kept {
    plain: None,
    list: None,
    inside: None,
}));

/// Keeps a pointer to `block` at `place`.
pub(crate) fn keep(place: u32, block: Vec<u8>) -> Result<()> {
    // SAFETY: one call at a time is inside, and this function and `forget` call nothing that comes
    // back here.
    let kept = unsafe { &mut *KEPT.0.get() };
    match place {
        keep::STATIC => kept.plain = Some(block),
        keep::LIST => {
            let node = |next, block| Some(Box::new(Node { next, block }));
            kept.list = node(node(node(None, block), Vec::new()), Vec::new());
        }
        keep::INSIDE => kept.inside = Some(Inside::new(block)),
        _ => return Err(Error::new(ErrorKind::BadParameters)),
    }
    Ok(())
}

/// Frees what is kept.
pub(crate) fn forget() {
    // SAFETY: as in `keep`.
    let kept = unsafe { &mut *KEPT.0.get() };
    kept.plain = None;
    kept.inside = None;
    while let Some(node) = kept.list.take() {
        kept.list = node.next;
        drop(node.block);
    }
}

/// Holds `block` by a pointer on the stack, for ever.
pub(crate) fn hold_and_loop(block: Vec<u8>) -> ! {
    overwrite_stack();
    loop {
        black_box(&block);
    }
}

/// Overwrites what earlier calls have left below the caller's frame.
#[inline(never)]
fn overwrite_stack() {
    black_box(&mut [0_u64; 768]);
}
