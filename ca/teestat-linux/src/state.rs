//! What the tool remembers between runs, in a file of the user's session.
//!
//! **Invariant:** a file that is missing or not understood is as if nothing was remembered.
//! **Knows nothing of:** what marks are for.

use std::io;
use std::path::{Path, PathBuf};

use teestat::Memory;

/// `$XDG_RUNTIME_DIR/teestat/last-mark`, or below `/run` for services and root.
fn path() -> PathBuf {
    let run = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run".into());
    Path::new(&run).join("teestat").join("last-mark")
}

/// Reads the state.
pub(crate) fn load() -> Memory {
    parse(&std::fs::read_to_string(path()).unwrap_or_default())
}

fn parse(text: &str) -> Memory {
    Memory {
        last_mark: text.trim().parse().ok(),
    }
}

/// Writes the state.
pub(crate) fn save(memory: &Memory) -> io::Result<()> {
    let path = path();
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mark = memory.last_mark.map(|mark| mark.to_string());
    std::fs::write(path, mark.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_a_number_is_a_mark() {
        assert_eq!(parse("7\n").last_mark, Some(7));
        for text in ["", "seven", "-1", "99999999999"] {
            assert_eq!(parse(text).last_mark, None, "{text}");
        }
    }
}
