//! Short names of calls: the program's own function.
//!
//! **Invariant:** a frame that is known is never hidden for good: [`useful`] falls back to it.

use crate::dwarf::Frame;
use tally_abi::sites::is_allocator;

/// The innermost frame that is not the standard library's, nor the way into the allocator; the outermost one
/// when all are.
#[must_use]
pub fn useful(frames: &[Frame]) -> Option<&Frame> {
    let own = |frame: &&Frame| !is_allocator(&frame.function, &frame.file);
    frames
        .iter()
        .filter(|frame| frame.line > 0)
        .find(own)
        .or(frames.last())
}

/// The last two segments of a function's path, without generic arguments:
/// `<tally_core::Table<T> as core::fmt::Debug>::fmt` becomes `Table::fmt`.
#[must_use]
pub fn short_name(name: &str) -> String {
    let name = match name
        .strip_prefix('<')
        .and_then(|rest| split_at_closing(rest))
    {
        Some((inside, after)) => {
            let own_type = split_top_level(inside, " as ").unwrap_or(inside);
            format!("{}{after}", own_type.trim_start_matches(['&', '*']))
        }
        None => name.to_owned(),
    };
    let mut plain = String::new();
    let mut depth = 0u32;
    for c in name.replace("->", "").chars() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let plain = plain
        .replace("::{{closure}}", "{}")
        .replace("::{closure#0}", "{}");
    let segments: Vec<&str> = plain.split("::").filter(|s| !s.is_empty()).collect();
    let mut short = segments[segments.len().saturating_sub(2)..].join("::");
    while short.len() > usize::from(u8::MAX) {
        short.pop();
    }
    short
}

/// Splits behind the `>` that closes an opened `<`.
fn split_at_closing(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

/// What stands before `mark` outside of angle brackets.
fn split_top_level<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ if depth == 0 && text[at..].starts_with(mark) => return Some(&text[..at]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_keep_type_and_method() {
        let cases = [
            ("main", "main"),
            ("tally_core::session::Table<4>::open", "Table::open"),
            (
                "<tally_core::Table<T> as core::fmt::Debug>::fmt",
                "Table::fmt",
            ),
            ("<&T as core::fmt::Debug>::fmt", "T::fmt"),
            ("a::b::c::{{closure}}", "b::c{}"),
            ("a::call::<fn(u8) -> u8>", "a::call"),
        ];
        for (name, short) in cases {
            assert_eq!(short_name(name), short);
        }
    }

    #[test]
    fn library_frames_give_way_to_ours() {
        let frame = |function: &str, file: &str| Frame {
            function: function.into(),
            file: file.into(),
            line: 1,
        };
        let frames = [
            frame("push", "alloc/src/vec/mod.rs"),
            frame("ours", "kernel/src/main.rs"),
            frame("outer", "kernel/src/main.rs"),
        ];
        assert_eq!(useful(&frames).unwrap().function, "ours");
        assert_eq!(useful(&frames[..1]).unwrap().function, "push");
    }

    #[test]
    fn the_allocators_entry_gives_way_to_who_allocates() {
        // Bug: a `Box::new` in a function of ours was named by the line of `#[global_allocator]`.
        let frame = |function: &str, file: &str| Frame {
            function: function.into(),
            file: file.into(),
            line: 1,
        };
        let frames = [
            frame("__rustc::__rust_alloc", "ta-runtime/src/heap.rs"),
            frame("alloc::alloc::alloc", "alloc/src/alloc.rs"),
            frame("keep", "tas/heap/src/keep.rs"),
        ];
        assert_eq!(useful(&frames).unwrap().function, "keep");
        // Bug: what was inlined of the fallible collections was named, and not who uses them.
        let inlined = [
            frame("vec_with_capacity<u8>", "kernel/mem/src/fallible.rs"),
            frame("register", "kernel/core/src/call/shm.rs"),
        ];
        assert_eq!(useful(&inlined).unwrap().function, "register");
        assert_eq!(
            useful(&frames[..1]).unwrap().function,
            "__rustc::__rust_alloc"
        );
    }
}
