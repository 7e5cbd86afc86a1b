//! System calls about objects: keys and what is in storage.

use super::{call, call_8};
use crate::object::Attribute;
use tally_abi::TeeResult;
use tally_abi::crypto::UteeObjectInfo;
use tally_abi::ta::svc;

type Outcome<T = ()> = Result<T, TeeResult>;

fn start(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

/// A call that gives a handle through the last of its arguments, which is left out in `args`.
fn handle<const N: usize>(number: u64, args: [u64; N]) -> Outcome<u32> {
    let mut handle = 0_u32;
    let mut all = [0; 8];
    let mut places = all.iter_mut();
    for (place, arg) in places.by_ref().zip(args) {
        *place = arg;
    }
    if let Some(place) = all.get_mut(N) {
        *place = &raw mut handle as u64;
    }
    call_8(number, all).ok()?;
    Ok(handle)
}

/// Opens an object in storage.
pub(crate) fn storage_open(storage: u32, id: &[u8], flags: u32) -> Outcome<u32> {
    let (storage, flags) = (u64::from(storage), u64::from(flags));
    handle(
        svc::STORAGE_OBJ_OPEN,
        [storage, start(id), id.len() as u64, flags],
    )
}

/// Makes an object in storage, with the attributes of another (0: none) and first data.
pub(crate) fn storage_create(
    storage: u32,
    id: &[u8],
    flags: u32,
    attributes: u32,
    data: &[u8],
) -> Outcome<u32> {
    let args = [
        u64::from(storage),
        start(id),
        id.len() as u64,
        u64::from(flags),
        u64::from(attributes),
        start(data),
        data.len() as u64,
    ];
    handle(svc::STORAGE_OBJ_CREATE, args)
}

/// Deletes an object and closes it, whatever comes of it.
pub(crate) fn storage_delete(object: u32) -> Outcome {
    call(svc::STORAGE_OBJ_DEL, [u64::from(object), 0, 0, 0, 0]).ok()
}

/// Renames an object.
pub(crate) fn storage_rename(object: u32, id: &[u8]) -> Outcome {
    let args = [u64::from(object), start(id), id.len() as u64, 0, 0];
    call(svc::STORAGE_OBJ_RENAME, args).ok()
}

/// Reads from the handle's position on: how many bytes.
pub(crate) fn storage_read(object: u32, to: &mut [u8]) -> Outcome<u64> {
    let mut read = 0_u64;
    let (address, len) = (to.as_mut_ptr() as u64, to.len() as u64);
    let args = [u64::from(object), address, len, &raw mut read as u64, 0];
    call(svc::STORAGE_OBJ_READ, args).ok()?;
    Ok(read)
}

/// Writes from the handle's position on.
pub(crate) fn storage_write(object: u32, data: &[u8]) -> Outcome {
    let args = [u64::from(object), start(data), data.len() as u64, 0, 0];
    call(svc::STORAGE_OBJ_WRITE, args).ok()
}

/// Makes the data so long.
pub(crate) fn storage_truncate(object: u32, bytes: u32) -> Outcome {
    let args = [u64::from(object), u64::from(bytes), 0, 0, 0];
    call(svc::STORAGE_OBJ_TRUNC, args).ok()
}

/// Moves the handle's position.
pub(crate) fn storage_seek(object: u32, offset: i32, whence: u32) -> Outcome {
    // The kernel takes the lower half.
    let args = [
        u64::from(object),
        offset.cast_unsigned().into(),
        u64::from(whence),
        0,
        0,
    ];
    call(svc::STORAGE_OBJ_SEEK, args).ok()
}

/// A new enumerator.
pub(crate) fn enumerator_new() -> Outcome<u32> {
    handle(svc::STORAGE_ENUM_ALLOC, [])
}

/// Gives an enumerator back.
pub(crate) fn enumerator_free(enumerator: u32) {
    call(svc::STORAGE_ENUM_FREE, [u64::from(enumerator), 0, 0, 0, 0]);
}

/// Has it start nowhere.
pub(crate) fn enumerator_reset(enumerator: u32) {
    call(svc::STORAGE_ENUM_RESET, [u64::from(enumerator), 0, 0, 0, 0]);
}

/// Has it start at a storage's first object.
pub(crate) fn enumerator_start(enumerator: u32, storage: u32) -> Outcome {
    let args = [u64::from(enumerator), u64::from(storage), 0, 0, 0];
    call(svc::STORAGE_ENUM_START, args).ok()
}

/// The next object, and how many bytes its id has.
pub(crate) fn enumerator_next(enumerator: u32, id: &mut [u8]) -> Outcome<(UteeObjectInfo, u64)> {
    let mut info = UteeObjectInfo::default();
    let mut len = id.len() as u64;
    let args = [
        u64::from(enumerator),
        &raw mut info as u64,
        id.as_mut_ptr() as u64,
        &raw mut len as u64,
        0,
    ];
    call(svc::STORAGE_ENUM_NEXT, args).ok()?;
    Ok((info, len))
}

/// A new object that is in no storage.
pub(crate) fn object_new(object_type: u32, max_bits: u32) -> Outcome<u32> {
    handle(
        svc::CRYP_OBJ_ALLOC,
        [u64::from(object_type), u64::from(max_bits)],
    )
}

/// Closes an object.
pub(crate) fn object_close(object: u32) {
    call(svc::CRYP_OBJ_CLOSE, [u64::from(object), 0, 0, 0, 0]);
}

/// Takes an object's attributes from it.
pub(crate) fn object_reset(object: u32) {
    call(svc::CRYP_OBJ_RESET, [u64::from(object), 0, 0, 0, 0]);
}

/// What the kernel says of an object.
pub(crate) fn object_info(object: u32) -> Outcome<UteeObjectInfo> {
    let mut info = UteeObjectInfo::default();
    let args = [u64::from(object), &raw mut info as u64, 0, 0, 0];
    call(svc::CRYP_OBJ_GET_INFO, args).ok()?;
    Ok(info)
}

/// Leaves an object these uses of those it has.
pub(crate) fn object_restrict(object: u32, usage: u32) -> Outcome {
    let args = [u64::from(object), u64::from(usage), 0, 0, 0];
    call(svc::CRYP_OBJ_RESTRICT_USAGE, args).ok()
}

/// An attribute's bytes: how many there are.
pub(crate) fn object_attribute(object: u32, id: u32, to: &mut [u8]) -> Outcome<u64> {
    let mut len = to.len() as u64;
    let args = [
        u64::from(object),
        u64::from(id),
        to.as_mut_ptr() as u64,
        &raw mut len as u64,
        0,
    ];
    call(svc::CRYP_OBJ_GET_ATTR, args).ok()?;
    Ok(len)
}

/// An attribute of two numbers.
pub(crate) fn object_numbers(object: u32, id: u32) -> Outcome<(u32, u32)> {
    let mut pair = [0_u32; 2];
    let mut len = size_of_val(&pair) as u64;
    let args = [
        u64::from(object),
        u64::from(id),
        &raw mut pair as u64,
        &raw mut len as u64,
        0,
    ];
    call(svc::CRYP_OBJ_GET_ATTR, args).ok()?;
    Ok((pair[0], pair[1]))
}

/// Gives an object its attributes.
pub(crate) fn object_populate(object: u32, attributes: &[Attribute<'_>]) -> Outcome {
    let (at, count) = (attributes.as_ptr() as u64, attributes.len() as u64);
    call(svc::CRYP_OBJ_POPULATE, [u64::from(object), at, count, 0, 0]).ok()
}

/// Gives an object those attributes of another that it can have.
pub(crate) fn object_copy(to: u32, from: u32) -> Outcome {
    call(
        svc::CRYP_OBJ_COPY,
        [u64::from(to), u64::from(from), 0, 0, 0],
    )
    .ok()
}

/// Makes an object's key.
pub(crate) fn object_generate(object: u32, bits: u32, attributes: &[Attribute<'_>]) -> Outcome {
    let (at, count) = (attributes.as_ptr() as u64, attributes.len() as u64);
    let args = [u64::from(object), u64::from(bits), at, count, 0];
    call(svc::CRYP_OBJ_GENERATE_KEY, args).ok()
}
