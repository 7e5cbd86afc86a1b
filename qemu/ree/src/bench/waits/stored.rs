//! Operations of trusted storage, of large objects and of many.
//!
//! **Invariant:** no object is left.

use alloc::format;
use alloc::string::String;
use ta_uuids::storage::CMD_MANY;
use tally_abi::storage::{data_flag as flag, whence};
use tally_paired::storage::Store;
use teec::Context;

use super::{measure, told};
use crate::names::MachineNames;

const ALL: u32 = flag::ACCESS_READ | flag::ACCESS_WRITE | flag::ACCESS_WRITE_META;
/// A tree of six levels.
const BYTES: u32 = 128 << 10;
const OBJECTS: u32 = 40;

/// Measures all of them.
pub(in crate::bench) fn run(context: &Context<'static>) -> Result<(), String> {
    let bench = tally_paired::Bench::new(*context, &MachineNames);
    let mut store = Store::empty(&bench)?;
    let of = |what: &str| format!("object of {} KiB: {what}", BYTES >> 10);
    let mut object = store.create(b"large", ALL, 0).map_err(told)?;
    measure(&of("written"), || {
        store.fill(object, BYTES, 1).map_err(told)
    })?;
    measure(&of("opened"), || {
        store.close(object).map_err(told)?;
        object = store.get(b"large", ALL).map_err(told)?;
        Ok(())
    })?;
    measure(&of("read"), || {
        store.right(object, BYTES, 1).map(drop).map_err(told)
    })?;
    measure(&of("a byte at its end"), || {
        store.seek(object, -1, whence::END).map_err(told)?;
        store.write(object, &[1]).map_err(told)
    })?;
    measure(&of("cut off"), || store.truncate(object, 10).map_err(told))?;
    measure(&of("deleted"), || store.delete(object).map_err(told))?;
    measure(&format!("{OBJECTS} objects: made"), || {
        tally_paired::value_call(store.session(), CMD_MANY, OBJECTS, 100)
            .map(drop)
            .map_err(told)
    })?;
    measure(&format!("{OBJECTS} objects: listed"), || {
        store.list().map(drop).map_err(told)
    })?;
    measure(&format!("{OBJECTS} objects: deleted"), || {
        store.clear().map(drop).map_err(told)
    })
}
