//! The results file: one JSON object a line, on the host.
//!
//! **Invariant:** lines are whole; without a file named by fw_cfg nothing is written.

use alloc::string::String;
use core::fmt::Write;
use spin::{Mutex, Once};
use tally_board_virt::images::FW_CFG_RESULTS;

use crate::machine::fw_cfg;
use crate::machine::semihosting::HostFile;

static FILE: Once<Option<Mutex<HostFile>>> = Once::new();

/// Appends `line` (an object without its newline).
pub(crate) fn write(line: &str) {
    let file = FILE.call_once(|| {
        let path = fw_cfg::file(FW_CFG_RESULTS)?;
        HostFile::create(path.trim_end_matches(['\0', '\n'])).map(Mutex::new)
    });
    if let Some(file) = file {
        let mut whole = String::from(line);
        whole.push('\n');
        if !file.lock().append(whole.as_bytes()) {
            crate::machine::console::emergency(format_args!("cannot write the results file\n"));
        }
    }
}

/// `text` as a JSON string, in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // Strings take everything.
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
