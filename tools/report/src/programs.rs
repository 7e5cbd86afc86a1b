//! Linked programs, which name the calls of snapshots.
//!
//! **Invariant:** an ELF file of another build than the one that ran names nothing.

use anyhow::Result;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tally_abi::TeeUuid;
use tally_insight::account::{Build, Symbols};
use tally_insight::names::Frame;
use tally_symbols::dwarf::{self, Dwarf};
use tally_symbols::elf::Image;
use tally_symbols::short::short_name;

/// Linked programs with debug information, read when first asked for a name. Of one program there
/// may be several builds.
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

    /// Takes an ELF file of a TA's; its head says which TA it is. `ids`: which images were made of
    /// it. What is taken last gives the TA its name, and names the calls of builds that are not
    /// known.
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

impl Symbols for Programs {
    fn functions(&self, build: Build, offset: u64) -> Vec<Frame> {
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
            (Some(address), Some(dwarf)) => dwarf.frames(address).into_iter().map(named).collect(),
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

/// A function with its short name.
fn named(frame: dwarf::Frame) -> Frame {
    let short = short_name(&frame.function);
    Frame {
        function: if short.is_empty() {
            frame.function.clone()
        } else {
            short
        },
        full: Some(frame.function),
        file: frame.file,
        line: frame.line,
    }
}
