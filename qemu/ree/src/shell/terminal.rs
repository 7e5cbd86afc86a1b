//! The console as commands of `teestat` that go on see it.
//!
//! **Invariant:** it is a terminal only while somebody types the commands, and only for those on CPU 0.

use crate::machine::{console, cpu};
use teestat::Terminal;

/// The console, if somebody sits at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShellTerminal;

impl Terminal for ShellTerminal {
    fn is_terminal(&self) -> bool {
        super::interactive::is_interactive() && cpu::index() == 0 && !console::is_diverted()
    }

    fn columns(&self) -> Option<usize> {
        self.is_terminal().then(super::interactive::columns)
    }

    fn pause(&self, millis: u32) -> bool {
        let until = cpu::micros().saturating_add(u64::from(millis) * 1000);
        while cpu::micros() < until {
            if console::typed_byte() == Some(b'q') || console::breaks() > 0 {
                return true;
            }
            cpu::doze();
        }
        false
    }
}
