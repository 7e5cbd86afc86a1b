//! Measures of trusted storage: an object made, four KiB written and read, an object deleted.

use alloc::string::String;
use tally_abi::storage::{data_flag as flag, whence};
use tally_paired::storage::Store;
use teec::Context;

use super::{measure, say, told};
use crate::names::MachineNames;
use crate::storage;

const ALL: u32 = flag::ACCESS_READ | flag::ACCESS_WRITE | flag::ACCESS_WRITE_META;
/// Bytes of a block of a file.
const BLOCK: usize = 4096;
const TIMES: u32 = 10;

/// As [`measure`], and says how many requests to the files each time took.
fn measure_asking(name: &str, mut body: impl FnMut() -> teec::Result<()>) -> Result<(), String> {
    storage::set_lie(None, 0);
    measure(name, TIMES, || body().map_err(told))?;
    // Once more, to warm up.
    let times = TIMES as usize + 1;
    let asked = storage::asked();
    say(&alloc::format!(
        "{name}: {} requests to files\n",
        asked / times
    ));
    Ok(())
}

pub(super) fn run(context: &Context<'static>) -> Result<(), String> {
    let bench = tally_paired::Bench::new(*context, &MachineNames);
    let mut store = Store::empty(&bench)?;
    let mut made = 0_u32;
    measure_asking("storage_create", || {
        made += 1;
        let object = store.create(&made.to_le_bytes(), ALL, 0)?;
        store.close(object)
    })?;
    let object = store.get(&1_u32.to_le_bytes(), ALL).map_err(told)?;
    measure_asking("storage_write_4k", || {
        store.seek(object, 0, whence::SET)?;
        store.write(object, &[7; BLOCK])
    })?;
    measure_asking("storage_read_4k", || {
        store.seek(object, 0, whence::SET)?;
        store.read(object, BLOCK).map(drop)
    })?;
    store.close(object).map_err(told)?;
    measure_asking("storage_delete", || {
        let object = store.get(&made.to_le_bytes(), ALL)?;
        made -= 1;
        store.delete(object)
    })
}
