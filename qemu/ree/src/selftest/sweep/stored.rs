//! Operations of trusted storage that are swept.
//!
//! **Invariant:** whatever was refused, the object that is there is as before or as after, and goes with the operation.

use alloc::string::String;
use alloc::vec::Vec;
use tally_abi::storage::{data_flag as flag, whence};
use tally_paired::storage::Store;
use teec::ErrorKind;

use super::super::{holds, works};
use super::{Bench, Outcome, Probe, Swept, quick, slow};

const ALL: u32 = flag::ACCESS_READ | flag::ACCESS_WRITE | flag::ACCESS_WRITE_META;
/// Bytes of the object.
const BYTES: u32 = 5000;

pub(super) const OPERATIONS: &[Swept] = &[
    quick("create an object in storage", |bench, probe| {
        stored(bench, probe, |store| store.create(b"new", ALL, 100))
    }),
    slow("replace an object in storage", |bench, probe| {
        stored(bench, probe, |store| {
            store.create(b"there", ALL | flag::OVERWRITE, 10)
        })
    }),
    slow("open an object in storage and read it", |bench, probe| {
        stored(bench, probe, |store| {
            let object = store.get(b"there", ALL)?;
            store.right(object, BYTES, 0)
        })
    }),
    quick("write to an object in storage", |bench, probe| {
        stored(bench, probe, |store| {
            let object = store.get(b"there", ALL)?;
            store.seek(object, 3000, whence::SET)?;
            store.write(object, &[7; 2000])
        })
    }),
    slow("cut off an object in storage", |bench, probe| {
        stored(bench, probe, |store| {
            let object = store.get(b"there", ALL)?;
            let cut = store.truncate(object, 10);
            // As OP-TEE has it: this call alone has no code for a want of memory.
            cut.map_err(|error| match error.kind() {
                ErrorKind::Generic => ErrorKind::OutOfMemory.into(),
                _ => error,
            })
        })
    }),
    slow("rename an object in storage", |bench, probe| {
        stored(bench, probe, |store| {
            let object = store.get(b"there", ALL)?;
            store.rename(object, b"new")
        })
    }),
    slow("delete an object in storage", |bench, probe| {
        stored(bench, probe, |store| {
            let object = store.get(b"there", ALL)?;
            store.delete(object)
        })
    }),
    slow("keep a key in storage", |bench, probe| {
        stored(bench, probe, |store| store.put_key(b"new", &[7; 32]))
    }),
    slow("close a session with objects of storage", |bench, probe| {
        let mut store = Store::empty(bench)?;
        works(store.create(b"there", ALL, BYTES))?;
        works(store.create(b"new", ALL, BYTES))?;
        probe.during_what_succeeds(|| store.end())?;
        works(Store::open(bench)?.clear()).map(drop)
    }),
];

/// Does an operation beside an object that is there.
fn stored<T>(
    bench: &Bench,
    probe: &mut Probe,
    operation: impl FnOnce(&mut Store<'_>) -> teec::Result<T>,
) -> Outcome {
    let mut store = Store::empty(bench)?;
    let there = works(store.create(b"there", ALL, BYTES))?;
    works(store.close(there))?;
    let before = told(bench)?;
    let done = probe.during(|| operation(&mut store))?;
    works(store.end())?;
    let now = told(bench)?;
    holds(
        done.is_some() || now == before || now.len() == 1,
        "half of it is done",
    )?;
    works(Store::open(bench)?.clear()).map(drop)
}

/// Each object's id and bytes.
fn told(bench: &Bench) -> Result<Vec<(Vec<u8>, u32)>, String> {
    let mut store = Store::open(bench)?;
    let mut all = Vec::new();
    for id in works(store.list())? {
        let object = works(store.get(&id, ALL))?;
        let [bytes, ..] = works(store.info(object))?;
        works(store.close(object))?;
        all.push((id, bytes));
    }
    Ok(all)
}
