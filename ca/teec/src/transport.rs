//! Transport: carries calls to the trusted OS.
//!
//! **Invariant:** a transport writes results only into the parameters it was given.

use alloc::boxed::Box;
use tally_abi::TeeUuid;

use crate::Result;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the trusted application.
    Input,
    /// From the trusted application.
    Output,
    /// Both ways.
    Inout,
}

/// Memory of the caller, lent for one call.
#[derive(Debug)]
pub enum TempMemory<'a> {
    /// No memory: asks how much is needed.
    Null(Direction),
    /// Read by the application.
    Input(&'a [u8]),
    /// Written by the application.
    Output(&'a mut [u8]),
    /// Read and written.
    Inout(&'a mut [u8]),
}

/// One parameter on its way; results are written through the references.
#[derive(Debug)]
pub enum RawParam<'a> {
    /// None.
    None,
    /// Two numbers.
    Value {
        /// Which way.
        direction: Direction,
        /// First number.
        a: &'a mut u32,
        /// Second number.
        b: &'a mut u32,
    },
    /// Memory lent for this call.
    Temp {
        /// The memory.
        memory: TempMemory<'a>,
        /// Out: bytes written, or needed.
        size: &'a mut usize,
    },
    /// Part of registered shared memory.
    Registered {
        /// Which way.
        direction: Direction,
        /// Names the shared memory.
        cookie: u64,
        /// Offset in bytes.
        offset: usize,
        /// In: size in bytes; out: bytes written, or needed.
        size: &'a mut usize,
    },
}

/// Shared memory that a transport owns.
pub trait SharedBytes: Send {
    /// Size in bytes.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names it in parameters.
    fn cookie(&self) -> u64;

    /// Copies out of it; what lies beyond its end reads as zero.
    fn read(&self, offset: usize, to: &mut [u8]);

    /// Copies into it; what would go beyond its end is dropped.
    fn write(&self, offset: usize, from: &[u8]);
}

/// A way to the trusted OS.
pub trait Transport: Sync {
    /// Opens a session and returns its id.
    ///
    /// # Errors
    /// What the trusted OS or the application says, or the transport's own.
    fn open_session(&self, uuid: TeeUuid, params: &mut [RawParam<'_>; 4]) -> Result<u32>;

    /// Invokes `command`. `cancel_id` names the operation for [`Transport::cancel`].
    ///
    /// # Errors
    /// As [`Transport::open_session`].
    fn invoke(
        &self,
        session: u32,
        command: u32,
        cancel_id: u32,
        params: &mut [RawParam<'_>; 4],
    ) -> Result<()>;

    /// Closes a session.
    ///
    /// # Errors
    /// If there is no such session.
    fn close_session(&self, session: u32) -> Result<()>;

    /// Asks for an operation in flight to be cancelled.
    ///
    /// # Errors
    /// If there is no such session.
    fn cancel(&self, session: u32, cancel_id: u32) -> Result<()>;

    /// Allocates shared memory and registers it.
    ///
    /// # Errors
    /// `OutOfMemory` of either side.
    fn allocate_shared(&self, len: usize) -> Result<Box<dyn SharedBytes>>;

    /// Unregisters shared memory.
    ///
    /// # Errors
    /// `BadParameters` if it is not registered, `Busy` if it is in use.
    fn release_shared(&self, cookie: u64) -> Result<()>;
}
