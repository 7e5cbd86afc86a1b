//! Log lines of a thread.

extern crate std;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::cell::RefCell;
use log::LevelFilter;
use std::thread_local;

thread_local! {
    /// What this thread has logged since somebody began to look, and up to which level it is of interest.
    static LOGGED: RefCell<Option<(LevelFilter, Vec<String>)>> = const { RefCell::new(None) };
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|logged| match logged {
            Some((most, lines)) if record.level() <= *most => {
                lines.push(record.args().to_string());
            }
            _ => {}
        });
    }
    fn flush(&self) {}
}

/// The lines up to a level that `work` has on the console.
pub fn lines(most: LevelFilter, work: impl FnOnce()) -> Vec<String> {
    // Another test may have set it.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
    LOGGED.set(Some((most, Vec::new())));
    work();
    LOGGED.take().map_or_else(Vec::new, |(_, lines)| lines)
}
