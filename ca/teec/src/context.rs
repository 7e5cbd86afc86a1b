//! Contexts, sessions and shared memory.
//!
//! **Invariant:** a [`Session`] is closed and a [`SharedMemory`] is released exactly once, on drop
//! at the latest.

use alloc::boxed::Box;
use core::fmt;

use crate::param::{Operation, Param};
use crate::transport::{RawParam, SharedBytes, Transport};
use crate::{Result, Uuid};

/// A connection to the trusted OS.
#[derive(Clone, Copy)]
pub struct Context<'t> {
    transport: &'t dyn Transport,
}

impl<'t> Context<'t> {
    /// Connects over `transport`.
    #[must_use]
    pub const fn new(transport: &'t dyn Transport) -> Self {
        Self { transport }
    }

    /// The transport below.
    #[must_use]
    pub const fn transport(&self) -> &'t dyn Transport {
        self.transport
    }

    /// Opens a session with the application `uuid`.
    ///
    /// # Errors
    /// What the trusted OS or the application says.
    pub fn open_session(&self, uuid: impl Into<Uuid>) -> Result<Session<'t>> {
        let mut none = NO_PARAMS;
        self.open(uuid.into(), &mut none)
    }

    /// Opens a session with parameters.
    ///
    /// # Errors
    /// As [`Context::open_session`].
    pub fn open_session_with_operation<A: Param, B: Param, C: Param, D: Param>(
        &self,
        uuid: impl Into<Uuid>,
        operation: &mut Operation<A, B, C, D>,
    ) -> Result<Session<'t>> {
        self.open(uuid.into(), &mut operation.raw())
    }

    fn open(&self, uuid: Uuid, params: &mut [RawParam<'_>; 4]) -> Result<Session<'t>> {
        let id = self.transport.open_session(uuid.0, params)?;
        Ok(Session {
            transport: self.transport,
            id: Some(id),
        })
    }

    /// Asks for the operation that was started as `started` (see [`Operation::new`]) in the
    /// session `id` to be cancelled.
    ///
    /// # Errors
    /// If there is no such session.
    pub fn cancel(&self, id: u32, started: u32) -> Result<()> {
        self.transport.cancel(id, started)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

const NO_PARAMS: [RawParam<'static>; 4] = [const { RawParam::None }; 4];

/// A session with one application.
pub struct Session<'t> {
    transport: &'t dyn Transport,
    id: Option<u32>,
}

impl Session<'_> {
    /// The session's id in messages.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id.unwrap_or(0)
    }

    /// Invokes `command`.
    ///
    /// # Errors
    /// What the trusted OS or the application says.
    pub fn invoke_command<A: Param, B: Param, C: Param, D: Param>(
        &mut self,
        command: u32,
        operation: &mut Operation<A, B, C, D>,
    ) -> Result<()> {
        let cancel_id = operation.cancel_id();
        self.transport
            .invoke(self.id(), command, cancel_id, &mut operation.raw())
    }

    /// Invokes `command` without parameters.
    ///
    /// # Errors
    /// As [`Session::invoke_command`].
    pub fn invoke_plain(&mut self, command: u32) -> Result<()> {
        let mut none = NO_PARAMS;
        self.transport.invoke(self.id(), command, 0, &mut none)
    }

    /// Closes the session, saying how that went.
    ///
    /// # Errors
    /// What the trusted OS says.
    pub fn close(mut self) -> Result<()> {
        self.close_now()
    }

    fn close_now(&mut self) -> Result<()> {
        match self.id.take() {
            Some(id) => self.transport.close_session(id),
            None => Ok(()),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Nobody is left to tell: the session is gone either way.
        let _ = self.close_now();
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.id())
    }
}

/// Shared memory, registered with the trusted OS.
pub struct SharedMemory<'t> {
    transport: &'t dyn Transport,
    bytes: Option<Box<dyn SharedBytes>>,
}

impl<'t> SharedMemory<'t> {
    /// Allocates and registers `len` bytes.
    ///
    /// # Errors
    /// `OutOfMemory` of either side.
    pub fn allocate(context: &Context<'t>, len: usize) -> Result<Self> {
        let bytes = context.transport.allocate_shared(len)?;
        Ok(Self {
            transport: context.transport,
            bytes: Some(bytes),
        })
    }

    /// Size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names it in parameters.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.bytes.as_ref().map_or(0, |bytes| bytes.cookie())
    }

    /// Copies out of it.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        if let Some(bytes) = &self.bytes {
            bytes.read(offset, to);
        }
    }

    /// Copies into it.
    pub fn write(&self, offset: usize, from: &[u8]) {
        if let Some(bytes) = &self.bytes {
            bytes.write(offset, from);
        }
    }

    /// Releases it, saying how that went.
    ///
    /// # Errors
    /// `Busy` if the trusted OS still uses it; it then stays registered.
    pub fn release(mut self) -> Result<()> {
        self.release_now()
    }

    fn release_now(&mut self) -> Result<()> {
        match self.bytes.take() {
            Some(bytes) => self.transport.release_shared(bytes.cookie()),
            None => Ok(()),
        }
    }
}

impl Drop for SharedMemory<'_> {
    fn drop(&mut self) {
        // Nobody is left to tell: the transport keeps memory that is still registered.
        let _ = self.release_now();
    }
}

impl fmt::Debug for SharedMemory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedMemory({:#x})", self.cookie())
    }
}
