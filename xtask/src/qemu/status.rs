//! The machine's own status: the last line of the results, or of the secure console after a crash there.

use std::path::Path;
use tally_board_virt::images::STATUS;

/// What a guest wrote into its results: everything but the status, and the status.
pub(super) fn of_results(path: &Path) -> (String, Option<u8>) {
    // Without a file the guest has written nothing.
    let text = std::fs::read(path).unwrap_or_default();
    split(&String::from_utf8_lossy(&text))
}

fn split(text: &str) -> (String, Option<u8>) {
    let at = text.trim_end().rfind('\n').map_or(0, |end| end + 1);
    let (before, last) = text.split_at(at);
    match last.trim_end().strip_prefix(STATUS).map(str::parse) {
        Some(Ok(status)) => (before.to_owned(), Some(status)),
        _ => (text.to_owned(), None),
    }
}

/// The status that the secure world ended the machine with, behind the prefix of its own lines. The normal
/// world's later words do not count, as other CPUs may go on for a moment.
pub(super) fn of_secure(console: &str) -> Option<u8> {
    console.lines().rev().find_map(|line| {
        let (prefix, status) = line.trim_end().rsplit_once(STATUS)?;
        let own = prefix.starts_with("M/MON: ") || prefix.starts_with("E/TC:");
        (own && prefix.len() <= "E/TC:0 00 ".len()).then_some(status.parse().ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_results_is_the_status() {
        for (text, lines, status) in [
            ("{}\n{}\nstatus 3\n", "{}\n{}\n", Some(3)),
            ("status 0\n", "", Some(0)),
            ("{}\n", "{}\n", None),
            ("", "", None),
            ("status 1\n{}\n", "status 1\n{}\n", None),
            ("{}\nstatus 300\n", "{}\nstatus 300\n", None),
            ("{}\nstatus 1", "{}\n", Some(1)),
        ] {
            assert_eq!(split(text), (lines.to_owned(), status), "{text:?}");
        }
    }

    #[test]
    fn a_crash_of_the_secure_world_has_a_line_of_its_own() {
        for (console, status) in [
            (
                "E/TC:0 00 Panic at a.rs:1: b\r\nE/TC:0 00 status 70\r\n",
                Some(70),
            ),
            ("E/TC:1    status 70\nI/TA: one line more\n", Some(70)),
            ("M/MON: status 71\r\n", Some(71)),
            ("I/TA: hello: status 70\n", None),
            ("E/TC:0 00 TA says: status 70\n", None),
            ("status 70\n", None),
            ("M/MON: status many\n", None),
        ] {
            assert_eq!(of_secure(console), status, "{console:?}");
        }
    }
}
