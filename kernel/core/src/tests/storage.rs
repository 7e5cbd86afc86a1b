//! Trusted storage of TAs: what it keeps, what it refuses, and whose it is.

use super::*;
use crate::testing::caller::Caller;
use tally_abi::crypto::{UteeObjectInfo, handle_flag, object_type, usage};
use tally_abi::storage::{data_flag as flag, space, whence};
use tally_abi::ta::svc;
use zerocopy::FromBytes;

const OK: TeeResult = TeeResult::SUCCESS;
const SPACE: u64 = space::PRIVATE as u64;
/// All that an object may be opened for.
const ALL: u32 = flag::ACCESS_READ | flag::ACCESS_WRITE | flag::ACCESS_WRITE_META;

fn with_ta(test: impl FnOnce(&Caller<'_>)) {
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        test(&ta);
        ta.close();
    });
}

/// Where an id lies in a TA, and its length.
fn id(ta: &Caller<'_>, id: &str) -> [u64; 2] {
    let at = ta.memory + 0xe000;
    ta.store(at, id.as_bytes());
    [at, id.len() as u64]
}

fn create(ta: &Caller<'_>, name: &str, flags: u32, data: &[u8]) -> Result<u64, TeeResult> {
    let [at, len] = id(ta, name);
    ta.store(ta.memory, data);
    let data = [ta.memory, data.len() as u64];
    let args = [SPACE, at, len, flags.into(), 0, data[0], data[1]];
    ta.handle(svc::STORAGE_OBJ_CREATE, &args)
}

fn open(ta: &Caller<'_>, name: &str, flags: u32) -> Result<u64, TeeResult> {
    let [at, len] = id(ta, name);
    ta.handle(svc::STORAGE_OBJ_OPEN, &[SPACE, at, len, flags.into()])
}

fn read(ta: &Caller<'_>, object: u64, len: u64) -> Result<Vec<u8>, TeeResult> {
    let (to, count) = (ta.memory + 0x4000, ta.memory + 0xe800);
    ta.call(svc::STORAGE_OBJ_READ, &[object, to, len, count])
        .ok()?;
    Ok(ta.load(to, ta.load_u64(count) as usize))
}

fn info(ta: &Caller<'_>, object: u64) -> UteeObjectInfo {
    let out = ta.memory + 0xf300;
    ta.expect(OK, svc::CRYP_OBJ_GET_INFO, &[object, out]);
    UteeObjectInfo::read_from_bytes(&ta.load(out, size_of::<UteeObjectInfo>())).unwrap()
}

#[test]
fn what_is_written_is_read_again() {
    with_ta(|ta| {
        let object = create(ta, "a", ALL, b"some data").unwrap();
        assert_eq!(read(ta, object, 4).unwrap(), b"some");
        assert_eq!(read(ta, object, 100).unwrap(), b" data");
        assert_eq!(read(ta, object, 100).unwrap(), b"");
        ta.store(ta.memory, b"longer");
        ta.expect(
            OK,
            svc::STORAGE_OBJ_SEEK,
            &[object, -4_i32 as u32 as u64, whence::END],
        );
        ta.expect(OK, svc::STORAGE_OBJ_WRITE, &[object, ta.memory, 6]);
        let told = info(ta, object);
        assert_eq!((told.data_bytes, told.data_position), (11, 11));
        assert_eq!(
            told.flags,
            ALL | handle_flag::PERSISTENT | handle_flag::INITIALIZED
        );
        assert_eq!(
            (told.object_type, told.usage),
            (object_type::DATA, usage::ALL)
        );
        ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[object]);
        let object = open(ta, "a", ALL).unwrap();
        assert_eq!(read(ta, object, 100).unwrap(), b"some longer");
        ta.expect(OK, svc::STORAGE_OBJ_TRUNC, &[object, 3]);
        ta.expect(OK, svc::STORAGE_OBJ_SEEK, &[object, 0, whence::SET]);
        assert_eq!(read(ta, object, 100).unwrap(), b"som");
        ta.expect(OK, svc::STORAGE_OBJ_DEL, &[object]);
        assert_eq!(open(ta, "a", ALL), Err(TeeResult::ITEM_NOT_FOUND));
        assert_eq!(ta.world.file_names(), ["/dirf.db"]);
    });
}
