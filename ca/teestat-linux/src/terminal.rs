//! Terminal of a command that keeps running: its width, and the keys that end it.
//!
//! **Invariant:** the terminal takes keys one by one only while a command waits, and is as before when it goes on.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use teestat::Terminal;

/// Columns of a terminal that says of none, as a serial line's.
const USUAL_COLUMNS: usize = 80;
/// Keys that end what goes on: `q`, ctrl-C, ctrl-D.
const ENDS: [u8; 3] = [b'q', 3, 4];

/// A terminal, or what stands in place of one.
pub(crate) struct Tty<'a> {
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    /// What the environment says of its columns.
    columns: Option<usize>,
}

impl Tty<'static> {
    /// That of this process.
    pub(crate) fn own() -> Self {
        let columns = std::env::var("COLUMNS").ok();
        Self {
            input: rustix::stdio::stdin(),
            output: rustix::stdio::stdout(),
            columns: columns.and_then(|text| text.parse().ok()),
        }
    }
}

impl Tty<'_> {
    /// Whether a key that ends comes in this time.
    fn is_ended_within(&self, time: Duration) -> rustix::io::Result<bool> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| rustix::io::Errno::INVAL)?;
            let mut ready = [PollFd::from_borrowed_fd(self.input, PollFlags::IN)];
            match poll(&mut ready, Some(&left)) {
                Err(rustix::io::Errno::INTR) => continue,
                result if result? == 0 => return Ok(false),
                _ => {}
            }
            let mut keys = [0; 16];
            let (keys, _) =
                rustix::io::read(self.input, &mut keys[..]).map(|count| keys.split_at(count))?;
            // Nothing comes from a terminal that went away.
            if keys.is_empty() || keys.iter().any(|key| ENDS.contains(key)) {
                return Ok(true);
            }
        }
    }
}

impl Terminal for Tty<'_> {
    fn is_terminal(&self) -> bool {
        termios::isatty(self.input) && termios::isatty(self.output)
    }

    fn columns(&self) -> Option<usize> {
        let size = termios::tcgetwinsize(self.output).ok()?;
        let said = Some(usize::from(size.ws_col)).filter(|&columns| columns > 0);
        Some(said.or(self.columns).unwrap_or(USUAL_COLUMNS))
    }

    fn pause(&self, millis: u32) -> bool {
        let time = Duration::from_millis(millis.into());
        let Ok(_keys) = Keys::one_by_one(self.input) else {
            std::thread::sleep(time);
            return false;
        };
        self.is_ended_within(time).unwrap_or(true)
    }
}

/// A terminal that gives keys one by one and does not show them, while this lives.
struct Keys<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Keys<'a> {
    fn one_by_one(terminal: BorrowedFd<'a>) -> rustix::io::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        termios::tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        // A terminal that went away needs nothing.
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::ffi::OsStrExt as _;

    /// Both ends of a terminal that does not say how wide it is.
    fn terminal() -> (File, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let path = OsStr::from_bytes(path.as_bytes());
        let slave = File::options().read(true).write(true).open(path).unwrap();
        (master.into(), slave)
    }

    fn tty(file: &File, columns: Option<usize>) -> Tty<'_> {
        Tty {
            input: file.as_fd(),
            output: file.as_fd(),
            columns,
        }
    }

    /// Bug: on a terminal `top` printed one round, and tables were as wide as they liked on a serial line.
    #[test]
    fn a_terminal_goes_on_until_a_key_ends_it() {
        let (mut keyboard, file) = terminal();
        let seat = tty(&file, None);
        assert!(seat.is_terminal());
        assert_eq!(seat.columns(), Some(USUAL_COLUMNS));
        assert_eq!(tty(&file, Some(60)).columns(), Some(60));
        let before = termios::tcgetattr(&file).unwrap().local_modes;
        // Before a command waits, ctrl-C is a signal, and no key.
        let mut type_while_it_waits = |keys: &[u8], millis| {
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| seat.pause(millis));
                while termios::tcgetattr(&file).unwrap().local_modes == before {
                    std::thread::yield_now();
                }
                keyboard.write_all(keys).unwrap();
                waits.join().unwrap()
            })
        };
        assert!(!type_while_it_waits(b"x", 500));
        for end in ENDS {
            assert!(type_while_it_waits(&[b'x', end], 60_000), "{end}");
        }
        assert_eq!(termios::tcgetattr(&file).unwrap().local_modes, before);
    }

    #[test]
    fn what_is_no_terminal_has_no_width_and_asks_nobody() {
        let file = File::open("/dev/null").unwrap();
        let seat = tty(&file, Some(60));
        assert!(!seat.is_terminal());
        assert_eq!(seat.columns(), None);
        assert!(!seat.pause(1));
    }
}
