//! The device, opened by the first command that needs it.
//!
//! **Invariant:** it is opened at most once, and not at all for commands that ask nothing of it.

use std::io;
use std::sync::OnceLock;

use tally_abi::{TeeResult, TeeUuid};
use teec::{Error, ErrorOrigin, RawParam, Result, SharedBytes, Transport};
use teec_linux::{DEVICE, LinuxTransport};

/// The way to the trusted OS, when there is one.
#[derive(Debug, Default)]
pub(crate) struct OnDemand {
    opened: OnceLock<io::Result<LinuxTransport>>,
}

impl OnDemand {
    fn get(&self) -> Result<&LinuxTransport> {
        let open = || LinuxTransport::open(DEVICE);
        self.opened
            .get_or_init(open)
            .as_ref()
            .map_err(|_| Error::from_result(TeeResult::ITEM_NOT_FOUND, ErrorOrigin::COMMS))
    }

    /// Why it could not be opened, if that was tried.
    pub(crate) fn trouble(&self) -> Option<&io::Error> {
        self.opened.get()?.as_ref().err()
    }
}

impl Transport for OnDemand {
    fn open_session(&self, uuid: TeeUuid, params: &mut [RawParam<'_>; 4]) -> Result<u32> {
        self.get()?.open_session(uuid, params)
    }

    fn invoke(
        &self,
        session: u32,
        command: u32,
        cancel_id: u32,
        params: &mut [RawParam<'_>; 4],
    ) -> Result<()> {
        self.get()?.invoke(session, command, cancel_id, params)
    }

    fn close_session(&self, session: u32) -> Result<()> {
        self.get()?.close_session(session)
    }

    fn cancel(&self, session: u32, cancel_id: u32) -> Result<()> {
        self.get()?.cancel(session, cancel_id)
    }

    fn allocate_shared(&self, len: usize) -> Result<Box<dyn SharedBytes>> {
        self.get()?.allocate_shared(len)
    }

    fn release_shared(&self, cookie: u64) -> Result<()> {
        self.get()?.release_shared(cookie)
    }
}
