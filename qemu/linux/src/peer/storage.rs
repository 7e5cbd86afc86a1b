//! Trusted storage of OP-TEE's test TA `storage`: objects made, written and read.
//!
//! Source: optee_test 4.5 `ta/{include/ta_storage.h,storage/storage.c}`.

use tally_abi::TeeUuid;
use tally_abi::storage::{data_flag, space, whence};
use teec::{Context, Operation, Param, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};

use crate::bench::{self, Outcome};
use crate::measures::measure;
use crate::results::Results;

const TA: TeeUuid = TeeUuid::from_u128(0xb689f2a7_8adf_477a_9f99_32e90c0ad0a2);
/// `(memref in: id, value inout: a = flags, out b = object, value in: a = storage)`.
const CMD_OPEN: u32 = 0;
/// `(value in: a = object)`.
const CMD_CLOSE: u32 = 1;
/// `(memref out, value inout: a = object, out b = bytes)`.
const CMD_READ: u32 = 2;
/// `(memref in, value in: a = object)`.
const CMD_WRITE: u32 = 3;
/// `(memref in: id, value inout: a = flags, out b = object, value in: a = attributes, b = storage, memref in)`.
const CMD_CREATE: u32 = 4;
/// `(value in: a = object, b = offset; value inout: a = whence, out b = position)`.
const CMD_SEEK: u32 = 5;
/// `(value in: a = object)`: deletes it.
const CMD_UNLINK: u32 = 6;
/// `(value in: a = object, memref in: id)`.
const CMD_RENAME: u32 = 7;

/// To read, write, rename and delete.
const ALL: u32 = data_flag::ACCESS_READ | data_flag::ACCESS_WRITE | data_flag::ACCESS_WRITE_META;
/// Bytes of a block of a file.
const BLOCK: usize = 4096;
const TIMES: u32 = 10;

/// A session of the TA.
pub(crate) struct Store<'t>(Session<'t>);

impl<'t> Store<'t> {
    /// A session.
    pub(crate) fn open(context: &Context<'t>) -> Result<Self, String> {
        bench::open(context, TA).map(Self)
    }

    fn ask<A: Param, B: Param, C: Param, D: Param>(
        &mut self,
        command: u32,
        operation: &mut Operation<A, B, C, D>,
    ) -> Outcome {
        self.0
            .invoke_command(command, operation)
            .map_err(|error| format!("storage, command {command}: {error}"))
    }

    /// Makes an object without data: its handle.
    pub(crate) fn create(&mut self, id: &[u8]) -> Result<u32, String> {
        let mut operation = Operation::new(
            0,
            ParamTmpRef::new_input(id),
            ParamValue::new(ALL, 0, ParamType::ValueInout),
            ParamValue::new(0, space::PRIVATE, ParamType::ValueInput),
            ParamTmpRef::new_input(&[]),
        );
        self.ask(CMD_CREATE, &mut operation)?;
        Ok(operation.parameters().1.b())
    }

    /// Opens an object: its handle.
    pub(crate) fn get(&mut self, id: &[u8]) -> Result<u32, String> {
        let mut operation = Operation::new(
            0,
            ParamTmpRef::new_input(id),
            ParamValue::new(ALL, 0, ParamType::ValueInout),
            ParamValue::new(space::PRIVATE, 0, ParamType::ValueInput),
            ParamNone,
        );
        self.ask(CMD_OPEN, &mut operation)?;
        Ok(operation.parameters().1.b())
    }

    fn plain(&mut self, command: u32, object: u32) -> Outcome {
        let object = ParamValue::new(object, 0, ParamType::ValueInput);
        let mut operation = Operation::new(0, object, ParamNone, ParamNone, ParamNone);
        self.ask(command, &mut operation)
    }

    /// Closes an object.
    pub(crate) fn close(&mut self, object: u32) -> Outcome {
        self.plain(CMD_CLOSE, object)
    }

    /// Deletes an object.
    pub(crate) fn delete(&mut self, object: u32) -> Outcome {
        self.plain(CMD_UNLINK, object)
    }

    /// Gives an object another id.
    pub(crate) fn rename(&mut self, object: u32, id: &[u8]) -> Outcome {
        let object = ParamValue::new(object, 0, ParamType::ValueInput);
        let id = ParamTmpRef::new_input(id);
        let mut operation = Operation::new(0, object, id, ParamNone, ParamNone);
        self.ask(CMD_RENAME, &mut operation)
    }

    /// The next bytes are the first ones.
    pub(crate) fn rewind(&mut self, object: u32) -> Outcome {
        let object = ParamValue::new(object, 0, ParamType::ValueInput);
        let to = ParamValue::new(whence::SET as u32, 0, ParamType::ValueInout);
        let mut operation = Operation::new(0, object, to, ParamNone, ParamNone);
        self.ask(CMD_SEEK, &mut operation)
    }

    /// Writes from the position on.
    pub(crate) fn write(&mut self, object: u32, bytes: &[u8]) -> Outcome {
        let bytes = ParamTmpRef::new_input(bytes);
        let object = ParamValue::new(object, 0, ParamType::ValueInput);
        let mut operation = Operation::new(0, bytes, object, ParamNone, ParamNone);
        self.ask(CMD_WRITE, &mut operation)
    }

    /// Reads from the position on: how many bytes.
    pub(crate) fn read(&mut self, object: u32, bytes: &mut [u8]) -> Result<usize, String> {
        let bytes = ParamTmpRef::new_output(bytes);
        let object = ParamValue::new(object, 0, ParamType::ValueInout);
        let mut operation = Operation::new(0, bytes, object, ParamNone, ParamNone);
        self.ask(CMD_READ, &mut operation)?;
        Ok(operation.parameters().1.b() as usize)
    }
}

/// Measures all of it.
pub(super) fn run(results: &mut Results, context: &Context<'_>) -> Outcome {
    let mut store = Store::open(context)?;
    let mut made = 0_u32;
    measure(results, "storage_create", TIMES, || {
        made += 1;
        let object = store.create(&made.to_le_bytes())?;
        store.close(object)
    })?;
    let object = store.get(&1_u32.to_le_bytes())?;
    measure(results, "storage_write_4k", TIMES, || {
        store.rewind(object)?;
        store.write(object, &[7; BLOCK])
    })?;
    let mut bytes = [0; BLOCK];
    measure(results, "storage_read_4k", TIMES, || {
        store.rewind(object)?;
        store.read(object, &mut bytes).map(drop)
    })?;
    bench::equal(bytes, [7; BLOCK], "what was read")?;
    store.close(object)?;
    measure(results, "storage_delete", TIMES, || {
        let object = store.get(&made.to_le_bytes())?;
        made -= 1;
        store.delete(object)
    })
}
