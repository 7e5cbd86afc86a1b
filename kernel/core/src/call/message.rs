//! Messages of yielding calls, copied once and then parsed.
//!
//! **Invariant:** a [`Message`] is the kernel's own copy; nothing in it changes when the normal
//! world writes to the original.

use crate::call::args::Args;
use crate::call::shm::{Shm, ShmError};
use core::mem::offset_of;
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr, login};
use tally_abi::{Origin, TeeResult, TeeUuid};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::NormalMemory;
use zerocopy::IntoBytes;

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

/// A message, and the answer to it once there is one.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Fixed part.
    pub header: MsgHeader,
    params: [MsgParam; MAX_PARAMS],
    /// Parameters that the answer changes, a bit each.
    changed: u32,
}

impl Message {
    /// Copies a message from the normal world.
    ///
    /// # Errors
    /// [`MessageError`]; then what was read means nothing.
    pub fn read(
        &mut self,
        memory: &impl NormalMemory,
        place: Place<'_>,
    ) -> Result<(), MessageError> {
        let aligned = match place {
            Place::Physical(pa) => pa.is_aligned(8),
            Place::Registered(shm, offset) => (shm.first_offset() as u64)
                .checked_add(offset)
                .is_some_and(|at| at % 8 == 0),
        };
        if !aligned {
            return Err(MessageError::BadAddress);
        }
        place.read(memory, 0, self.header.as_mut_bytes())?;
        let count = self.header.num_params as usize;
        if count > MAX_PARAMS {
            return Err(MessageError::TooManyParams);
        }
        if count > 0 {
            let params = self.params[..count].as_mut_bytes();
            place.read(memory, size_of::<MsgHeader>(), params)?;
        }
        Ok(())
    }

    /// Takes what an operation put out into the parameters behind the first `skip`.
    pub fn update(&mut self, skip: usize, args: &Args) {
        let count = self.header.num_params as usize;
        let params = self.params[..count].iter_mut().enumerate().skip(skip);
        for (index, (n, param)) in params.enumerate() {
            if args.update_param(index, param) {
                self.changed |= 1 << n;
            }
        }
    }

    /// Writes the answer: the words from `session` to `ret_origin`, and of changed parameters all but the
    /// attributes. The rest is the client's. `write` takes an offset and bytes.
    pub fn write_back(&self, mut write: impl FnMut(usize, &[u8]) -> bool) -> bool {
        let session = offset_of!(MsgHeader, session);
        let words = session..offset_of!(MsgHeader, ret_origin) + size_of::<u32>();
        if !write(session, &self.header.as_bytes()[words]) {
            return false;
        }
        let mut changed = self.changed;
        while changed != 0 {
            let n = changed.trailing_zeros() as usize;
            changed &= changed - 1;
            let at = size_of::<MsgHeader>() + n * size_of::<MsgParam>() + size_of::<u64>();
            if !write(at, &self.params[n].as_bytes()[size_of::<u64>()..]) {
                return false;
            }
        }
        true
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

    /// The meta parameters of an open-session message, and how many those are.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` when they are not exactly two value inputs marked as meta, or the login is none that the normal
    /// world may have: what a TA is to another, the kernel alone says.
    pub fn open_session(&self) -> Result<(OpenSession, usize), TeeResult> {
        const META_VALUE: u64 = attr::VALUE_INPUT | attr::META;
        match self.params() {
            [target, client, ..] if target.attr == META_VALUE && client.attr == META_VALUE => {
                let named = TeeUuid::from_value_pair(client.a, client.b);
                let login = u32::try_from(client.c).map_err(|_| TeeResult::BAD_PARAMETERS)?;
                let client = match login {
                    // Nobody in particular, whatever is said.
                    login::PUBLIC | login::REE_KERNEL => TeeUuid::nil(),
                    login::USER
                    | login::GROUP
                    | login::APPLICATION
                    | login::APPLICATION_USER
                    | login::APPLICATION_GROUP => named,
                    _ => return Err(TeeResult::BAD_PARAMETERS),
                };
                let target = TeeUuid::from_value_pair(target.a, target.b);
                let open = OpenSession {
                    target,
                    client,
                    login,
                };
                Ok((open, 2))
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
