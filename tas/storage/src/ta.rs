//! The commands.
//!
//! **Invariant:** a session's objects and enumerators close with it, but for those that it forgot.
extern crate alloc;

use alloc::format;
use alloc::vec::Vec;
use ta_runtime::ParamType::{MemrefInput, MemrefOutput, None as Unused, ValueInput, ValueOutput};
use ta_runtime::{
    AttributeId, AttributeMemref, DataFlag, Error, ErrorKind, GenericObject, ObjectEnumHandle,
    ObjectStorageConstants, Parameters, PersistentObject, Result, TransientObject,
    TransientObjectType, Whence, ta_close_session, ta_invoke_command, ta_open_session,
};
use ta_uuids::storage::{self, pattern};

ta_runtime::properties! {
    uuid: storage::UUID,
    flags: 0,
    stack_size: 8 << 10,
    heap_size: 64 << 10,
}

const PRIVATE: ObjectStorageConstants = ObjectStorageConstants::Private;
/// Bytes that are written and read at a time.
const CHUNK: usize = 1024;

/// What a session keeps.
#[derive(Default)]
struct Session {
    objects: Vec<Option<PersistentObject>>,
    enumerators: Vec<ObjectEnumHandle>,
}

impl Session {
    fn keep(&mut self, object: PersistentObject) -> Result<u32> {
        let free = self.objects.iter().position(Option::is_none);
        let index = match free {
            Some(index) => index,
            None => {
                self.objects.try_reserve(1)?;
                self.objects.push(None);
                self.objects.len() - 1
            }
        };
        if let Some(place) = self.objects.get_mut(index) {
            *place = Some(object);
        }
        Ok(index as u32)
    }

    fn object(&mut self, handle: u32) -> Result<&mut PersistentObject> {
        let object = self.objects.get_mut(handle as usize);
        let object = object.and_then(Option::as_mut);
        object.ok_or(Error::new(ErrorKind::BadState))
    }

    fn take(&mut self, handle: u32) -> Result<PersistentObject> {
        let object = self.objects.get_mut(handle as usize);
        let object = object.and_then(Option::take);
        object.ok_or(Error::new(ErrorKind::BadState))
    }
}

#[ta_open_session]
fn open_session(_params: &mut Parameters, _session: &mut Session) -> Result<()> {
    Ok(())
}

#[ta_close_session]
fn close_session(session: &mut Session) {
    session.objects.clear();
    session.enumerators.clear();
}

#[ta_invoke_command]
fn invoke_command(session: &mut Session, command: u32, params: &mut Parameters) -> Result<()> {
    match command {
        storage::CMD_OPEN => open(session, params),
        storage::CMD_CREATE => create(session, params),
        storage::CMD_CLOSE => session.take(handle(params)?).map(drop),
        storage::CMD_DELETE => session.take(handle(params)?)?.close_and_delete(),
        storage::CMD_RENAME => rename(session, params),
        storage::CMD_READ => read(session, params),
        storage::CMD_WRITE => write(session, params),
        storage::CMD_TRUNCATE => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let value = params.0.as_value()?;
            session.object(value.a())?.truncate(value.b())
        }
        storage::CMD_SEEK => seek(session, params),
        storage::CMD_INFO => info(session, params),
        storage::CMD_LIST => list(params),
        storage::CMD_FILL => fill(session, params),
        storage::CMD_CHECK => check(session, params),
        storage::CMD_PUT_KEY => put_key(params),
        storage::CMD_GET_KEY => get_key(session, params),
        storage::CMD_MANY => many(params),
        storage::CMD_REMOVE_ALL => remove_all(params),
        storage::CMD_ENUMERATORS => enumerators(session, params),
        storage::CMD_FORGET => {
            core::mem::forget(core::mem::take(session));
            Ok(())
        }
        storage::CMD_PANIC => panic!("asked to panic"),
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

fn handle(params: &mut Parameters) -> Result<u32> {
    params.expect([ValueInput, Unused, Unused, Unused])?;
    Ok(params.0.as_value()?.a())
}

/// A copy of the first parameter's bytes, which the client may change at any time.
fn id(params: &mut Parameters) -> Result<Vec<u8>> {
    let mut memory = params.0.as_memref()?;
    let bytes = memory.buffer();
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

fn flags(bits: u32) -> DataFlag {
    DataFlag::from_bits_retain(bits)
}

fn open(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, ValueInput, ValueOutput, Unused])?;
    let flags = flags(params.1.as_value()?.a());
    let object = PersistentObject::open(PRIVATE, &id(params)?, flags)?;
    let kept = session.keep(object)?;
    params.2.as_value()?.set_a(kept);
    Ok(())
}

fn create(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, ValueInput, ValueOutput, Unused])?;
    let value = params.1.as_value()?;
    let (flags, bytes) = (flags(value.a()), value.b() as usize);
    let mut data = Vec::new();
    data.try_reserve_exact(bytes)?;
    data.extend((0..bytes).map(|at| pattern(0, at)));
    let object = PersistentObject::create(PRIVATE, &id(params)?, flags, None, &data)?;
    let kept = session.keep(object)?;
    params.2.as_value()?.set_a(kept);
    Ok(())
}

fn rename(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, ValueInput, Unused, Unused])?;
    let handle = params.1.as_value()?.a();
    session.object(handle)?.rename(&id(params)?)
}

fn read(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, MemrefOutput, Unused, Unused])?;
    let handle = params.0.as_value()?.a();
    let mut memory = params.1.as_memref()?;
    let read = session.object(handle)?.read(memory.buffer())?;
    memory.reserve(read as usize).map(drop)
}

fn write(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, MemrefInput, Unused, Unused])?;
    let handle = params.0.as_value()?.a();
    let mut memory = params.1.as_memref()?;
    session.object(handle)?.write(memory.buffer())
}

fn seek(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueInput, Unused, Unused])?;
    let whence = match params.1.as_value()?.a() {
        0 => Whence::DataSeekSet,
        1 => Whence::DataSeekCur,
        2 => Whence::DataSeekEnd,
        _ => return Err(Error::new(ErrorKind::BadParameters)),
    };
    let value = params.0.as_value()?;
    let offset = value.b().cast_signed();
    session.object(value.a())?.seek(offset, whence)
}

fn info(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, ValueOutput, Unused])?;
    let handle = params.0.as_value()?.a();
    let info = session.object(handle)?.info()?;
    let mut data = params.1.as_value()?;
    data.set_a(info.data_size() as u32);
    data.set_b(info.data_position() as u32);
    let mut key = params.2.as_value()?;
    key.set_a(info.object_type());
    key.set_b(info.object_size() as u32);
    Ok(())
}

/// Gives each id of the TA's objects to `take`.
fn each(mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut enumerator = ObjectEnumHandle::allocate()?;
    let none = |error: &Error| error.kind() == ErrorKind::ItemNotFound;
    match enumerator.start(PRIVATE as u32) {
        Err(error) if none(&error) => return Ok(()),
        started => started?,
    }
    let mut id = [0; storage::MAX_ID];
    loop {
        let len = match enumerator.get_next(None, &mut id) {
            Err(error) if none(&error) => return Ok(()),
            len => len? as usize,
        };
        take(id.get(..len).ok_or(Error::new(ErrorKind::Overflow))?)?;
    }
}

fn list(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefOutput, ValueOutput, Unused, Unused])?;
    let (mut ids, mut count) = (Vec::new(), 0);
    each(|id| {
        ids.try_reserve(1 + id.len())?;
        ids.push(id.len() as u8);
        ids.extend_from_slice(id);
        count += 1;
        Ok(())
    })?;
    params.1.as_value()?.set_a(count);
    let mut memory = params.0.as_memref()?;
    memory.reserve(ids.len())?.copy_from_slice(&ids);
    Ok(())
}

fn chunk(seed: u32, at: usize, bytes: usize) -> [u8; CHUNK] {
    let mut chunk = [0; CHUNK];
    for (i, byte) in chunk.iter_mut().enumerate().take(bytes) {
        *byte = pattern(seed, at + i);
    }
    chunk
}

fn fill(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueInput, Unused, Unused])?;
    let (value, seed) = (params.0.as_value()?, params.1.as_value()?.a());
    let (handle, bytes) = (value.a(), value.b() as usize);
    let object = session.object(handle)?;
    for at in (0..bytes).step_by(CHUNK) {
        let len = CHUNK.min(bytes - at);
        object.write(chunk(seed, at, len).get(..len).unwrap_or_default())?;
    }
    Ok(())
}

fn check(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueInput, ValueOutput, Unused])?;
    let (value, seed) = (params.0.as_value()?, params.1.as_value()?.a());
    let (handle, bytes) = (value.a(), value.b() as usize);
    let object = session.object(handle)?;
    let mut right = 0;
    for at in (0..bytes).step_by(CHUNK) {
        let len = CHUNK.min(bytes - at);
        let mut read = [0; CHUNK];
        let n = object.read(read.get_mut(..len).unwrap_or_default())? as usize;
        let wanted = chunk(seed, at, len);
        let same = read.iter().zip(&wanted).take(n);
        right += same.take_while(|(read, wanted)| read == wanted).count();
    }
    params.2.as_value()?.set_a(right as u32);
    Ok(())
}

fn put_key(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, MemrefInput, Unused, Unused])?;
    let mut memory = params.1.as_memref()?;
    let mut key = [0; storage::KEY];
    let given = memory.buffer();
    if given.len() != key.len() {
        return Err(Error::new(ErrorKind::BadParameters));
    }
    key.copy_from_slice(given);
    let mut object = TransientObject::allocate(TransientObjectType::Aes, 8 * storage::KEY)?;
    object.populate(&[AttributeMemref::from_ref(AttributeId::SecretValue, &key).into()])?;
    let flags = DataFlag::ACCESS_WRITE_META | DataFlag::OVERWRITE;
    let key = Some(object.into());
    PersistentObject::create(PRIVATE, &id(params)?, flags, key, &[]).map(drop)
}

fn get_key(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, MemrefOutput, Unused, Unused])?;
    let handle = params.0.as_value()?.a();
    let mut key = [0; storage::KEY];
    let object = session.object(handle)?;
    let len = object.ref_attribute(AttributeId::SecretValue, &mut key)?;
    let key = key.get(..len).unwrap_or_default();
    let mut memory = params.1.as_memref()?;
    memory.reserve(len)?.copy_from_slice(key);
    Ok(())
}

fn many(params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let value = params.0.as_value()?;
    let (count, bytes) = (value.a(), value.b() as usize);
    let mut data = Vec::new();
    data.try_reserve_exact(bytes)?;
    data.resize(bytes, 0x5a);
    let mut made = 0;
    for n in 0..count {
        let id = format!("{}{n}", storage::MANY);
        let flags = DataFlag::ACCESS_WRITE_META;
        PersistentObject::create(PRIVATE, id.as_bytes(), flags, None, &data)?;
        made += 1;
        params.1.as_value()?.set_a(made);
    }
    Ok(())
}

fn remove_all(params: &mut Parameters) -> Result<()> {
    params.expect([ValueOutput, Unused, Unused, Unused])?;
    let mut ids = Vec::<Vec<u8>>::new();
    each(|id| {
        let mut copy = Vec::new();
        copy.try_reserve_exact(id.len())?;
        copy.extend_from_slice(id);
        ids.try_reserve(1)?;
        ids.push(copy);
        Ok(())
    })?;
    for id in &ids {
        PersistentObject::open(PRIVATE, id, DataFlag::ACCESS_WRITE_META)?.close_and_delete()?;
    }
    params.0.as_value()?.set_a(ids.len() as u32);
    Ok(())
}

fn enumerators(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    for _ in 0..params.0.as_value()?.a() {
        session.enumerators.try_reserve(1)?;
        session.enumerators.push(ObjectEnumHandle::allocate()?);
        let made = session.enumerators.len() as u32;
        params.1.as_value()?.set_a(made);
    }
    Ok(())
}
