//! Files for the host: a name and contents in pieces, on a channel that can do nothing else.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Once;
use tally_board_virt::images::{FW_CFG_TAKEN_NAMES, FilePiece};
use teestat::{FileSink, Files};

use crate::machine::{channel, fw_cfg};

/// The files of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostFiles;

/// Names that the host takes no files by, a line each.
fn taken() -> &'static str {
    static TAKEN: Once<String> = Once::new();
    TAKEN.call_once(|| fw_cfg::file(FW_CFG_TAKEN_NAMES).unwrap_or_default())
}

/// Learns which names are taken, while one CPU alone runs.
pub(crate) fn start() {
    taken();
}

/// A file on its way to the host, which has it when this is dropped.
struct HostFile(u32);

impl HostFile {
    fn piece(&self, bytes: &[u8]) -> Result<(), String> {
        let piece = FilePiece::new(self.0, bytes.len()).ok_or("more than a piece can have")?;
        let head = piece.to_bytes();
        let pieces = [&head, bytes];
        let pieces = if bytes.is_empty() {
            &pieces[..1]
        } else {
            &pieces
        };
        if channel::FILES.write(pieces) {
            Ok(())
        } else {
            Err("the host takes no files".to_string())
        }
    }
}

impl Files for HostFiles {
    fn create(&self, name: &str) -> Result<Box<dyn FileSink>, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !FilePiece::is_name(name) {
            return Err(format!(
                "{name}: the host takes names of letters, digits, `.`, `-` and `_`"
            ));
        }
        if taken().lines().any(|taken| taken == name) {
            return Err(format!(
                "{name}: the host has a folder or the like of this name"
            ));
        }
        let file = HostFile(NEXT.fetch_add(1, Ordering::Relaxed));
        file.piece(name.as_bytes())?;
        Ok(Box::new(file))
    }
}

impl FileSink for HostFile {
    fn write(&mut self, data: &[u8]) -> Result<(), String> {
        // An empty piece is the last.
        if data.is_empty() {
            Ok(())
        } else {
            self.piece(data)
        }
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        // Whoever wrote it has been told that the host takes none.
        let _ = self.piece(&[]);
    }
}
