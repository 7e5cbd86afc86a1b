//! Messages of yielding calls, copied once and then parsed.
//!
//! **Invariant:** a [`Message`] is the kernel's own copy; nothing in it changes when the normal
//! world writes to the original.
//! **Knows nothing of:** what a command does.

use crate::shm::{Shm, ShmError};
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr};
use tally_abi::{Origin, TeeResult, TeeUuid};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::NormalMemory;
use zerocopy::{FromZeros, IntoBytes};

/// Most parameters of a message: two of the protocol and four of the application.
pub const MAX_PARAMS: usize = 6;

/// Where a message lies in the normal world.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// At a physical address; the whole argument area is contiguous.
    Physical(PhysAddr),
    /// In registered shared memory, at an offset.
    Registered(&'a Shm, u64),
}

impl Place<'_> {
    fn read(
        &self,
        memory: &impl NormalMemory,
        at: usize,
        buf: &mut [u8],
    ) -> Result<(), MessageError> {
        match self {
            Self::Physical(base) => {
                let pa = base
                    .checked_add(at as u64)
                    .ok_or(MessageError::BadAddress)?;
                if memory.read_normal(pa, buf) {
                    Ok(())
                } else {
                    Err(MessageError::BadAddress)
                }
            }
            Self::Registered(shm, offset) => {
                let offset = offset
                    .checked_add(at as u64)
                    .ok_or(MessageError::BadAddress)?;
                shm.read(memory, offset, buf)?;
                Ok(())
            }
        }
    }
}

/// Why a message is refused before its command is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Address not normal-world RAM, not 8-byte aligned, or wrapping.
    BadAddress,
    /// More than [`MAX_PARAMS`] parameters.
    TooManyParams,
}

impl From<ShmError> for MessageError {
    fn from(_: ShmError) -> Self {
        Self::BadAddress
    }
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Fixed part.
    pub header: MsgHeader,
    params: [MsgParam; MAX_PARAMS],
}

impl Message {
    /// Copies a message from the normal world.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn read(memory: &impl NormalMemory, place: Place<'_>) -> Result<Self, MessageError> {
        let aligned = match place {
            Place::Physical(pa) => pa.is_aligned(8),
            Place::Registered(shm, offset) => (shm.first_offset() as u64)
                .checked_add(offset)
                .is_some_and(|at| at % 8 == 0),
        };
        if !aligned {
            return Err(MessageError::BadAddress);
        }
        let mut header = MsgHeader::new_zeroed();
        place.read(memory, 0, header.as_mut_bytes())?;
        let count = header.num_params as usize;
        if count > MAX_PARAMS {
            return Err(MessageError::TooManyParams);
        }
        let mut params = [MsgParam::default(); MAX_PARAMS];
        if count > 0 {
            place.read(
                memory,
                size_of::<MsgHeader>(),
                params[..count].as_mut_bytes(),
            )?;
        }
        Ok(Self { header, params })
    }

    /// A message made by the kernel, for tests and fuzzing.
    #[must_use]
    pub fn from_parts(mut header: MsgHeader, given: &[MsgParam]) -> Self {
        let mut params = [MsgParam::default(); MAX_PARAMS];
        let count = given.len().min(MAX_PARAMS);
        params[..count].copy_from_slice(&given[..count]);
        header.num_params = u32::try_from(count).unwrap_or(0);
        Self { header, params }
    }

    /// Its parameters.
    #[must_use]
    pub fn params(&self) -> &[MsgParam] {
        &self.params[..self.header.num_params as usize]
    }

    /// Bytes that it takes, which is where an RPC argument follows.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        arg_size(self.header.num_params as usize)
    }

    /// The meta parameters of an open-session message and the parameters behind them.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` when they are not exactly two value inputs marked as meta.
    pub fn open_session(&self) -> Result<(OpenSession, &[MsgParam]), TeeResult> {
        const META_VALUE: u64 = attr::VALUE_INPUT | attr::META;
        match self.params() {
            [target, client, rest @ ..]
                if target.attr == META_VALUE && client.attr == META_VALUE =>
            {
                let open = OpenSession {
                    target: TeeUuid::from_value_pair(target.a, target.b),
                    client: TeeUuid::from_value_pair(client.a, client.b),
                    login: client.c as u32,
                };
                Ok((open, rest))
            }
            _ => Err(TeeResult::BAD_PARAMETERS),
        }
    }
}

/// The meta parameters of an open-session message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// The TA wanted.
    pub target: TeeUuid,
    /// Who wants it, as the normal world says.
    pub client: TeeUuid,
    /// How the client logged in (`TEE_LOGIN_*`).
    pub login: u32,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The code.
    pub result: TeeResult,
    /// Who says so.
    pub origin: Origin,
}

impl Outcome {
    /// Something the kernel says.
    #[must_use]
    pub const fn tee(result: TeeResult) -> Self {
        Self {
            result,
            origin: Origin::Tee,
        }
    }

    /// Something the application says.
    #[must_use]
    pub const fn app(result: TeeResult) -> Self {
        Self {
            result,
            origin: Origin::TrustedApp,
        }
    }
}
