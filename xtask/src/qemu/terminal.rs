//! The terminal in raw mode, and back; its keys and its width on their way to the guest.
//!
//! **Invariant:** whoever leaves restores the terminal: drop, panic hook and signal handler. Every key but
//! [`LEAVE`] is the guest's, whatever it does.

use anyhow::Result;
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::io::Write as _;
use std::process::ChildStdin;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, Once};

/// Ctrl-], which ends the machine.
pub(crate) const LEAVE: u8 = 0x1d;

/// Columns of the terminal, if it says how many.
pub(crate) fn columns() -> Option<u16> {
    let size = termios::tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some(size.ws_col).filter(|&columns| columns > 0)
}

/// The guest's end of the keyboard. A guest that reads nothing holds nobody up.
pub(crate) struct Keyboard {
    sender: Sender<Vec<u8>>,
    /// Columns that the guest knows of, if it is to know.
    columns: Option<u16>,
}

impl Keyboard {
    /// A keyboard at this pipe.
    pub(crate) fn new(mut pipe: ChildStdin) -> Self {
        let (sender, receiver) = mpsc::channel::<Vec<u8>>();
        std::thread::spawn(move || {
            for bytes in receiver {
                // A closed pipe shows as the end of output, too.
                let _ = pipe.write_all(&bytes).and_then(|()| pipe.flush());
            }
        });
        Self {
            sender,
            columns: None,
        }
    }

    /// The guest, which was told of the columns, is to hear of each change.
    pub(crate) fn report_columns(&mut self) {
        self.columns = columns();
    }

    /// Types these bytes.
    pub(crate) fn send(&self, bytes: Vec<u8>) {
        // As above.
        let _ = self.sender.send(bytes);
    }

    /// Reports the columns if they have changed, as xterm does.
    pub(crate) fn poll_columns(&mut self) {
        if let (Some(known), Some(columns)) = (&mut self.columns, columns())
            && *known != columns
        {
            *known = columns;
            self.send(format!("\x1b[8;0;{columns}t").into_bytes());
        }
    }
}

static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input in raw mode while it lives.
pub(crate) struct Raw(());

impl Raw {
    /// Every key goes to the guest; output keeps its line-end processing.
    pub(crate) fn enter() -> Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.local_modes -=
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IXON;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        if let Ok(mut saved) = SAVED.lock() {
            *saved = Some(before);
        }
        hook_panics();
        termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was; nothing when it was never changed.
pub(crate) fn restore() {
    // `try_lock`: a panic or a signal may find the lock taken.
    if let Ok(mut saved) = SAVED.try_lock()
        && let Some(before) = saved.take()
    {
        // A terminal that went away needs no restoring.
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
    }
}

fn hook_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            default(info);
        }));
    });
}
