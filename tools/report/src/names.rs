//! Names for what a snapshot refers to: programs by UUID, calls by offset.
//!
//! **Invariant:** a call always has at least one frame: where nothing is known, image and offset.
//! **Knows nothing of:** snapshots.

use anyhow::Result;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tally_abi::TeeUuid;
use tally_symbols::dwarf::{Dwarf, Frame};
use tally_symbols::elf::Image;
use tally_symbols::short::short_name;

/// Who can name calls and programs.
pub trait Names {
    /// The functions at the call that returns to `offset` bytes above an image's link base,
    /// innermost first, inlined ones included. The kernel's UUID is nil. Empty when unknown.
    fn frames(&self, image: TeeUuid, offset: u64) -> Vec<Frame>;
    /// Short name of a TA.
    fn program(&self, uuid: TeeUuid) -> Option<String>;
}

/// Nobody knows anything: image and offset it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn frames(&self, _image: TeeUuid, _offset: u64) -> Vec<Frame> {
        Vec::new()
    }

    fn program(&self, _uuid: TeeUuid) -> Option<String> {
        None
    }
}

/// Linked programs with debug information, read when first asked for a name.
pub struct Programs {
    root: PathBuf,
    programs: HashMap<TeeUuid, Program>,
}

struct Program {
    name: String,
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

    /// Takes the kernel's ELF file.
    pub fn add_kernel(&mut self, image: Image) {
        self.add(TeeUuid::nil(), "kernel", image);
    }

    /// Takes a TA's ELF file; its head says which TA it is.
    ///
    /// # Errors
    /// A file without a TA's head.
    pub fn add_ta(&mut self, name: &str, image: Image) -> Result<TeeUuid> {
        let uuid = image.ta_head()?.uuid;
        self.add(uuid, name, image);
        Ok(uuid)
    }

    fn add(&mut self, uuid: TeeUuid, name: &str, image: Image) {
        let program = Program {
            name: name.to_owned(),
            image,
            dwarf: OnceCell::new(),
        };
        self.programs.insert(uuid, program);
    }
}

impl Names for Programs {
    fn frames(&self, image: TeeUuid, offset: u64) -> Vec<Frame> {
        let Some(program) = self.programs.get(&image) else {
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
        self.programs.get(&uuid).map(|program| program.name.clone())
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
    pub fn new(names: &dyn Names, image: TeeUuid, offsets: &[u64]) -> Self {
        let calls = offsets
            .iter()
            .take_while(|&&offset| offset != 0)
            .map(|&offset| {
                let mut frames = names.frames(image, offset);
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
