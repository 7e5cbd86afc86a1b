//! The results file: one JSON object a line, on the host.
//!
//! **Invariant:** lines are whole; without a file named by fw_cfg nothing is written.

use alloc::format;
use serde_json::Value;
use spin::{Mutex, Once};
use tally_board_virt::images::FW_CFG_RESULTS;

use crate::machine::fw_cfg;
use crate::machine::semihosting::HostFile;

static FILE: Once<Option<Mutex<HostFile>>> = Once::new();

/// Appends an object.
pub(crate) fn write(object: &Value) {
    let file = FILE.call_once(|| {
        let path = fw_cfg::file(FW_CFG_RESULTS)?;
        HostFile::create(path.trim_end_matches(['\0', '\n'])).map(Mutex::new)
    });
    if let Some(file) = file {
        let line = format!("{object}\n");
        if !file.lock().append(line.as_bytes()) {
            crate::machine::console::emergency(format_args!("cannot write the results file\n"));
        }
    }
}
