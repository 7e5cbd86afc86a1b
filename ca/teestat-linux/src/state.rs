//! Tool state kept between runs, in a file of the user's session.
//!
//! **Invariant:** a file that is missing or not understood is as if nothing was remembered.

use std::io;
use std::path::{Path, PathBuf};

use teestat::{Memory, SlabNote};

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
    let mut lines = text.lines();
    Memory {
        last_mark: lines.next().and_then(|line| line.trim().parse().ok()),
        slabs: lines.filter_map(slab).collect(),
    }
}

/// Reads a size class: UUID of the pool, number of the instance, kind, size of a block, live blocks, bytes.
fn slab(line: &str) -> Option<SlabNote> {
    let mut words = line.split(' ');
    Some(SlabNote {
        pool: words.next()?.parse().ok()?,
        instance: words.next()?.parse().ok()?,
        kind: words.next()?.parse().ok()?,
        block_size: words.next()?.parse().ok()?,
        live: words.next()?.parse().ok()?,
        bytes: words.next()?.parse().ok()?,
    })
}

/// Writes the state.
pub(crate) fn save(memory: &Memory) -> io::Result<()> {
    let path = path();
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, print(memory))
}

fn print(memory: &Memory) -> String {
    let mark = memory.last_mark.map(|mark| mark.to_string());
    let mut text = mark.unwrap_or_default() + "\n";
    for note in &memory.slabs {
        text += &format!(
            "{} {} {} {} {} {}\n",
            note.pool, note.instance, note.kind, note.block_size, note.live, note.bytes
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Memory, SlabNote, parse, print};

    #[test]
    fn what_is_written_is_read_again() {
        let note = SlabNote {
            instance: 7,
            kind: 1,
            block_size: 48,
            live: 3,
            bytes: 4096,
            ..SlabNote::default()
        };
        for last_mark in [None, Some(3)] {
            let memory = Memory {
                last_mark,
                slabs: vec![note, note],
            };
            assert_eq!(parse(&print(&memory)), memory);
        }
        assert!(parse("1\nno slab at all\n").slabs.is_empty());
    }

    #[test]
    fn only_a_number_is_a_mark() {
        assert_eq!(parse("7\n").last_mark, Some(7));
        for text in ["", "seven", "-1", "99999999999"] {
            assert_eq!(parse(text).last_mark, None, "{text}");
        }
    }
}
