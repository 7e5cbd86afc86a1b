//! Names for programs and calls: the machine's own, and the kernel's, which the kernel is asked
//! for.
//!
//! **Invariant:** a call that nobody can name is shown as image and offset; the kernel is asked for
//! a name once.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

use tally_abi::TeeUuid;
use tally_insight::names::{Frame, Names, Stack};
use tally_records::{Frames, Origin};
use teec::Context;

use crate::{HostNames, client};

/// The names that there are.
pub struct Namer<'a, 'c> {
    context: &'a Context<'c>,
    machine: &'a dyn HostNames,
    kernel: RefCell<KernelNames<'c>>,
}

/// Names of the kernel's calls.
#[derive(Default)]
struct KernelNames<'c> {
    session: Option<client::FrameNames<'c>>,
    known: BTreeMap<u64, Option<Frame>>,
}

impl<'a, 'c> Namer<'a, 'c> {
    /// Names from this machine, and from the kernel.
    #[must_use]
    pub fn new(context: &'a Context<'c>, machine: &'a dyn HostNames) -> Self {
        Self {
            context,
            machine,
            kernel: RefCell::default(),
        }
    }

    /// The machine's own.
    pub(crate) const fn machine(&self) -> &'a dyn HostNames {
        self.machine
    }

    fn kernel_frame(&self, offset: u64) -> Option<Frame> {
        let mut kernel = self.kernel.borrow_mut();
        if let Some(known) = kernel.known.get(&offset) {
            return known.clone();
        }
        if kernel.session.is_none() {
            kernel.session = client::FrameNames::open(self.context).ok();
        }
        let asked = kernel.session.as_mut().map(|session| session.name(offset));
        let frame = asked.and_then(Result::ok).map(|name| Frame::parse(&name));
        kernel.known.insert(offset, frame.clone());
        frame
    }

    /// Lines of the kernel's, with names for the frames in them, without the way into the
    /// allocator.
    pub(crate) fn name_addresses(&self, text: &str) -> Vec<String> {
        named_lines(text, |image, offset| call(self, image, offset))
    }
}

impl Names for Namer<'_, '_> {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        self.machine.name_of(uuid)
    }

    fn functions(&self, origin: Origin, offset: u64) -> Vec<Frame> {
        let frame = if origin.image == TeeUuid::nil() {
            self.kernel_frame(offset)
        } else {
            self.machine.site(origin.image, offset)
        };
        frame.into_iter().collect()
    }
}

/// One call.
fn call(names: &dyn Names, image: TeeUuid, offset: u64) -> Frame {
    let frames = Frames {
        origin: Some(Origin::of_heap(image)),
        offsets: &[offset],
    };
    let stack = Stack::new(names, frames, Origin::default());
    stack.frames().next().cloned().unwrap_or_default()
}

/// Name of a return address: "function file:line" if anyone knows, else image and offset.
#[must_use]
pub fn frame_name(
    context: &Context<'_>,
    names: &dyn HostNames,
    image: TeeUuid,
    offset: u64,
) -> String {
    call(&Namer::new(context, names), image, offset).to_string()
}

/// Drops the frames at the start of a stack that are only the way into the allocator, but not all
/// there are.
fn drop_allocator(stack: &mut Vec<Frame>) {
    let own = stack.iter().position(|frame| !frame.is_allocator());
    stack.drain(..own.unwrap_or(0));
}

/// A frame as the kernel writes it: `UUID+0xOFFSET`.
fn written_frame(word: &str) -> Option<(TeeUuid, u64)> {
    let (uuid, offset) = word.split_once("+0x")?;
    Some((uuid.parse().ok()?, u64::from_str_radix(offset, 16).ok()?))
}

/// Lines in which frames have names; frames with a line each are one stack. A system call at its
/// beginning, which nobody can name, is of the allocator that comes next.
fn named_lines(text: &str, name: impl Fn(TeeUuid, u64) -> Frame) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut stack: Vec<Frame> = Vec::new();
    let end = |stack: &mut Vec<Frame>, out: &mut Vec<String>| {
        let unnamed = stack.iter().take_while(|frame| frame.line == 0).count();
        let own = stack.iter().skip(unnamed).position(|f| !f.is_allocator());
        let hidden = match own {
            Some(wrappers @ 1..) => unnamed + wrappers,
            _ => 0,
        };
        out.extend(
            stack
                .drain(..)
                .skip(hidden)
                .map(|frame| format!(" {frame}")),
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
fn named_line(line: &str, name: impl Fn(TeeUuid, u64) -> Frame) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut stack: Vec<Frame> = Vec::new();
    let end = |stack: &mut Vec<Frame>, words: &mut Vec<String>| {
        drop_allocator(stack);
        words.extend(stack.drain(..).map(|frame| frame.to_string()));
    };
    for word in line.split(' ') {
        if let Some((image, frame)) = written_frame(word) {
            stack.push(name(image, frame));
        } else {
            end(&mut stack, &mut words);
            words.push(word.into());
        }
    }
    end(&mut stack, &mut words);
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stack: &[&str]) -> usize {
        let mut frames: Vec<Frame> = stack.iter().map(|name| Frame::parse(name)).collect();
        drop_allocator(&mut frames);
        stack.len() - frames.len()
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
            Frame::parse(names[usize::try_from(frame).unwrap()])
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
            Frame::parse(names[usize::try_from(frame).unwrap()])
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
