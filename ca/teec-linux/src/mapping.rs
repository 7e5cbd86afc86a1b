//! Shared memory of the driver, mapped.
//!
//! **Invariant:** the mapping and the memory's descriptor live as long as the value.
#![expect(
    unsafe_code,
    reason = "memory that another world writes to is mapped here"
)]

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::device::Device;

/// Shared memory: a descriptor, a number, bytes.
#[derive(Debug)]
pub(crate) struct Mapping {
    bytes: &'static [AtomicU8],
    id: u64,
    /// Closing it gives the memory back.
    _memory: OwnedFd,
}

impl Mapping {
    /// Allocates and maps `len` bytes, not zero.
    pub(crate) fn new(device: &Device, len: usize) -> io::Result<Self> {
        let (memory, id) = device.allocate(len as u64)?;
        let id = u64::try_from(id).map_err(|_| io::ErrorKind::InvalidData)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the system's choice touches no memory of ours.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                memory.as_fd(),
                0,
            )?
        };
        // SAFETY:
        // 1. `len` bytes are mapped from `start` on until `drop`, which takes the whole value;
        //    no borrow of `bytes` outlives it, since the field is private.
        // 2. Other writers are concurrent by nature; atomics allow for them.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU8>(), len) };
        Ok(Self {
            bytes,
            id,
            _memory: memory,
        })
    }

    /// The memory's number in parameters.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Copies out; what lies beyond the end reads as zero.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.bytes.get(offset..).unwrap_or_default();
        for (i, byte) in to.iter_mut().enumerate() {
            *byte = from.get(i).map_or(0, |from| from.load(Ordering::Relaxed));
        }
    }

    /// Copies in; what would go beyond the end is dropped.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) {
        let to = self.bytes.get(offset..).unwrap_or_default();
        for (to, byte) in to.iter().zip(from) {
            to.store(*byte, Ordering::Relaxed);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let start = self.bytes.as_ptr().cast_mut().cast();
        // SAFETY: exactly what `new` mapped; nothing borrows it any more.
        let unmapped = unsafe { munmap(start, self.bytes.len()) };
        debug_assert!(unmapped.is_ok(), "a whole mapping can be unmapped");
    }
}
