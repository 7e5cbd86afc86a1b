//! Trusted storage of TAs: what it keeps, what it refuses, and whose it is.

use super::*;
use crate::testing::caller::Caller;
use tally_abi::crypto::{UteeObjectInfo, algorithm, handle_flag, mode, object_type, usage};
use tally_abi::storage::{data_flag as flag, space, whence};
use tally_abi::ta::svc;
use zerocopy::FromBytes;

const OK: TeeResult = TeeResult::SUCCESS;
const SPACE: u64 = space::PRIVATE as u64;
/// All that an object may be opened for.
pub(super) const ALL: u32 = flag::ACCESS_READ | flag::ACCESS_WRITE | flag::ACCESS_WRITE_META;

fn with_ta(test: impl FnOnce(&Caller<'_>)) {
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        test(&ta);
        ta.close();
    });
}

/// Where an id lies in a TA, and its length.
pub(super) fn id(ta: &Caller<'_>, id: &str) -> [u64; 2] {
    let at = ta.memory + 0xe000;
    ta.store(at, id.as_bytes());
    [at, id.len() as u64]
}

pub(super) fn create(
    ta: &Caller<'_>,
    name: &str,
    flags: u32,
    data: &[u8],
) -> Result<u64, TeeResult> {
    let [at, len] = id(ta, name);
    ta.store(ta.memory, data);
    let data = [ta.memory, data.len() as u64];
    let args = [SPACE, at, len, flags.into(), 0, data[0], data[1]];
    ta.handle(svc::STORAGE_OBJ_CREATE, &args)
}

pub(super) fn open(ta: &Caller<'_>, name: &str, flags: u32) -> Result<u64, TeeResult> {
    let [at, len] = id(ta, name);
    ta.handle(svc::STORAGE_OBJ_OPEN, &[SPACE, at, len, flags.into()])
}

pub(super) fn read(ta: &Caller<'_>, object: u64, len: u64) -> Result<Vec<u8>, TeeResult> {
    let (to, count) = (ta.memory + 0x4000, ta.memory + 0xe800);
    ta.call(svc::STORAGE_OBJ_READ, &[object, to, len, count])
        .ok()?;
    Ok(ta.load(to, ta.load_u64(count) as usize))
}

pub(super) fn info(ta: &Caller<'_>, object: u64) -> UteeObjectInfo {
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

/// An AES key of 16 bytes.
fn key(ta: &Caller<'_>) -> u64 {
    let object = ta.handle(svc::CRYP_OBJ_ALLOC, &[object_type::AES.into(), 128]);
    let object = object.unwrap();
    ta.expect(OK, svc::CRYP_OBJ_GENERATE_KEY, &[object, 128, 0, 0]);
    object
}

fn secret(ta: &Caller<'_>, object: u64) -> Result<Vec<u8>, TeeResult> {
    let (to, len) = (ta.memory + 0x5000, ta.memory + 0xe810);
    ta.store(len, &64_u64.to_le_bytes());
    let id = u64::from(tally_abi::crypto::attribute::SECRET_VALUE);
    ta.call(svc::CRYP_OBJ_GET_ATTR, &[object, id, to, len])
        .ok()?;
    Ok(ta.load(to, ta.load_u64(len) as usize))
}

#[test]
fn a_stored_key_is_the_key_that_was_stored_and_its_usage_is_all_handles() {
    with_ta(|ta| {
        let source = key(ta);
        let wanted = secret(ta, source).unwrap();
        let [at, len] = id(ta, "key");
        let shared = flag::ACCESS_READ | flag::SHARE_READ;
        ta.store(ta.memory, b"data");
        let args = [SPACE, at, len, shared.into(), source, ta.memory, 4];
        let stored = ta.handle(svc::STORAGE_OBJ_CREATE, &args).unwrap();
        assert_eq!(secret(ta, stored).unwrap(), wanted);
        assert_eq!(read(ta, stored, 9).unwrap(), b"data");
        let second = open(ta, "key", shared).unwrap();
        assert_eq!(secret(ta, second).unwrap(), wanted);
        let told = info(ta, second);
        let sizes = (
            told.object_type,
            told.size_bits,
            told.max_size_bits,
            told.data_bytes,
        );
        assert_eq!(sizes, (object_type::AES, 128, 128, 4));
        // It cannot be changed as a transient one can.
        for number in [svc::CRYP_OBJ_RESET, svc::CRYP_OBJ_POPULATE] {
            ta.expect(TeeResult::BAD_PARAMETERS, number, &[second, ta.memory, 0]);
        }
        ta.expect(
            TeeResult::BAD_STATE,
            svc::CRYP_OBJ_GENERATE_KEY,
            &[second, 128, 0, 0],
        );
        // What it may be used for is in its file.
        let left = usage::ALL & !usage::EXTRACTABLE;
        ta.expect(OK, svc::CRYP_OBJ_RESTRICT_USAGE, &[stored, left.into()]);
        assert_eq!(secret(ta, second), Err(TeeResult::BAD_PARAMETERS));
        for object in [stored, second] {
            assert_eq!(info(ta, object).usage, left);
            ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[object]);
        }
        let again = open(ta, "key", shared).unwrap();
        assert_eq!(info(ta, again).usage, left);
        // A copy has no more than it; an operation has it for its key, and closes it.
        let copy = ta.handle(svc::CRYP_OBJ_ALLOC, &[object_type::AES.into(), 128]);
        let copy = copy.unwrap();
        ta.expect(OK, svc::CRYP_OBJ_COPY, &[copy, again]);
        assert_eq!(info(ta, copy).usage, left);
        let args = [
            algorithm::AES_ECB_NOPAD.into(),
            mode::ENCRYPT.into(),
            again,
            0,
        ];
        let state = ta.handle(svc::CRYP_STATE_ALLOC, &args).unwrap();
        ta.expect(OK, svc::CIPHER_INIT, &[state, 0, 0]);
        ta.expect(TeeResult::ITEM_NOT_FOUND, svc::CRYP_OBJ_CLOSE, &[again]);
        ta.expect(OK, svc::CRYP_STATE_FREE, &[state]);
        ta.expect(TeeResult::BAD_STATE, svc::CRYP_OBJ_CLOSE, &[again]);
    });
}

#[test]
fn without_a_place_for_a_handle_the_key_becomes_persistent_itself() {
    with_ta(|ta| {
        let object = key(ta);
        let [at, len] = id(ta, "key");
        let args = [SPACE, at, len, ALL.into(), object, 0, 0, 0];
        ta.expect(OK, svc::STORAGE_OBJ_CREATE, &args);
        assert_eq!(
            info(ta, object).flags & handle_flag::PERSISTENT,
            handle_flag::PERSISTENT
        );
        assert_eq!(open(ta, "key", ALL), Err(TeeResult::ACCESS_CONFLICT));
        ta.expect(OK, svc::STORAGE_OBJ_DEL, &[object]);
        // Without a key either, it is made and closed.
        ta.expect(
            OK,
            svc::STORAGE_OBJ_CREATE,
            &[SPACE, at, len, ALL.into(), 0, 0, 0, 0],
        );
        let object = open(ta, "key", ALL).unwrap();
        assert_eq!(info(ta, object).data_bytes, 0);
    });
}

#[test]
fn whoever_has_an_object_says_how_others_may_have_it() {
    const CONFLICT: Result<(), TeeResult> = Err(TeeResult::ACCESS_CONFLICT);
    let (r, w, meta) = (
        flag::ACCESS_READ,
        flag::ACCESS_WRITE,
        flag::ACCESS_WRITE_META,
    );
    let (sr, sw) = (flag::SHARE_READ, flag::SHARE_WRITE);
    with_ta(|ta| {
        let object = create(ta, "a", ALL, b"x").unwrap();
        ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[object]);
        for (first, second, expected) in [
            (r | sr, r | sr, Ok(())),
            (r | sr, sr, Ok(())),
            (sr, r | sr, Ok(())),
            (w | sw, w | sw, Ok(())),
            (r | w | sr | sw, r | w | sr | sw, Ok(())),
            (0, 0, Ok(())),
            (r, r, CONFLICT),
            (r | sr, r, CONFLICT),
            (r, r | sr, CONFLICT),
            (0, r, CONFLICT),
            (r | sr, w | sr, CONFLICT),
            (w | sw, w, CONFLICT),
            (sr, 0, CONFLICT),
            (sw, sr, CONFLICT),
            (meta | r | sr, r | sr, CONFLICT),
            (r | sr, meta | r | sr, CONFLICT),
            (0, meta, CONFLICT),
        ] {
            let one = open(ta, "a", first).unwrap();
            let other = open(ta, "a", second);
            assert_eq!(other.map(drop), expected, "{first:#x} and {second:#x}");
            for object in [Ok(one), other].into_iter().flatten() {
                ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[object]);
            }
        }
        let one = open(ta, "a", r | sr).unwrap();
        // Nor is it replaced, but by who shares it.
        assert_eq!(create(ta, "a", r | sr, b"").map(drop), CONFLICT);
        assert_eq!(
            create(ta, "a", r | flag::OVERWRITE, b"").map(drop),
            CONFLICT
        );
        let new = create(ta, "a", r | sr | flag::OVERWRITE, b"new").unwrap();
        assert_eq!(read(ta, one, 9).unwrap(), b"new");
        assert_eq!(read(ta, new, 9).unwrap(), b"new");
    });
}

#[test]
fn what_is_asked_wrongly_is_refused_as_op_tee_refuses_it() {
    with_ta(|ta| {
        let object = create(ta, "a", flag::ACCESS_READ, b"x").unwrap();
        let closed = create(ta, "b", flag::ACCESS_WRITE, b"x").unwrap();
        let transient = key(ta);
        let [at, len] = id(ta, "c");
        let (out, none) = (ta.memory + 0xf800, 0);
        const NOWHERE: u64 = 0x6f_0000_0000;
        use TeeResult as Is;
        for (expected, number, args) in [
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_OBJ_OPEN,
                vec![1, at, len, 8, out],
            ),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_OBJ_OPEN,
                vec![1, at, len, 0x400, out],
            ),
            (
                Is::ITEM_NOT_FOUND,
                svc::STORAGE_OBJ_OPEN,
                vec![0x8000_0100, at, len, 1, out],
            ),
            (
                Is::ITEM_NOT_FOUND,
                svc::STORAGE_OBJ_OPEN,
                vec![7, at, 65, 1, out],
            ),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_OBJ_OPEN,
                vec![1, at, 65, 1, out],
            ),
            (
                Is::ACCESS_DENIED,
                svc::STORAGE_OBJ_OPEN,
                vec![1, NOWHERE, 4, 1, out],
            ),
            (
                Is::ACCESS_DENIED,
                svc::STORAGE_OBJ_OPEN,
                vec![1, at, len, 1, NOWHERE],
            ),
            (
                Is::ITEM_NOT_FOUND,
                svc::STORAGE_OBJ_OPEN,
                vec![0x8000_0000, at, len, 1, out],
            ),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_OBJ_CREATE,
                vec![1, at, len, 0x800, 0, 0, 0, out],
            ),
            (
                Is::ITEM_NOT_FOUND,
                svc::STORAGE_OBJ_CREATE,
                vec![9, at, len, 1, 0, 0, 0, out],
            ),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_OBJ_CREATE,
                vec![1, at, 65, 1, 0, 0, 0, out],
            ),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_OBJ_CREATE,
                vec![1, at, len, 1, 0, 0, 1, out],
            ),
            (
                Is::ACCESS_DENIED,
                svc::STORAGE_OBJ_CREATE,
                vec![1, at, len, 1, 0, NOWHERE, 1, out],
            ),
            (
                Is::ACCESS_DENIED,
                svc::STORAGE_OBJ_CREATE,
                vec![1, at, len, 1, 0, 0, 0, NOWHERE],
            ),
            (
                Is::BAD_STATE,
                svc::STORAGE_OBJ_CREATE,
                vec![1, at, len, 1, 77, 0, 0, out],
            ),
            (Is::ACCESS_CONFLICT, svc::STORAGE_OBJ_DEL, vec![object]),
            (Is::ACCESS_CONFLICT, svc::STORAGE_OBJ_DEL, vec![transient]),
            (Is::BAD_STATE, svc::STORAGE_OBJ_DEL, vec![none]),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_OBJ_RENAME,
                vec![none, at, 65],
            ),
            (
                Is::BAD_STATE,
                svc::STORAGE_OBJ_RENAME,
                vec![object, at, len],
            ),
            (
                Is::BAD_STATE,
                svc::STORAGE_OBJ_RENAME,
                vec![transient, at, len],
            ),
            (
                Is::BAD_STATE,
                svc::STORAGE_OBJ_READ,
                vec![transient, out, 1, out],
            ),
            (
                Is::ACCESS_CONFLICT,
                svc::STORAGE_OBJ_READ,
                vec![closed, out, 1, out],
            ),
            (
                Is::ACCESS_DENIED,
                svc::STORAGE_OBJ_READ,
                vec![object, NOWHERE, 1, out],
            ),
            (
                Is::BAD_STATE,
                svc::STORAGE_OBJ_WRITE,
                vec![transient, out, 1],
            ),
            (
                Is::ACCESS_CONFLICT,
                svc::STORAGE_OBJ_WRITE,
                vec![object, out, 1],
            ),
            (
                Is::ACCESS_DENIED,
                svc::STORAGE_OBJ_WRITE,
                vec![closed, NOWHERE, 1],
            ),
            (Is::ACCESS_CONFLICT, svc::STORAGE_OBJ_TRUNC, vec![object, 0]),
            (Is::BAD_STATE, svc::STORAGE_OBJ_TRUNC, vec![transient, 0]),
            (Is::OVERFLOW, svc::STORAGE_OBJ_TRUNC, vec![closed, u64::MAX]),
            (Is::BAD_STATE, svc::STORAGE_OBJ_SEEK, vec![transient, 0, 0]),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_OBJ_SEEK,
                vec![object, 0, 3],
            ),
            (Is::BAD_PARAMETERS, svc::STORAGE_ENUM_ALLOC, vec![0]),
            (Is::BAD_PARAMETERS, svc::STORAGE_ENUM_FREE, vec![object]),
            (Is::BAD_PARAMETERS, svc::STORAGE_ENUM_RESET, vec![1]),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_ENUM_START,
                vec![u64::MAX, 1],
            ),
            (
                Is::BAD_PARAMETERS,
                svc::STORAGE_ENUM_NEXT,
                vec![0, out, out, out],
            ),
        ] {
            ta.expect(expected, number, &args);
        }
        assert_eq!(open(ta, "c", 1), Err(Is::ITEM_NOT_FOUND));
        let kept = ["/0", "/1", "/dirf.db"];
        assert_eq!(
            ta.world.file_names(),
            kept,
            "nothing is left of what was refused"
        );
    });
}

#[test]
fn a_renamed_object_has_its_new_name_and_names_that_are_taken_are_not_given() {
    with_ta(|ta| {
        let one = create(ta, "one", ALL, b"1").unwrap();
        let two = create(ta, "two", ALL, b"2").unwrap();
        let rename = |object, name: &str| {
            let [at, len] = id(ta, name);
            ta.call(svc::STORAGE_OBJ_RENAME, &[object, at, len])
        };
        for taken in ["one", "two"] {
            assert_eq!(rename(one, taken), TeeResult::ACCESS_CONFLICT);
        }
        ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[two]);
        assert_eq!(
            rename(one, "two"),
            TeeResult::ACCESS_CONFLICT,
            "closed, but there"
        );
        assert_eq!(rename(one, "three"), OK);
        assert_eq!(read(ta, one, 9).unwrap(), b"1");
        assert_eq!(open(ta, "one", ALL), Err(TeeResult::ITEM_NOT_FOUND));
        ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[one]);
        assert_eq!(read(ta, open(ta, "three", ALL).unwrap(), 9).unwrap(), b"1");
    });
}

#[test]
fn a_ta_lists_its_own_objects_whoever_has_them_open() {
    leaves_nothing(|world| {
        let (ta, other) = (Caller::new(world, MULTI), Caller::new(world, SHARED));
        let listing = ta.handle(svc::STORAGE_ENUM_ALLOC, &[]).unwrap();
        let (info, name, len) = (ta.memory, ta.memory + 0x100, ta.memory + 0x200);
        let next = || {
            ta.call(svc::STORAGE_ENUM_NEXT, &[listing, info, name, len])
                .ok()?;
            Ok::<_, TeeResult>(ta.load(name, ta.load_u64(len) as usize))
        };
        const END: TeeResult = TeeResult::ITEM_NOT_FOUND;
        assert_eq!(next(), Err(END), "not begun");
        ta.expect(END, svc::STORAGE_ENUM_START, &[listing, SPACE]);
        create(&other, "theirs", ALL, b"").unwrap();
        ta.expect(END, svc::STORAGE_ENUM_START, &[listing, SPACE]);
        let open = create(&ta, "a", ALL, b"123").unwrap();
        let closed = create(&ta, "bb", ALL, b"").unwrap();
        ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[closed]);
        ta.expect(END, svc::STORAGE_ENUM_START, &[listing, 0x8000_0100]);
        ta.expect(OK, svc::STORAGE_ENUM_START, &[listing, SPACE]);
        assert_eq!(next().unwrap(), b"a");
        let told = ta.load(info, size_of::<UteeObjectInfo>());
        let told = UteeObjectInfo::read_from_bytes(&told).unwrap();
        assert_eq!(told.data_bytes, 3);
        assert_eq!(next().unwrap(), b"bb");
        assert_eq!(next(), Err(END));
        ta.expect(OK, svc::STORAGE_ENUM_RESET, &[listing]);
        assert_eq!(next(), Err(END));
        ta.expect(OK, svc::STORAGE_ENUM_START, &[listing, SPACE]);
        let second = ta.handle(svc::STORAGE_ENUM_ALLOC, &[]).unwrap();
        ta.expect(OK, svc::STORAGE_ENUM_FREE, &[second]);
        assert_eq!(super::storage::open(&other, "a", ALL), Err(END));
        ta.expect(OK, svc::STORAGE_OBJ_DEL, &[open]);
        // What is still open goes with its TA.
        ta.close();
        other.close();
    });
}
