//! `teec`'s transport over Linux's TEE device, `/dev/tee0`.
//!
//! **Invariant:** shared memory is mapped for exactly as long as something here uses it; its bytes
//! are read and written one by one, since the other world may change them at any time.
#![deny(unsafe_code)]

mod device;
mod mapping;
mod uapi;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tally_abi::{Origin, TeeResult, TeeUuid};
use teec::{
    Direction, Error, ErrorKind, ErrorOrigin, RawParam, Result, SharedBytes, TempMemory, Transport,
};

use device::Device;
use mapping::Mapping;
use uapi::{InvokeArg, OpenArg, Param, attr, capability};

/// The device that clients use.
pub const DEVICE: &str = "/dev/tee0";

/// A connection to the driver. Closing it closes its sessions.
#[derive(Debug)]
pub struct LinuxTransport {
    device: Device,
    /// Whether the trusted OS takes null memory references.
    null_memory: bool,
    shared: Mutex<BTreeMap<u64, Arc<Mapping>>>,
}

impl LinuxTransport {
    /// Opens a TEE device, usually [`DEVICE`].
    ///
    /// # Errors
    /// What opening it says; `Unsupported` if it is not one of OP-TEE's kind.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let device = Device::open(path.as_ref())?;
        let version = device.version()?;
        let needed = capability::GLOBAL_PLATFORM;
        if version.impl_id != uapi::IMPL_OPTEE || version.gen_caps & needed == 0 {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "not a GlobalPlatform TEE that speaks OP-TEE's protocol",
            ));
        }
        Ok(Self {
            device,
            null_memory: version.gen_caps & capability::NULL_MEMORY != 0,
            shared: Mutex::default(),
        })
    }

    /// Builds the driver's parameters; temporary memory is copied into shared memory.
    fn prepare(&self, params: &[RawParam<'_>; 4]) -> Result<([Param; 4], Temporary)> {
        let mut out = [Param::default(); 4];
        let mut temporary = [const { None }; 4];
        for ((param, to), memory) in params.iter().zip(&mut out).zip(&mut temporary) {
            *to = match param {
                RawParam::None => Param::default(),
                RawParam::Value { direction, a, b } => Param {
                    attr: attr::VALUE_INPUT + offset_of(*direction),
                    a: u64::from(**a),
                    b: u64::from(**b),
                    c: 0,
                },
                RawParam::Temp {
                    memory: TempMemory::Null(direction),
                    ..
                } if self.null_memory => Param {
                    attr: attr::MEMORY_INPUT + offset_of(*direction),
                    a: 0,
                    b: 0,
                    c: uapi::NULL_MEMORY,
                },
                RawParam::Temp { memory: lent, .. } => {
                    let (direction, len, data) = match lent {
                        TempMemory::Null(direction) => (*direction, 0, None),
                        TempMemory::Input(data) => (Direction::Input, data.len(), Some(&**data)),
                        TempMemory::Output(data) => (Direction::Output, data.len(), None),
                        TempMemory::Inout(data) => (Direction::Inout, data.len(), Some(&**data)),
                    };
                    let mapping = self.map(len.max(1))?;
                    mapping.write(0, data.unwrap_or_default());
                    let c = mapping.id();
                    *memory = Some(mapping);
                    Param {
                        attr: attr::MEMORY_INPUT + offset_of(direction),
                        a: 0,
                        b: len as u64,
                        c,
                    }
                }
                RawParam::Registered {
                    direction,
                    cookie,
                    offset,
                    size,
                } => Param {
                    attr: attr::MEMORY_INPUT + offset_of(*direction),
                    a: *offset as u64,
                    b: **size as u64,
                    c: *cookie,
                },
            };
        }
        Ok((out, temporary))
    }

    fn map(&self, len: usize) -> Result<Mapping> {
        Mapping::new(&self.device, len).map_err(|error| from_io(&error))
    }
}

/// Shared memory that stands in for temporary memory during a call.
type Temporary = [Option<Mapping>; 4];

/// Distance of a direction's attribute from that of its input.
const fn offset_of(direction: Direction) -> u64 {
    match direction {
        Direction::Input => 0,
        Direction::Output => 1,
        Direction::Inout => 2,
    }
}

/// Brings results home.
fn take_back(params: &mut [RawParam<'_>; 4], from: &[Param; 4], temporary: &Temporary) {
    for ((param, from), mapping) in params.iter_mut().zip(from).zip(temporary) {
        match param {
            RawParam::Value {
                direction: Direction::Output | Direction::Inout,
                a,
                b,
            } => {
                // Values have 32 bits on this side.
                **a = from.a as u32;
                **b = from.b as u32;
            }
            RawParam::Temp { memory, size } => {
                let answered = usize::try_from(from.b).unwrap_or(usize::MAX);
                if let (TempMemory::Output(to) | TempMemory::Inout(to), Some(mapping)) =
                    (memory, mapping)
                {
                    let len = answered.min(to.len());
                    mapping.read(0, &mut to[..len]);
                }
                **size = answered;
            }
            RawParam::Registered { size, .. } => {
                **size = usize::try_from(from.b).unwrap_or(usize::MAX);
            }
            RawParam::None | RawParam::Value { .. } => {}
        }
    }
}

impl Transport for LinuxTransport {
    fn open_session(&self, uuid: TeeUuid, params: &mut [RawParam<'_>; 4]) -> Result<u32> {
        let (raw, temporary) = self.prepare(params)?;
        let mut arg = OpenArg::new(uuid, raw);
        self.device
            .open_session(&mut arg)
            .map_err(|error| from_io(&error))?;
        take_back(params, &arg.params, &temporary);
        said(arg.ret, arg.ret_origin)?;
        Ok(arg.session)
    }

    fn invoke(
        &self,
        session: u32,
        command: u32,
        cancel_id: u32,
        params: &mut [RawParam<'_>; 4],
    ) -> Result<()> {
        let (raw, temporary) = self.prepare(params)?;
        let mut arg = InvokeArg::new(session, command, cancel_id, raw);
        self.device
            .invoke(&mut arg)
            .map_err(|error| from_io(&error))?;
        take_back(params, &arg.params, &temporary);
        said(arg.ret, arg.ret_origin)
    }

    fn close_session(&self, session: u32) -> Result<()> {
        self.device
            .close_session(session)
            .map_err(|error| from_io(&error))
    }

    fn cancel(&self, session: u32, cancel_id: u32) -> Result<()> {
        self.device
            .cancel(session, cancel_id)
            .map_err(|error| from_io(&error))
    }

    fn allocate_shared(&self, len: usize) -> Result<Box<dyn SharedBytes>> {
        let mapping = Arc::new(self.map(len)?);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.insert(mapping.id(), Arc::clone(&mapping));
        Ok(Box::new(Shared { mapping, len }))
    }

    fn release_shared(&self, cookie: u64) -> Result<()> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.remove(&cookie) {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::BadParameters)),
        }
    }
}

struct Shared {
    mapping: Arc<Mapping>,
    len: usize,
}

impl SharedBytes for Shared {
    fn len(&self) -> usize {
        self.len
    }

    fn cookie(&self) -> u64 {
        self.mapping.id()
    }

    fn read(&self, offset: usize, to: &mut [u8]) {
        self.mapping.read(offset, to);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.mapping.write(offset, from);
    }
}

fn said(ret: u32, origin: u32) -> Result<()> {
    let origin = match origin {
        o if o == Origin::Api as u32 => ErrorOrigin::API,
        o if o == Origin::Comms as u32 => ErrorOrigin::COMMS,
        o if o == Origin::Tee as u32 => ErrorOrigin::TEE,
        o if o == Origin::TrustedApp as u32 => ErrorOrigin::TA,
        _ => ErrorOrigin::UNKNOWN,
    };
    match TeeResult(ret) {
        TeeResult::SUCCESS => Ok(()),
        code => Err(Error::from_result(code, origin)),
    }
}

/// The driver's errors as the C library has them.
fn from_io(error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::OutOfMemory => TeeResult::OUT_OF_MEMORY,
        io::ErrorKind::InvalidInput => TeeResult::BAD_PARAMETERS,
        io::ErrorKind::NotFound => TeeResult::ITEM_NOT_FOUND,
        io::ErrorKind::ResourceBusy => TeeResult::BUSY,
        _ => TeeResult::COMMUNICATION,
    };
    Error::from_result(code, ErrorOrigin::COMMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_tee_device_is_refused() {
        assert!(LinuxTransport::open("/dev/null").is_err());
        assert!(LinuxTransport::open("/nonexistent").is_err());
    }

    #[test]
    fn the_driver_s_errors_keep_their_meaning() {
        let code = |errno: rustix::io::Errno| from_io(&errno.into()).kind();
        assert_eq!(code(rustix::io::Errno::NOMEM), ErrorKind::OutOfMemory);
        assert_eq!(code(rustix::io::Errno::INVAL), ErrorKind::BadParameters);
        assert_eq!(code(rustix::io::Errno::BUSY), ErrorKind::Busy);
        assert_eq!(code(rustix::io::Errno::IO), ErrorKind::Communication);
    }

    #[test]
    fn values_come_back_only_where_they_are_results() {
        let (mut a, mut b) = ([1, 2, 3], [4, 5, 6]);
        let directions = [Direction::Input, Direction::Output, Direction::Inout];
        let [a0, a1, a2] = &mut a;
        let [b0, b1, b2] = &mut b;
        let value = |direction, a, b| RawParam::Value { direction, a, b };
        let mut params = [
            value(directions[0], a0, b0),
            value(directions[1], a1, b1),
            value(directions[2], a2, b2),
            RawParam::None,
        ];
        let answer = Param {
            attr: 0,
            a: 70,
            b: 80,
            c: 0,
        };
        take_back(&mut params, &[answer; 4], &[const { None }; 4]);
        assert_eq!((a, b), ([1, 70, 70], [4, 80, 80]));
    }

    #[test]
    fn a_size_beyond_the_buffer_is_told_and_not_copied() {
        let mut buffer = [7; 4];
        let mut size = 4;
        let mut params = [const { RawParam::None }; 4];
        params[0] = RawParam::Temp {
            memory: TempMemory::Output(&mut buffer),
            size: &mut size,
        };
        let mut answer = [Param::default(); 4];
        answer[0].b = 1 << 40;
        take_back(&mut params, &answer, &[const { None }; 4]);
        assert_eq!(size, 1 << 40);
        assert_eq!(buffer, [7; 4]);
    }
}
