//! The driver's system calls.
//!
//! **Invariant:** every structure handed over lives and has its declared size until the call returns.
#![expect(unsafe_code, reason = "`ioctl` is typed here")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;

use rustix::ioctl::{self, Getter, Ioctl, IoctlOutput, Opcode, Updater, opcode};
use zerocopy::{FromBytes, IntoBytes};

use crate::uapi::{Buffer, Cancel, Close, InvokeArg, MAGIC, OpenArg, ShmAlloc, Version};

const VERSION: Opcode = opcode::read::<Version>(MAGIC, 0);
const SHM_ALLOC: Opcode = opcode::read_write::<ShmAlloc>(MAGIC, 1);
const OPEN_SESSION: Opcode = opcode::read::<Buffer>(MAGIC, 2);
const INVOKE: Opcode = opcode::read::<Buffer>(MAGIC, 3);
const CANCEL: Opcode = opcode::read::<Cancel>(MAGIC, 4);
const CLOSE_SESSION: Opcode = opcode::read::<Close>(MAGIC, 5);

/// An open TEE device.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
}

impl Device {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { file })
    }

    pub(crate) fn version(&self) -> io::Result<Version> {
        // SAFETY: TEE_IOC_VERSION fills a `Version`.
        Ok(unsafe { ioctl::ioctl(self.fd(), Getter::<VERSION, Version>::new())? })
    }

    /// Allocates shared memory; returns its descriptor and number.
    pub(crate) fn allocate(&self, bytes: u64) -> io::Result<(OwnedFd, i32)> {
        let request = Allocate(ShmAlloc {
            size: bytes,
            ..ShmAlloc::default()
        });
        // SAFETY: TEE_IOC_SHM_ALLOC reads and fills a `ShmAlloc` and returns a new descriptor, as
        // `Allocate` says.
        Ok(unsafe { ioctl::ioctl(self.fd(), request)? })
    }

    pub(crate) fn open_session(&self, arg: &mut OpenArg) -> io::Result<()> {
        self.with_buffer::<OPEN_SESSION, _>(arg)
    }

    pub(crate) fn invoke(&self, arg: &mut InvokeArg) -> io::Result<()> {
        self.with_buffer::<INVOKE, _>(arg)
    }

    pub(crate) fn cancel(&self, session: u32, cancel_id: u32) -> io::Result<()> {
        let mut arg = Cancel { cancel_id, session };
        // SAFETY: TEE_IOC_CANCEL reads a `Cancel`.
        unsafe { ioctl::ioctl(self.fd(), Updater::<CANCEL, Cancel>::new(&mut arg)) }
            .map_err(Into::into)
    }

    pub(crate) fn close_session(&self, session: u32) -> io::Result<()> {
        let mut arg = Close { session };
        // SAFETY: TEE_IOC_CLOSE_SESSION reads a `Close`.
        unsafe { ioctl::ioctl(self.fd(), Updater::<CLOSE_SESSION, Close>::new(&mut arg)) }
            .map_err(Into::into)
    }

    fn with_buffer<const OPCODE: Opcode, T: FromBytes + IntoBytes>(
        &self,
        arg: &mut T,
    ) -> io::Result<()> {
        let mut buffer = Buffer {
            address: std::ptr::from_mut(arg).expose_provenance() as u64,
            bytes: size_of::<T>() as u64,
        };
        // SAFETY:
        // 1. These requests take a `Buffer`, which names `arg`: exclusively borrowed during the
        //    call, of the size told.
        // 2. The driver reads and writes within it; any bytes make a `T`.
        unsafe { ioctl::ioctl(self.fd(), Updater::<OPCODE, Buffer>::new(&mut buffer)) }
            .map_err(Into::into)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// TEE_IOC_SHM_ALLOC, whose return value is a descriptor.
struct Allocate(ShmAlloc);

// SAFETY:
// 1. The number is that of the request, which reads and writes one `ShmAlloc`: `as_ptr` names ours.
// 2. What the request returns is a descriptor that nobody owns yet.
unsafe impl Ioctl for Allocate {
    type Output = (OwnedFd, i32);

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        SHM_ALLOC
    }

    fn as_ptr(&mut self) -> *mut core::ffi::c_void {
        std::ptr::from_mut(&mut self.0).cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        extract: *mut core::ffi::c_void,
    ) -> rustix::io::Result<Self::Output> {
        // SAFETY: by the trait's contract the call has succeeded, and `extract` is `as_ptr`'s.
        unsafe {
            let id = (*extract.cast::<ShmAlloc>()).id;
            Ok((OwnedFd::from_raw_fd(out), id))
        }
    }
}
