//! Names for the frames of call stacks.
//!
//! **Invariant:** a frame that nobody can name is shown as image and offset; at least one frame of a
//! stack is shown.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_abi::sites::is_allocator;
use teec::Context;

use crate::text::Named;
use crate::tool::Tool;
use crate::{Names, client};

impl Tool<'_, '_> {
    /// Names of the frames of a stack (0 ends it), without the way into the allocator.
    pub(crate) fn name_frames(&self, image: TeeUuid, frames: &[u64]) -> Vec<String> {
        let mut kernel = KernelNames::new(self.context);
        name_frames(&mut kernel, self.names, image, frames)
    }

    /// Lines of the kernel's, with names for the frames in them, without the way into the allocator.
    pub(crate) fn name_addresses(&self, text: &str) -> Vec<String> {
        named_lines(text, |image, frame| {
            frame_name(self.context, self.names, image, frame)
        })
    }
}

/// As [`Tool::name_frames`], for stacks of which many have the same frames.
pub(crate) fn name_frames(
    kernel: &mut KernelNames<'_, '_>,
    names: &dyn Names,
    image: TeeUuid,
    frames: &[u64],
) -> Vec<String> {
    let frames = frames.iter().take_while(|&&frame| frame != 0);
    let mut named: Vec<String> = frames
        .map(|&frame| {
            if image == TeeUuid::nil() {
                kernel.name(frame)
            } else {
                site_name(names, image, frame)
            }
        })
        .collect();
    named.drain(..allocator_frames(&named));
    named
}

/// Names of kernel frames, each asked for once.
pub(crate) struct KernelNames<'a, 'c> {
    context: &'a Context<'c>,
    session: Option<client::FrameNames<'c>>,
    known: BTreeMap<u64, String>,
}

impl<'a, 'c> KernelNames<'a, 'c> {
    /// None is known yet.
    pub(crate) const fn new(context: &'a Context<'c>) -> Self {
        Self {
            context,
            session: None,
            known: BTreeMap::new(),
        }
    }

    fn name(&mut self, frame: u64) -> String {
        if let Some(name) = self.known.get(&frame) {
            return name.clone();
        }
        if self.session.is_none() {
            self.session = client::FrameNames::open(self.context).ok();
        }
        let asked = self.session.as_mut().map(|session| session.name(frame));
        let name = match asked {
            Some(Ok(name)) => name,
            Some(Err(_)) | None => alloc::format!("kernel+{frame:#x}"),
        };
        self.known.insert(frame, name.clone());
        name
    }
}

/// A frame as the kernel writes it: `UUID+0xOFFSET`.
fn written_frame(word: &str) -> Option<(TeeUuid, u64)> {
    let (uuid, offset) = word.split_once("+0x")?;
    Some((uuid.parse().ok()?, u64::from_str_radix(offset, 16).ok()?))
}

/// Lines in which frames have names; frames with a line each are one stack. A system call at its beginning, which
/// nobody can name, is of the allocator that comes next.
fn named_lines(text: &str, name: impl Fn(TeeUuid, u64) -> String) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut stack: Vec<String> = Vec::new();
    let end = |stack: &mut Vec<String>, out: &mut Vec<String>| {
        let unnamed = stack.iter().take_while(|name| name.contains("+0x")).count();
        let hidden = match allocator_frames(&stack[unnamed..]) {
            0 => 0,
            wrappers => unnamed + wrappers,
        };
        out.extend(
            stack
                .drain(..)
                .skip(hidden)
                .map(|name| alloc::format!(" {name}")),
        );
    };
    for line in text.lines() {
        match written_frame(line.trim_start()) {
            Some((image, frame)) => stack.push(name(image, frame)),
            None => {
                end(&mut stack, &mut out);
                out.push(named_line(line, &name));
            }
        }
    }
    end(&mut stack, &mut out);
    out
}

/// A line in which each stack's frames have names.
fn named_line(line: &str, name: impl Fn(TeeUuid, u64) -> String) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut stack: Vec<String> = Vec::new();
    for word in line.split(' ') {
        if let Some((image, frame)) = written_frame(word) {
            stack.push(name(image, frame));
        } else {
            stack.drain(..allocator_frames(&stack));
            words.append(&mut stack);
            words.push(word.into());
        }
    }
    stack.drain(..allocator_frames(&stack));
    words.append(&mut stack);
    words.join(" ")
}

/// How many frames at the start of a stack are only the way into the allocator. All but the last
/// can be.
fn allocator_frames(stack: &[String]) -> usize {
    let entry = |name: &String| {
        let (function, place) = name.split_once(' ').unwrap_or((name, ""));
        let file = place.rsplit_once(':').map_or(place, |(file, _)| file);
        is_allocator(function, file)
    };
    let leading = stack.iter().take_while(|name| entry(name)).count();
    if leading < stack.len() { leading } else { 0 }
}

/// Name of a return address: "function file:line" if anyone knows, else image and offset.
#[must_use]
pub fn frame_name(context: &Context<'_>, names: &dyn Names, image: TeeUuid, frame: u64) -> String {
    if image == TeeUuid::nil() {
        KernelNames::new(context).name(frame)
    } else {
        site_name(names, image, frame)
    }
}

fn site_name(names: &dyn Names, image: TeeUuid, frame: u64) -> String {
    names
        .site(image, frame)
        .unwrap_or_else(|| alloc::format!("{}+{frame:#x}", Named(image, names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stack: &[&str]) -> usize {
        let stack: Vec<String> = stack.iter().map(|&name| String::from(name)).collect();
        allocator_frames(&stack)
    }

    #[test]
    fn frames_are_told_from_other_words() {
        let uuid = "7a11e110-0002-4c6e-8d01-5ec0de000002";
        let parsed = uuid.parse().unwrap();
        assert_eq!(
            written_frame(&alloc::format!("{uuid}+0x1f")),
            Some((parsed, 0x1f))
        );
        assert_eq!(written_frame(uuid), None);
        assert_eq!(written_frame("kernel+0x10"), None);
    }

    #[test]
    fn the_way_into_the_allocator_is_hidden() {
        assert_eq!(
            shown(&[
                "__rust_alloc kernel/src/heap.rs:41",
                "try_allocate_in<u8> alloc/src/raw_vec/mod.rs:500",
                "vec_with_capacity<u8> kernel/mem/src/fallible.rs:55",
                "register kernel/core/src/call/shm.rs:341",
                "__rust_alloc kernel/src/heap.rs:41",
            ]),
            3
        );
        assert_eq!(
            shown(&[
                "__rust_alloc ta-runtime/src/heap.rs:36",
                "leak_in_this_function tas/heap/src/ta.rs:127",
            ]),
            1
        );
    }

    /// `teestat oom` said `finish_grow alloc/src/raw_vec.rs` of who held most.
    #[test]
    fn stacks_in_a_line_of_the_kernels_begin_with_who_allocates() {
        let uuid = "7a11e110-0002-4c6e-8d01-5ec0de000002";
        let name = |_, frame| {
            let names = [
                "finish_grow<Global> alloc/src/raw_vec/mod.rs:772",
                "leak tas/heap/src/ta.rs:158",
                "invoke tas/heap/src/main.rs:40",
            ];
            String::from(names[usize::try_from(frame).unwrap()])
        };
        let line = alloc::format!(" 28 bytes in 1 block {uuid}+0x0 {uuid}+0x1 {uuid}+0x2");
        assert_eq!(
            named_line(&line, name),
            " 28 bytes in 1 block leak tas/heap/src/ta.rs:158 invoke tas/heap/src/main.rs:40"
        );
    }

    #[test]
    fn a_call_stack_of_a_line_each_begins_with_who_allocates() {
        let uuid = "7a11e110-0002-4c6e-8d01-5ec0de000002";
        let name = |_, frame| {
            let names = [
                "heap+0x7a9c",
                "allocate_anew ta-runtime/src/heap.rs:329",
                "finish_grow alloc/src/raw_vec/mod.rs:558",
                "filled tas/heap/src/ta.rs:103",
            ];
            String::from(names[usize::try_from(frame).unwrap()])
        };
        let text = alloc::format!(
            "Call stack:\n {uuid}+0x0\n {uuid}+0x1\n {uuid}+0x2\n {uuid}+0x3\nend\n {uuid}+0x0"
        );
        let expected = [
            "Call stack:",
            " filled tas/heap/src/ta.rs:103",
            "end",
            " heap+0x7a9c",
        ];
        assert_eq!(named_lines(&text, name), expected);
    }

    #[test]
    fn a_stack_of_nothing_else_stays() {
        assert_eq!(shown(&["__rust_alloc kernel/src/heap.rs:41"]), 0);
        assert_eq!(
            shown(&[
                "__rust_alloc kernel/src/heap.rs:41",
                "try_push kernel/mem/src/fallible.rs:67",
            ]),
            0
        );
        assert_eq!(shown(&[]), 0);
    }

    #[test]
    fn other_frames_are_not_hidden() {
        assert_eq!(shown(&["kernel+0x1234", "kernel+0x99"]), 0);
        assert_eq!(shown(&["hog tas/heap/src/ta.rs:130"]), 0);
        assert_eq!(shown(&["new kernel/core/src/guest.rs:47"]), 0);
        assert_eq!(shown(&["allocate tas/heap/src/heap.rs:1", "x y:1"]), 0);
    }
}
