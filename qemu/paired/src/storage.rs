//! Trusted storage, as TAs have it: objects made, written, read, renamed, listed and deleted.
//!
//! **Invariant:** every test ends without objects, and nothing of storage stays in secure memory.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use ta_uuids::storage::{self, KEY, pattern};
use tally_abi::TeeResult;
use tally_abi::crypto::object_type;
use tally_abi::storage::{data_flag as flag, whence};
use teec::{ErrorKind, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};

use crate::{Bench, Outcome, Test, equal, fails, value_call, value_in, value_out, works};

pub(crate) const TESTS: &[Test] = &[
    (
        "an object is written, read, renamed, listed and deleted",
        life,
    ),
    (
        "data of an object grow and shrink, with zeros in between",
        sizes,
    ),
    (
        "a position goes where it is told, and no further",
        positions,
    ),
    (
        "a handle rules out others that it does not share with",
        sharing,
    ),
    (
        "an object is replaced only where that is asked for",
        replaced,
    ),
    ("a key comes out of storage as it went in", keys),
    ("many objects are made, listed and deleted", many),
    ("instances of a TA see each other's objects", instances),
    (
        "a TA that ends with open objects leaves none open",
        left_open,
    ),
    ("a TA that dies with open objects leaves none open", died),
    (
        "enumerators end with their TA, and are not without end",
        enumerators,
    ),
];

/// To read, write, rename and delete.
const ALL: u32 = flag::ACCESS_READ | flag::ACCESS_WRITE | flag::ACCESS_WRITE_META;
/// As far as ids of a test's objects may go.
const IDS: usize = 8192;

type Told<T = ()> = teec::Result<T>;

/// A session of the TA for storage.
pub struct Store<'t>(Session<'t>);

impl<'t> Store<'t> {
    /// A session, with whatever the TA has.
    pub fn open(bench: &Bench<'t>) -> Result<Self, String> {
        bench.open(storage::UUID).map(Self)
    }

    /// A session, and no objects.
    pub fn empty(bench: &Bench<'t>) -> Result<Self, String> {
        let mut store = Self::open(bench)?;
        works(store.clear())?;
        Ok(store)
    }

    /// The session itself.
    pub const fn session(&mut self) -> &mut Session<'t> {
        &mut self.0
    }

    /// Closes the session.
    pub fn end(self) -> Told {
        self.0.close()
    }

    /// Deletes all objects: how many.
    pub fn clear(&mut self) -> Told<u32> {
        Ok(value_out(&mut self.0, storage::CMD_REMOVE_ALL)?.0)
    }

    fn named(&mut self, command: u32, id: &[u8], a: u32, b: u32) -> Told<u32> {
        let mut op = Operation::new(
            0,
            ParamTmpRef::new_input(id),
            ParamValue::new(a, b, ParamType::ValueInput),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamNone,
        );
        self.0.invoke_command(command, &mut op)?;
        Ok(op.parameters().2.a())
    }

    /// Opens an object: its handle.
    pub fn get(&mut self, id: &[u8], flags: u32) -> Told<u32> {
        self.named(storage::CMD_OPEN, id, flags, 0)
    }

    /// Makes an object of so many bytes of pattern 0: its handle.
    pub fn create(&mut self, id: &[u8], flags: u32, bytes: u32) -> Told<u32> {
        self.named(storage::CMD_CREATE, id, flags, bytes)
    }

    /// Closes a handle.
    pub fn close(&mut self, handle: u32) -> Told {
        value_in(&mut self.0, storage::CMD_CLOSE, handle, 0)
    }

    /// Deletes an object.
    pub fn delete(&mut self, handle: u32) -> Told {
        value_in(&mut self.0, storage::CMD_DELETE, handle, 0)
    }

    /// Gives an object another id.
    pub fn rename(&mut self, handle: u32, id: &[u8]) -> Told {
        let mut op = Operation::new(
            0,
            ParamTmpRef::new_input(id),
            ParamValue::new(handle, 0, ParamType::ValueInput),
            ParamNone,
            ParamNone,
        );
        self.0.invoke_command(storage::CMD_RENAME, &mut op)
    }

    fn bytes_out(&mut self, command: u32, handle: u32, most: usize) -> Told<Vec<u8>> {
        let mut bytes = vec![0; most];
        let mut op = Operation::new(
            0,
            ParamValue::new(handle, 0, ParamType::ValueInput),
            ParamTmpRef::new_output(&mut bytes),
            ParamNone,
            ParamNone,
        );
        self.0.invoke_command(command, &mut op)?;
        let len = op.parameters().1.updated_size();
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Reads from the handle's position on.
    pub fn read(&mut self, handle: u32, most: usize) -> Told<Vec<u8>> {
        self.bytes_out(storage::CMD_READ, handle, most)
    }

    /// Writes from the handle's position on.
    pub fn write(&mut self, handle: u32, bytes: &[u8]) -> Told {
        let mut op = Operation::new(
            0,
            ParamValue::new(handle, 0, ParamType::ValueInput),
            ParamTmpRef::new_input(bytes),
            ParamNone,
            ParamNone,
        );
        self.0.invoke_command(storage::CMD_WRITE, &mut op)
    }

    /// Makes an object so long.
    pub fn truncate(&mut self, handle: u32, bytes: u32) -> Told {
        value_in(&mut self.0, storage::CMD_TRUNCATE, handle, bytes)
    }

    /// Moves the handle's position.
    pub fn seek(&mut self, handle: u32, offset: i32, whence: u64) -> Told {
        let mut op = Operation::new(
            0,
            ParamValue::new(handle, offset.cast_unsigned(), ParamType::ValueInput),
            ParamValue::new(whence as u32, 0, ParamType::ValueInput),
            ParamNone,
            ParamNone,
        );
        self.0.invoke_command(storage::CMD_SEEK, &mut op)
    }

    /// Bytes of data and the position in them; type, and bits of the key.
    pub fn info(&mut self, handle: u32) -> Told<[u32; 4]> {
        let mut op = Operation::new(
            0,
            ParamValue::new(handle, 0, ParamType::ValueInput),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamNone,
        );
        self.0.invoke_command(storage::CMD_INFO, &mut op)?;
        let (_, data, key, _) = op.parameters();
        Ok([data.a(), data.b(), key.a(), key.b()])
    }

    /// The ids of all objects, sorted.
    pub fn list(&mut self) -> Told<Vec<Vec<u8>>> {
        let mut bytes = vec![0; IDS];
        let mut op = Operation::new(
            0,
            ParamTmpRef::new_output(&mut bytes),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamNone,
            ParamNone,
        );
        self.0.invoke_command(storage::CMD_LIST, &mut op)?;
        let (len, count) = (op.parameters().0.updated_size(), op.parameters().1.a());
        let bad = || teec::Error::new(ErrorKind::BadFormat);
        let mut rest = bytes.get(..len).ok_or_else(bad)?;
        let mut ids = Vec::new();
        while let Some((len, behind)) = rest.split_first() {
            let (id, behind) = behind.split_at_checked(usize::from(*len)).ok_or_else(bad)?;
            ids.push(id.to_vec());
            rest = behind;
        }
        ids.sort();
        if ids.len() == count as usize {
            Ok(ids)
        } else {
            Err(bad())
        }
    }

    fn patterned(&mut self, command: u32, handle: u32, bytes: u32, seed: u32) -> Told<u32> {
        let mut op = Operation::new(
            0,
            ParamValue::new(handle, bytes, ParamType::ValueInput),
            ParamValue::new(seed, 0, ParamType::ValueInput),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamNone,
        );
        self.0.invoke_command(command, &mut op)?;
        Ok(op.parameters().2.a())
    }

    /// Writes a pattern from the handle's position on.
    pub fn fill(&mut self, handle: u32, bytes: u32, seed: u32) -> Told {
        let mut op = Operation::new(
            0,
            ParamValue::new(handle, bytes, ParamType::ValueInput),
            ParamValue::new(seed, 0, ParamType::ValueInput),
            ParamNone,
            ParamNone,
        );
        self.0.invoke_command(storage::CMD_FILL, &mut op)
    }

    /// Bytes of a pattern that are there, from the handle's position on.
    pub fn right(&mut self, handle: u32, bytes: u32, seed: u32) -> Told<u32> {
        self.patterned(storage::CMD_CHECK, handle, bytes, seed)
    }

    /// Keeps a key.
    pub fn put_key(&mut self, id: &[u8], key: &[u8]) -> Told {
        let mut op = Operation::new(
            0,
            ParamTmpRef::new_input(id),
            ParamTmpRef::new_input(key),
            ParamNone,
            ParamNone,
        );
        self.0.invoke_command(storage::CMD_PUT_KEY, &mut op)
    }
}

fn patterned(seed: u32, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| pattern(seed, at)).collect()
}

fn life(bench: &Bench) -> Outcome {
    let mut store = Store::empty(bench)?;
    fails(store.get(b"first", ALL), ErrorKind::ItemNotFound)?;
    let first = works(store.create(b"first", ALL, 100))?;
    equal(
        works(store.info(first))?,
        [100, 0, object_type::DATA, 0],
        "what is told of it",
    )?;
    equal(
        works(store.read(first, 200))?,
        patterned(0, 100),
        "first data",
    )?;
    works(store.fill(first, 9000, 7))?;
    works(store.close(first))?;
    let first = works(store.get(b"first", ALL))?;
    works(store.seek(first, 100, whence::SET))?;
    equal(
        works(store.right(first, 9000, 7))?,
        9000,
        "bytes that are right",
    )?;
    let second = works(store.create(b"", ALL, 0))?;
    fails(store.rename(second, b"first"), ErrorKind::AccessConflict)?;
    works(store.rename(first, b"another\0name"))?;
    equal(
        works(store.list())?,
        vec![b"".to_vec(), b"another\0name".to_vec()],
        "ids",
    )?;
    fails(store.get(b"first", ALL), ErrorKind::ItemNotFound)?;
    works(store.close(first))?;
    let renamed = works(store.get(b"another\0name", ALL))?;
    equal(works(store.info(renamed))?[0], 9100, "bytes")?;
    works(store.delete(renamed))?;
    works(store.delete(second))?;
    equal(works(store.list())?, Vec::new(), "ids at last")
}

fn sizes(bench: &Bench) -> Outcome {
    let mut store = Store::empty(bench)?;
    let id = [0xa5; storage::MAX_ID];
    let object = works(store.create(&id, ALL, 0))?;
    let mut wanted = Vec::new();
    // Within a block of a file, at its end, over several.
    for (at, len) in [(10, 20), (4090, 6), (4096, 1), (20_000, 4097), (3000, 9000)] {
        let bytes = patterned(at as u32, len);
        wanted.resize(wanted.len().max(at + len), 0);
        wanted[at..at + len].copy_from_slice(&bytes);
        works(store.seek(object, at as i32, whence::SET))?;
        works(store.write(object, &bytes))?;
    }
    for bytes in [24_097, 12_000, 8192, 4095, 30_000, 0, 1] {
        wanted.resize(bytes, 0);
        works(store.truncate(object, bytes as u32))?;
        works(store.seek(object, 0, whence::SET))?;
        let read = works(store.read(object, 40_000))?;
        if read != wanted {
            let differs = read.iter().zip(&wanted).position(|(a, b)| a != b);
            return Err(format!(
                "of {bytes} bytes {} were read, and differ at {differs:?}",
                read.len()
            ));
        }
    }
    works(store.delete(object))
}

fn positions(bench: &Bench) -> Outcome {
    let mut store = Store::empty(bench)?;
    let object = works(store.create(b"p", ALL, 1000))?;
    let mut at = |offset, whence, wanted: u32| -> Outcome {
        works(store.seek(object, offset, whence))?;
        equal(works(store.info(object))?[1], wanted, "position")
    };
    at(700, whence::SET, 700)?;
    at(-100, whence::CURRENT, 600)?;
    at(-1, whence::END, 999)?;
    at(i32::MIN, whence::CURRENT, 0)?;
    at(500, whence::END, 1500)?;
    equal(
        works(store.read(object, 10))?,
        Vec::new(),
        "read behind the end",
    )?;
    works(store.seek(object, i32::MAX, whence::SET))?;
    works(store.seek(object, i32::MAX, whence::CURRENT))?;
    let beyond = store.seek(object, 2, whence::CURRENT);
    let code = beyond.map_err(|error| error.result());
    equal(code, Err(TeeResult::OVERFLOW), "beyond any position")?;
    let [bytes, position, ..] = works(store.info(object))?;
    equal((bytes, position), (1000, u32::MAX - 1), "as before")?;
    works(store.delete(object))
}

fn sharing(bench: &Bench) -> Outcome {
    let conflict = |got: Told<u32>| fails(got, ErrorKind::AccessConflict);
    let (read, write) = (flag::ACCESS_READ, flag::ACCESS_WRITE);
    let (share_read, share_write) = (flag::SHARE_READ, flag::SHARE_WRITE);
    let mut store = Store::empty(bench)?;
    let alone = works(store.create(b"s", ALL, 10))?;
    conflict(store.get(b"s", read))?;
    conflict(store.create(b"s", ALL | flag::OVERWRITE, 0))?;
    works(store.close(alone))?;
    let reader = works(store.get(b"s", read | share_read))?;
    let other = works(store.get(b"s", read | share_read))?;
    conflict(store.get(b"s", write | share_read))?;
    fails(store.write(reader, b"x"), ErrorKind::AccessConflict)?;
    works(store.close(reader))?;
    works(store.close(other))?;
    let both = share_read | share_write;
    let writer = works(store.get(b"s", write | both))?;
    let reader = works(store.get(b"s", read | both))?;
    works(store.write(writer, b"new"))?;
    let got = works(store.read(reader, 3))?;
    equal(got, b"new".to_vec(), "what the other handle reads")?;
    fails(store.read(writer, 1).map(drop), ErrorKind::AccessConflict)?;
    works(store.close(writer))?;
    works(store.close(reader))?;
    works(store.clear()).and_then(|n| equal(n, 1, "objects"))
}

fn replaced(bench: &Bench) -> Outcome {
    let mut store = Store::empty(bench)?;
    let old = works(store.create(b"r", ALL, 5000))?;
    works(store.close(old))?;
    fails(store.create(b"r", ALL, 3), ErrorKind::AccessConflict)?;
    let old = works(store.get(b"r", ALL))?;
    equal(works(store.right(old, 5000, 0))?, 5000, "what was there")?;
    works(store.close(old))?;
    let new = works(store.create(b"r", ALL | flag::OVERWRITE, 3))?;
    equal(
        works(store.read(new, 9))?,
        patterned(0, 3),
        "what is there now",
    )?;
    equal(works(store.list())?.len(), 1, "objects")?;
    works(store.delete(new))
}

fn keys(bench: &Bench) -> Outcome {
    let mut store = Store::empty(bench)?;
    let key = patterned(3, KEY);
    works(store.put_key(b"k", &key))?;
    let object = works(store.get(b"k", ALL))?;
    let bits = 8 * KEY as u32;
    let told = works(store.info(object))?;
    equal(told, [0, 0, object_type::AES, bits], "what is told of it")?;
    let got = works(store.bytes_out(storage::CMD_GET_KEY, object, KEY))?;
    equal(got, key, "key")?;
    works(store.write(object, b"data"))?;
    works(store.close(object))?;
    let object = works(store.get(b"k", ALL))?;
    equal(works(store.read(object, 9))?, b"data".to_vec(), "its data")?;
    works(store.delete(object))
}

fn many(bench: &Bench) -> Outcome {
    const MANY: u32 = 40;
    let mut store = Store::empty(bench)?;
    let (made, _) = works(value_call(store.session(), storage::CMD_MANY, MANY, 64))?;
    equal(made, MANY, "objects that were made")?;
    let mut wanted: Vec<_> = (0..MANY)
        .map(|n| format!("{}{n}", storage::MANY).into_bytes())
        .collect();
    wanted.sort();
    equal(works(store.list())?, wanted, "ids")?;
    // A hole in the middle of the directory, and what fills it.
    let gone = works(store.get(b"many-17", ALL))?;
    works(store.delete(gone))?;
    let new = works(store.create(b"new", ALL, 1))?;
    works(store.close(new))?;
    equal(works(store.clear())?, MANY, "objects that were deleted")
}

fn instances(bench: &Bench) -> Outcome {
    let mut one = Store::empty(bench)?;
    let mut other = Store::open(bench)?;
    let access = flag::ACCESS_READ | flag::ACCESS_WRITE;
    let shared = access | flag::SHARE_READ | flag::SHARE_WRITE;
    let ours = works(one.create(b"i", shared, 10))?;
    fails(other.get(b"i", ALL), ErrorKind::AccessConflict)?;
    let theirs = works(other.get(b"i", shared))?;
    for turn in 0..4 {
        let (from, to) = (patterned(turn, 5000), turn as i32 * 3000);
        works(one.seek(ours, to, whence::SET))?;
        works(other.seek(theirs, to, whence::SET))?;
        if turn % 2 == 0 {
            works(one.write(ours, &from))?;
            equal(works(other.read(theirs, 5000))?, from, "read by the other")?;
        } else {
            works(other.write(theirs, &from))?;
            equal(works(one.read(ours, 5000))?, from, "read by the one")?;
        }
    }
    works(other.close(theirs))?;
    works(one.close(ours))?;
    equal(works(other.clear())?, 1, "objects")
}

/// Ends a session with objects and enumerators by `end`; they must be free afterwards.
fn ended(bench: &Bench, end: impl FnOnce(Store<'_>) -> Outcome) -> Outcome {
    let mut store = Store::empty(bench)?;
    for id in [b"a", b"b"] {
        works(store.create(id, ALL, 5000))?;
    }
    works(value_call(store.session(), storage::CMD_ENUMERATORS, 3, 0))?;
    end(store)?;
    let mut store = Store::open(bench)?;
    for id in [b"a", b"b"] {
        let object = works(store.get(id, ALL))?;
        equal(
            works(store.right(object, 5000, 0))?,
            5000,
            "bytes that are right",
        )?;
        works(store.delete(object))?;
    }
    Ok(())
}

fn left_open(bench: &Bench) -> Outcome {
    ended(bench, |mut store| {
        works(store.session().invoke_plain(storage::CMD_FORGET))?;
        works(store.end())
    })
}

fn died(bench: &Bench) -> Outcome {
    ended(bench, |mut store| {
        let died = store.session().invoke_plain(storage::CMD_PANIC);
        fails(died, ErrorKind::TargetDead)
    })
}

fn enumerators(bench: &Bench) -> Outcome {
    let mut store = Store::empty(bench)?;
    let ask = value_call(store.session(), storage::CMD_ENUMERATORS, 100_000, 0);
    fails(ask, ErrorKind::OutOfMemory)?;
    works(store.end())?;
    let mut store = Store::open(bench)?;
    works(value_call(store.session(), storage::CMD_ENUMERATORS, 3, 0)).map(drop)
}
