//! Trusted storage over files that somebody untrusted keeps: requests that fail, lie, or forget.
//!
//! **Invariant:** whatever the supplicant says, an object is as before or as after, or known to be corrupt; and nothing
//! grows.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use ta_uuids::storage;
use tally_abi::TeeResult;
use tally_abi::storage::{data_flag as flag, whence};
use tally_paired::storage::Store;
use teec::ErrorKind;
use teec::smc::Files;

use super::account::Account;
use super::{Bench, Outcome, Test, equal, fails, holds, value_call, works};
use crate::storage::{self as kept, FileLie};

pub(super) const TESTS: &[Test] = &[
    (
        "whichever request to the files fails, an object is as before or as after",
        failing,
    ),
    (
        "whichever request to the files is done and told as failed, an object is as before or as after",
        |bench| each_lie(bench, FileLie::FailLater(TeeResult::GENERIC)),
    ),
    (
        "whichever read is short, nothing is taken for what it is not",
        |bench| each_lie(bench, FileLie::Short),
    ),
    (
        "whichever read is altered, nothing is taken for what it is not",
        |bench| {
            for bit in [0, 8 * 100 + 3, 8 * 5000] {
                each_lie(bench, FileLie::Flip(bit))?;
            }
            Ok(())
        },
    ),
    ("a supplicant that starts anew harms no object", |bench| {
        each_lie(bench, FileLie::Restart)
    }),
    (
        "whenever all files are lost, nothing else is in their place",
        |bench| each_lie(bench, FileLie::Lose),
    ),
    (
        "an open object outlives a supplicant that starts anew",
        restarted,
    ),
    ("a supplicant that loses all files is believed", lost),
    ("no room for files leaves an object as it was", full),
    ("an altered file is corrupt, each of its blocks", altered),
    (
        "a file of before beside a directory of today is corrupt",
        replayed,
    ),
    ("files say nothing of what is in objects", secret),
    ("no file stays behind an object", no_rest),
];

const ID: &[u8] = b"object";
const ALL: u32 = flag::ACCESS_READ | flag::ACCESS_WRITE | flag::ACCESS_WRITE_META;
/// Bytes of an object: two blocks of a file, and more.
const BYTES: u32 = 9000;
/// Requests of one operation at most.
const MOST: usize = 400;

/// Codes that a TA may be told when the files are not what they were.
const TOLD: [TeeResult; 5] = [
    TeeResult::STORAGE_NOT_AVAILABLE,
    TeeResult::STORAGE_NO_SPACE,
    TeeResult::CORRUPT_OBJECT,
    TeeResult::ITEM_NOT_FOUND,
    TeeResult::GENERIC,
];

/// An operation of an object that is there.
type Operation = fn(&mut Store<'_>) -> teec::Result<()>;

const OPERATIONS: [(&str, Operation); 6] = [
    ("read", |store| {
        let object = store.get(ID, ALL)?;
        store.right(object, BYTES, 0)?;
        store.close(object)
    }),
    ("write", |store| {
        let object = store.get(ID, ALL)?;
        store.seek(object, 4000, whence::SET)?;
        store.write(object, &[0xee; 1024])?;
        store.close(object)
    }),
    ("truncate", |store| {
        let object = store.get(ID, ALL)?;
        store.truncate(object, 5000)?;
        store.close(object)
    }),
    ("replace", |store| {
        let object = store.create(ID, ALL | flag::OVERWRITE, 10)?;
        store.close(object)
    }),
    ("rename", |store| {
        let object = store.get(ID, ALL)?;
        store.rename(object, b"renamed")?;
        store.close(object)
    }),
    ("delete", |store| {
        let object = store.get(ID, ALL)?;
        store.delete(object)
    }),
];

/// An object's id, and what is in it.
type Told = (Vec<u8>, Result<Vec<u8>, TeeResult>);

/// What can be told of all objects: ids, and what is in each. If they cannot be listed, one without an id.
fn told(bench: &Bench) -> Result<Vec<Told>, String> {
    let mut store = Store::open(bench)?;
    let mut all = Vec::new();
    let ids = match store.list() {
        Ok(ids) => ids,
        Err(error) => return Ok(vec![(Vec::new(), Err(error.result()))]),
    };
    for id in ids {
        let mut read = || {
            let object = store.get(&id, flag::ACCESS_READ)?;
            let mut data = Vec::new();
            loop {
                let more = store.read(object, 4096)?;
                if more.is_empty() {
                    break;
                }
                data.extend_from_slice(&more);
            }
            store.close(object)?;
            Ok(data)
        };
        let data = read().map_err(|error: teec::Error| error.result());
        all.push((id, data));
    }
    Ok(all)
}

/// One object, whose files can be had again.
fn one_object(bench: &Bench) -> Result<teec::smc::Saved, String> {
    kept::files().clear();
    let mut store = Store::open(bench)?;
    let object = works(store.create(ID, ALL, 0))?;
    works(store.fill(object, BYTES, 0))?;
    works(store.close(object))?;
    Ok(kept::files().save())
}

/// Does an operation from `saved` on, with a lie at the request after `at` others. True if it was told.
fn lied(
    bench: &Bench,
    saved: &teec::smc::Saved,
    operation: Operation,
    lie: FileLie,
    at: usize,
    is_right: impl FnOnce(Option<TeeResult>) -> Outcome,
) -> Result<bool, String> {
    kept::files().restore(saved);
    let mut store = Store::open(bench)?;
    kept::set_lie(Some(lie), at);
    let result = operation(&mut store);
    let asked = kept::asked();
    // Handles that it has still are closed.
    drop(store);
    kept::set_lie(None, 0);
    is_right(result.err().map(|error| error.result()))?;
    Ok(asked > at)
}

/// Tells a lie at each request of each operation in turn.
fn each_lie(bench: &Bench, lie: FileLie) -> Outcome {
    let saved = one_object(bench)?;
    let before = told(bench)?;
    let account = Account::take(bench)?;
    for (name, operation) in OPERATIONS {
        kept::files().restore(&saved);
        works(operation(&mut Store::open(bench)?))?;
        let after = told(bench)?;
        let mut ended = false;
        for at in 0..MOST {
            let where_it_was = |why: String| format!("{name}, request {at}, {lie:?}: {why}");
            let right = |code: Option<TeeResult>| {
                holds(
                    code.is_none_or(|code| TOLD.contains(&code)),
                    &format!("{code:?}"),
                )?;
                let now = told(bench)?;
                let is_lost = lie == FileLie::Lose;
                let may_be_gone = is_lost || code == Some(TeeResult::CORRUPT_OBJECT);
                let unreadable = is_lost && now.iter().all(|(_, data)| data.is_err());
                let is_known = now == before || now == after || now.is_empty() && may_be_gone;
                holds(
                    is_known || unreadable,
                    &format!("{code:?}, and {} objects that were never so", now.len()),
                )?;
                holds(
                    code.is_some() || now == after || is_lost,
                    "told as done, and not done",
                )
            };
            if !lied(bench, &saved, operation, lie, at, right).map_err(where_it_was)? {
                ended = true;
                break;
            }
            let now = Account::take(bench)?;
            account.same_as(&now).map_err(where_it_was)?;
        }
        holds(ended, &format!("{name}: more than {MOST} requests"))?;
    }
    kept::files().clear();
    Ok(())
}

fn failing(bench: &Bench) -> Outcome {
    for code in [TeeResult::GENERIC, TeeResult::STORAGE_NO_SPACE] {
        each_lie(bench, FileLie::Fail(code))?;
    }
    each_lie(bench, FileLie::FailOn(TeeResult::GENERIC))
}

fn restarted(bench: &Bench) -> Outcome {
    one_object(bench)?;
    let mut store = Store::open(bench)?;
    let object = works(store.get(ID, ALL))?;
    works(store.seek(object, 0, whence::SET))?;
    works(store.read(object, 10))?;
    kept::files().restart();
    works(store.seek(object, 0, whence::SET))?;
    let right = store.right(object, BYTES, 0);
    // The first call may find its handles gone; the next one has new ones.
    if let Err(error) = right {
        holds(TOLD.contains(&error.result()), &format!("{error}"))?;
        works(store.seek(object, 0, whence::SET))?;
        equal(works(store.right(object, BYTES, 0))?, BYTES, "read again")?;
    }
    works(store.delete(object))?;
    no_handles()
}

fn lost(bench: &Bench) -> Outcome {
    one_object(bench)?;
    let mut store = Store::open(bench)?;
    let object = works(store.get(ID, ALL))?;
    kept::files().clear();
    works(store.seek(object, BYTES as i32 - 10, whence::SET))?;
    // What the kernel has still is right.
    if let Ok(read) = store.read(object, 20) {
        let last = (BYTES as usize - 10..BYTES as usize).map(|at| storage::pattern(0, at));
        equal(read, last.collect(), "read")?;
    }
    drop(store);
    let mut store = Store::open(bench)?;
    fails(store.get(ID, ALL), ErrorKind::ItemNotFound)?;
    equal(works(store.list())?, Vec::new(), "ids")?;
    let object = works(store.create(ID, ALL, 10))?;
    works(store.delete(object))
}

/// A file of this world's that leaves so many bytes to others.
fn fill_up(left: usize) -> Outcome {
    let files = kept::files();
    let taken: usize = files
        .save()
        .files()
        .iter()
        .map(|(name, bytes)| name.len() + bytes.len())
        .sum();
    let file = files.create("filler").map_err(|code| format!("{code:?}"))?;
    let room = kept::MAX_BYTES - taken - "filler".len() - left;
    let filled = files.truncate(file, room as u64);
    filled.map_err(|code| format!("{code:?}"))?;
    files.close(file).map_err(|code| format!("{code:?}"))
}

fn full(bench: &Bench) -> Outcome {
    one_object(bench)?;
    let before = told(bench)?;
    for left in [0, 100, 4096, 20_000] {
        fill_up(left)?;
        let mut store = Store::open(bench)?;
        let object = works(store.get(ID, ALL))?;
        works(store.seek(object, 0, whence::END))?;
        let mut error = None;
        for _ in 0..20 {
            error = store.write(object, &[7; 4096]).err();
            if error.is_some() {
                break;
            }
        }
        let code = error.map(|error| error.result());
        equal(code, Some(TeeResult::STORAGE_NO_SPACE), "code")?;
        fails(
            value_call(store.session(), storage::CMD_MANY, 50, 1000),
            ErrorKind::StorageNoSpace,
        )?;
        drop(store);
        Files::remove(kept::files(), "filler").map_err(|code| format!("{code:?}"))?;
        let mut store = Store::open(bench)?;
        let object = works(store.get(ID, ALL))?;
        works(store.truncate(object, BYTES))?;
        works(store.close(object))?;
        for id in works(store.list())? {
            if id != ID {
                let more = works(store.get(&id, ALL))?;
                works(store.delete(more))?;
            }
        }
        drop(store);
        holds(told(bench)? == before, "the object is another")?;
    }
    works(Store::open(bench)?.clear())?;
    no_handles()
}

fn altered(bench: &Bench) -> Outcome {
    let saved = one_object(bench)?;
    let before = told(bench)?;
    let mut found = 0;
    for (name, bytes) in saved.files() {
        for at in (0..bytes.len()).step_by(509) {
            kept::files().restore(&saved);
            kept::files().change(name, |bytes| bytes[at] ^= 0x10);
            let now = told(bench)?;
            if now == before {
                // What it was before, or room that nobody uses.
                continue;
            }
            found += 1;
            let unknown = now.is_empty();
            let corrupt = now.iter().all(|(_, data)| data.is_err());
            holds(
                unknown || corrupt,
                &format!("byte {at} of {name} was altered, and what is read is another"),
            )?;
        }
    }
    kept::files().clear();
    holds(found > 10, &format!("{found} alterations were found"))
}

fn replayed(bench: &Bench) -> Outcome {
    let old = one_object(bench)?;
    let mut store = Store::open(bench)?;
    let object = works(store.get(ID, ALL))?;
    works(store.write(object, b"new"))?;
    works(store.close(object))?;
    drop(store);
    for (name, bytes) in old.files() {
        if name != "dirf.db" {
            kept::files().change(name, |now| now.clone_from(bytes));
        }
    }
    let mut store = Store::open(bench)?;
    let read = store.get(ID, ALL).and_then(|object| store.read(object, 10));
    fails(read, ErrorKind::CorruptObject)?;
    works(store.clear())?;
    kept::files().clear();
    Ok(())
}

fn secret(bench: &Bench) -> Outcome {
    kept::files().clear();
    let mut store = Store::open(bench)?;
    let text = b"a text that nobody else may read";
    let object = works(store.create(text, ALL, 0))?;
    works(store.write(object, text))?;
    works(store.close(object))?;
    for (name, bytes) in kept::files().save().files() {
        let shown = bytes.windows(12).any(|window| text.starts_with(window));
        // The directory's ids are encrypted, as data are.
        holds(!shown, &format!("{name} has it"))?;
    }
    works(store.clear())?;
    kept::files().clear();
    Ok(())
}

fn no_rest(bench: &Bench) -> Outcome {
    kept::files().clear();
    let mut store = Store::open(bench)?;
    works(value_call(store.session(), storage::CMD_MANY, 10, 5000))?;
    holds(
        kept::files().save().files().len() == 11,
        "files of ten objects",
    )?;
    works(store.clear())?;
    let saved = kept::files().save();
    let names: Vec<_> = saved
        .files()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    equal(names, ["dirf.db"].to_vec(), "files")?;
    drop(store);
    kept::files().clear();
    no_handles()
}

fn no_handles() -> Outcome {
    equal(kept::files().n_open(), 0, "files that stayed open")
}
