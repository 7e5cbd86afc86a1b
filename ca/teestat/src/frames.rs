//! Names for the frames of call stacks.
//!
//! **Invariant:** a frame that nobody can name is shown as image and offset; at least one frame of a
//! stack is shown.
//! **Knows nothing of:** what is done with the names.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
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

    /// A line of the kernel's, with names for the frames in it.
    pub(crate) fn name_addresses(&self, line: &str) -> String {
        let words = line.split(' ').map(|word| match written_frame(word) {
            Some((image, frame)) => frame_name(self.context, self.names, image, frame),
            None => word.into(),
        });
        words.collect::<Vec<String>>().join(" ")
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

/// How many frames at the start of a stack are only the way into the allocator. All but the last
/// can be.
fn allocator_frames(stack: &[String]) -> usize {
    const FILES: [&str; 3] = [
        "kernel/src/heap.rs:",
        "kernel/core/src/fallible.rs:",
        "ta-runtime/src/heap.rs:",
    ];
    let entry = |name: &String| {
        let (function, file) = name.split_once(' ').unwrap_or((name, ""));
        function.starts_with("__rust_")
            || function.starts_with("alloc::")
            || file.starts_with("alloc/src/")
            || FILES.iter().any(|known| file.starts_with(known))
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
                "vec_with_capacity<u8> kernel/core/src/fallible.rs:55",
                "register kernel/core/src/shm.rs:341",
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

    #[test]
    fn a_stack_of_nothing_else_stays() {
        assert_eq!(shown(&["__rust_alloc kernel/src/heap.rs:41"]), 0);
        assert_eq!(
            shown(&[
                "__rust_alloc kernel/src/heap.rs:41",
                "try_push kernel/core/src/fallible.rs:67",
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
