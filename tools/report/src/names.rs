//! Names for what a snapshot refers to: programs by UUID and build, calls by offset.
//!
//! **Invariant:** a call always has at least one frame: where nothing is known, image and offset. An ELF file of
//! another build than the one that ran names nothing.

use anyhow::Result;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tally_abi::TeeUuid;
use tally_abi::shdr::BuildId;
use tally_abi::sites::is_allocator;
use tally_symbols::dwarf::{Dwarf, Frame};
use tally_symbols::elf::Image;
use tally_symbols::short::short_name;

/// A build of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build {
    /// UUID of the TA; nil: the kernel.
    pub image: TeeUuid,
    /// Of a TA [`tally_abi::shdr::image_id`], of the kernel the beginning of its [`BuildId`]; 0: not known.
    pub id: u64,
}

impl Build {
    /// A build of the kernel.
    #[must_use]
    pub fn kernel(build: &BuildId) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *build;
        Self {
            image: TeeUuid::nil(),
            id: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        }
    }
}

/// Who can name calls and programs.
pub trait Names {
    /// The functions at the call that returns to `offset` bytes above an image's link base,
    /// innermost first, inlined ones included. Empty when unknown.
    fn frames(&self, build: Build, offset: u64) -> Vec<Frame>;
    /// Short name of a TA.
    fn program(&self, uuid: TeeUuid) -> Option<String>;
    /// Whether this build is wanted and is not here. Of a build that is not known any file will do.
    fn lacks(&self, build: Build) -> bool;
}

/// Nobody knows anything: image and offset it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn frames(&self, _build: Build, _offset: u64) -> Vec<Frame> {
        Vec::new()
    }

    fn program(&self, _uuid: TeeUuid) -> Option<String> {
        None
    }

    fn lacks(&self, _build: Build) -> bool {
        false
    }
}

/// Linked programs with debug information, read when first asked for a name. Of one program there may be
/// several builds.
pub struct Programs {
    root: PathBuf,
    programs: HashMap<TeeUuid, Vec<Program>>,
}

struct Program {
    name: String,
    /// Builds that it is known to be.
    ids: Vec<u64>,
    image: Image,
    dwarf: OnceCell<Option<Dwarf>>,
}

impl Programs {
    /// None yet. Sources below `root` are shown relative to it.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            programs: HashMap::new(),
        }
    }

    /// Takes an ELF file of the kernel's.
    pub fn add_kernel(&mut self, image: Image) {
        let build = image.build_id().map(|build| Build::kernel(&build).id);
        self.add(TeeUuid::nil(), "kernel", build.into_iter().collect(), image);
    }

    /// Takes an ELF file of a TA's; its head says which TA it is. `ids`: which images were made of it. What is
    /// taken last gives the TA its name, and names the calls of builds that are not known.
    ///
    /// # Errors
    /// A file without a TA's head.
    pub fn add_ta(&mut self, name: &str, ids: Vec<u64>, image: Image) -> Result<TeeUuid> {
        let uuid = image.ta_head()?.uuid;
        self.add(uuid, name, ids, image);
        Ok(uuid)
    }

    /// Forgets a program: another one runs under its UUID, and nothing is known of that.
    pub fn forget(&mut self, uuid: TeeUuid) {
        self.programs.remove(&uuid);
    }

    fn add(&mut self, uuid: TeeUuid, name: &str, ids: Vec<u64>, image: Image) {
        let program = Program {
            name: name.to_owned(),
            ids,
            image,
            dwarf: OnceCell::new(),
        };
        self.programs.entry(uuid).or_default().push(program);
    }

    fn of(&self, build: Build) -> Option<&Program> {
        let mut latest_first = self.programs.get(&build.image)?.iter().rev();
        latest_first.find(|program| build.id == 0 || program.ids.contains(&build.id))
    }
}

impl Names for Programs {
    fn frames(&self, build: Build, offset: u64) -> Vec<Frame> {
        let Some(program) = self.of(build) else {
            return Vec::new();
        };
        // The call is the instruction before the one it returns to.
        let address = offset
            .checked_sub(4)
            .and_then(|call| program.image.code_address(call));
        let dwarf = program
            .dwarf
            .get_or_init(|| Dwarf::load(&program.image, &self.root).ok());
        match (address, dwarf) {
            (Some(address), Some(dwarf)) => dwarf.frames(address),
            _ => Vec::new(),
        }
    }

    fn program(&self, uuid: TeeUuid) -> Option<String> {
        let latest = self.programs.get(&uuid)?.last()?;
        Some(latest.name.clone())
    }

    fn lacks(&self, build: Build) -> bool {
        self.of(build).is_none()
    }
}

/// One call of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Return address, from the image's link base.
    pub offset: u64,
    /// Its functions, innermost first; at least one.
    pub frames: Vec<Frame>,
}

/// A call stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Image that it lies in; nil: the kernel.
    pub image: TeeUuid,
    /// Calls, innermost first.
    pub calls: Vec<Call>,
}

impl Stack {
    /// Names the calls of `offsets`, of which a zero ends the list.
    #[must_use]
    pub fn new(names: &dyn Names, build: Build, offsets: &[u64]) -> Self {
        Self::by(
            |offset| names.frames(build, offset),
            names,
            build.image,
            offsets,
        )
    }

    /// The calls of `offsets` by image and offset alone.
    #[must_use]
    pub fn unnamed(names: &dyn Names, image: TeeUuid, offsets: &[u64]) -> Self {
        Self::by(|_| Vec::new(), names, image, offsets)
    }

    fn by(
        frames: impl Fn(u64) -> Vec<Frame>,
        names: &dyn Names,
        image: TeeUuid,
        offsets: &[u64],
    ) -> Self {
        let calls = offsets
            .iter()
            .take_while(|&&offset| offset != 0)
            .map(|&offset| {
                let mut frames = frames(offset);
                if frames.is_empty() {
                    frames.push(unnamed(names, image, offset));
                }
                Call { offset, frames }
            })
            .collect();
        Self { image, calls }
    }

    /// All functions, innermost first, inlined ones included.
    pub fn frames(&self) -> impl DoubleEndedIterator<Item = &Frame> {
        self.calls.iter().flat_map(|call| &call.frames)
    }

    /// What tells stacks apart that do not read the same.
    pub(crate) fn lines(&self) -> Vec<(&str, &str, u32)> {
        self.frames()
            .map(|frame| (&*frame.function, &*frame.file, frame.line))
            .collect()
    }

    /// How many of the innermost functions are the way into the allocator: the standard library's,
    /// the compiler's and ours, through which every allocation goes. 0 if there is nothing else.
    #[must_use]
    pub fn allocator_frames(&self) -> usize {
        let own = self
            .frames()
            .position(|frame| !is_allocator(&frame.function, &frame.file));
        own.unwrap_or(0)
    }

    /// The functions without the way into the allocator, innermost first.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown<'_>> {
        let all = self.calls.iter().enumerate().flat_map(|(depth, call)| {
            let last = call.frames.len().saturating_sub(1);
            call.frames.iter().enumerate().map(move |(n, frame)| Shown {
                depth,
                frame,
                inlined: n < last,
            })
        });
        all.skip(self.allocator_frames()).collect()
    }
}

/// A function as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Call of the stack that it belongs to, 0 the innermost.
    pub depth: usize,
    /// The function.
    pub frame: &'a Frame,
    /// Whether it was inlined into the next one.
    pub inlined: bool,
}

fn unnamed(names: &dyn Names, image: TeeUuid, offset: u64) -> Frame {
    let name = if image == TeeUuid::nil() {
        "kernel".to_owned()
    } else {
        names.program(image).unwrap_or_else(|| image.to_string())
    };
    Frame {
        function: format!("{name}+{offset:#x}"),
        file: String::new(),
        line: 0,
    }
}

/// A function's short name.
#[must_use]
pub fn function(frame: &Frame) -> String {
    if frame.line == 0 && frame.file.is_empty() {
        return frame.function.clone();
    }
    let short = short_name(&frame.function);
    if short.is_empty() {
        frame.function.clone()
    } else {
        short
    }
}

/// `file:line`; empty when unknown.
#[must_use]
pub fn place(frame: &Frame) -> String {
    match (&*frame.file, frame.line) {
        ("", _) => String::new(),
        (file, 0) => file.to_owned(),
        (file, line) => format!("{file}:{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        Frame {
            function: function.into(),
            file: file.into(),
            line: 7,
        }
    }

    fn stack(calls: &[&[(&str, &str)]]) -> Stack {
        let calls = calls.iter().map(|frames| Call {
            offset: 4,
            frames: frames.iter().map(|(f, file)| frame(f, file)).collect(),
        });
        Stack {
            image: TeeUuid::nil(),
            calls: calls.collect(),
        }
    }

    #[test]
    fn the_way_into_the_allocator_is_not_shown() {
        let stack = stack(&[
            &[
                ("__rustc::__rust_alloc", "kernel/src/heap.rs"),
                ("alloc::alloc::alloc", "alloc/src/alloc.rs"),
            ],
            &[("push", "alloc/src/vec/mod.rs"), ("ours", "a.rs")],
            &[("core::ops::call", "core/src/ops.rs"), ("main", "a.rs")],
        ]);
        let shown: Vec<_> = stack
            .shown()
            .iter()
            .map(|s| (s.depth, &*s.frame.function, s.inlined))
            .collect();
        let expected = [
            (1, "ours", false),
            (2, "core::ops::call", true),
            (2, "main", false),
        ];
        assert_eq!(shown, expected);
    }

    /// Rows began with `vec_with_capacity kernel/mem/src/fallible.rs` and `allocate_anew
    /// ta-runtime/src/heap.rs`, which teestat left out.
    #[test]
    fn wrappers_of_the_allocator_are_not_shown() {
        for wrapper in [
            ("vec_with_capacity", "kernel/mem/src/fallible.rs"),
            ("allocate_anew", "ta-runtime/src/heap.rs"),
            ("alloc", "kernel/src/heap.rs"),
        ] {
            let stack = stack(&[&[wrapper], &[("ours", "a.rs")]]);
            let shown = stack.shown();
            assert_eq!(shown.len(), 1, "{wrapper:?}");
            assert_eq!(shown[0].frame.function, "ours");
        }
    }

    #[test]
    fn a_stack_of_nothing_else_is_shown_whole() {
        let stack = stack(&[&[("alloc::alloc::alloc", "alloc/src/alloc.rs")]]);
        assert_eq!(stack.shown().len(), 1);
        assert!(Stack::default().shown().is_empty());
    }

    #[test]
    fn without_names_image_and_offset_are_shown() {
        let stack = Stack::unnamed(&NoNames, TeeUuid::nil(), &[0x10, 0x24, 0, 0x99]);
        let names: Vec<String> = stack.frames().map(function).collect();
        assert_eq!(names, ["kernel+0x10", "kernel+0x24"]);
        assert_eq!(place(stack.frames().next().unwrap()), "");
    }
}
