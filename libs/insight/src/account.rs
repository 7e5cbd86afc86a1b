//! A snapshot with names: who holds what, and where it was allocated.
//!
//! **Invariant:** every record of the snapshot is in here, in its order; nothing is added up or
//! left out. The debug information of another build than the one that ran names nothing.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_abi::shdr::{BuildId, short_id};
use tally_records::{Frames, LeakRecord, Origin, Placed, Row, Value};

use crate::names::{self, Frame, Names, Stack};
use crate::snapshot::Snapshot;

/// A build of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build {
    /// UUID of the TA; nil: the kernel.
    pub image: TeeUuid,
    /// Of a TA [`tally_abi::shdr::image_id`], of the kernel the beginning of its [`BuildId`]; 0:
    /// not known.
    pub id: u64,
}

impl Build {
    /// A build of the kernel.
    #[must_use]
    pub fn kernel(build: &BuildId) -> Self {
        Self {
            image: TeeUuid::nil(),
            id: short_id(build),
        }
    }
}

/// Debug information of programs.
pub trait Symbols {
    /// The functions at the call that returns to `offset` bytes above an image's link base,
    /// innermost first, inlined ones included. Empty when unknown.
    fn functions(&self, build: Build, offset: u64) -> Vec<Frame>;
    /// Short name of a TA.
    fn program(&self, uuid: TeeUuid) -> Option<String>;
    /// Whether this build is wanted and is not here. Of a build that is not known any file will do.
    fn lacks(&self, build: Build) -> bool;
}

/// None at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSymbols;

impl Symbols for NoSymbols {
    fn functions(&self, _: Build, _: u64) -> Vec<Frame> {
        Vec::new()
    }

    fn program(&self, _: TeeUuid) -> Option<String> {
        None
    }

    fn lacks(&self, _: Build) -> bool {
        false
    }
}

/// What is the matter with the names of a TA's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// There are none: the build that ran is not at hand; 0: nor said.
    Missing(u64),
    /// There are none: several builds of it ran at the same time, and what is live does not say of
    /// which it is.
    Several,
    /// The snapshot does not say which build ran: they may be another one's.
    Untold,
}

/// A snapshot with names.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// As read.
    pub snapshot: Snapshot,
    /// File it came from, for people.
    pub file: String,
    /// Whether the kernel's calls have no names because the kernel at hand is another build.
    pub kernel_is_other: bool,
    /// TAs whose calls have no names, or perhaps wrong ones.
    pub doubted: BTreeSet<(TeeUuid, Doubt)>,
    programs: BTreeMap<TeeUuid, String>,
    functions: BTreeMap<(Origin, u64), Vec<Frame>>,
}

impl Account {
    /// Names everything in `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot, file: &str, symbols: &dyn Symbols) -> Self {
        let mut namer = Namer::new(&snapshot, symbols);
        snapshot.each(&mut |row| namer.row(row, Origin::default()));
        Self {
            file: file.to_owned(),
            kernel_is_other: namer.kernel_is_other,
            doubted: namer.doubted,
            programs: namer.programs,
            functions: namer.functions,
            snapshot,
        }
    }

    /// Several snapshots with their files' names, to be compared: whoever is in one of them has a
    /// name in all, so that what shrank because a TA ended is called after that TA.
    #[must_use]
    pub fn several(snapshots: Vec<(Snapshot, String)>, symbols: &dyn Symbols) -> Vec<Self> {
        let mut accounts: Vec<Self> = snapshots
            .into_iter()
            .map(|(snapshot, file)| Self::new(snapshot, &file, symbols))
            .collect();
        let all: BTreeMap<TeeUuid, String> = accounts
            .iter()
            .flat_map(|account| account.programs.clone())
            .collect();
        for account in &mut accounts {
            account.programs.clone_from(&all);
        }
        accounts
    }

    /// The call stack of one of its records.
    #[must_use]
    pub fn stack(&self, record: &impl Placed) -> Stack {
        Stack::of(self, record)
    }

    /// A TA's or pseudo-TA's short name, or its UUID.
    #[must_use]
    pub fn ta(&self, uuid: TeeUuid) -> String {
        names::ta(self, uuid)
    }

    /// What a pool is called: the TA's name, or `kernel` for nil.
    #[must_use]
    pub fn program(&self, uuid: TeeUuid) -> String {
        names::program(self, uuid)
    }

    /// Who has these blocks, one session like any other of the same TA.
    #[must_use]
    pub fn owner_of(&self, record: &LeakRecord) -> String {
        names::owner_of(self, record)
    }
}

impl Names for Account {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        self.programs.get(&uuid).cloned()
    }

    fn functions(&self, origin: Origin, offset: u64) -> Vec<Frame> {
        let known = self.functions.get(&(origin, offset));
        known.cloned().unwrap_or_default()
    }
}

/// Names the programs and calls of one snapshot.
struct Namer<'a> {
    symbols: &'a dyn Symbols,
    kernel: Build,
    kernel_is_other: bool,
    /// Builds of each TA that is loaded.
    loaded: BTreeMap<TeeUuid, BTreeSet<u64>>,
    doubted: BTreeSet<(TeeUuid, Doubt)>,
    programs: BTreeMap<TeeUuid, String>,
    functions: BTreeMap<(Origin, u64), Vec<Frame>>,
}

impl<'a> Namer<'a> {
    fn new(snapshot: &Snapshot, symbols: &'a dyn Symbols) -> Self {
        let kernel = Build::kernel(&snapshot.header.build);
        let mut loaded: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        for ta in &snapshot.tas {
            loaded.entry(ta.uuid).or_default().insert(ta.image_id);
        }
        Self {
            symbols,
            kernel,
            kernel_is_other: symbols.lacks(kernel),
            loaded,
            doubted: BTreeSet::new(),
            programs: BTreeMap::new(),
            functions: BTreeMap::new(),
        }
    }

    /// Names what a record tells of.
    fn row(&mut self, row: &dyn Row, outer: Origin) {
        for field in 0..row.table().fields.len() {
            match row.value(field) {
                Value::Ta(uuid) => self.program(uuid),
                Value::Frames(frames) => self.stack(frames, outer),
                Value::Row(inner) => self.row(inner, outer),
                Value::Rows(rows) => {
                    let rows_of = |n| rows.list.row(n);
                    for inner in (0..rows.count as usize).map_while(rows_of) {
                        self.row(inner, rows.origin);
                    }
                }
                _ => {}
            }
        }
    }

    fn program(&mut self, uuid: TeeUuid) {
        if uuid != TeeUuid::nil()
            && let Some(name) = self.symbols.program(uuid)
        {
            self.programs.insert(uuid, name);
        }
    }

    fn stack(&mut self, frames: Frames<'_>, outer: Origin) {
        let origin = frames.origin.unwrap_or(outer);
        let offsets = frames.offsets.iter().take_while(|&&offset| offset != 0);
        if frames.offsets.first().is_none_or(|&first| first == 0) {
            return;
        }
        if let Some(build) = self.build(origin) {
            offsets.for_each(|&offset| {
                let named = || self.symbols.functions(build, offset);
                self.functions.entry((origin, offset)).or_insert_with(named);
            });
        }
    }

    /// The build that has the names of an image's calls; `None` if nothing has.
    fn build(&mut self, origin: Origin) -> Option<Build> {
        let image = origin.image;
        if image == TeeUuid::nil() {
            return (!self.kernel_is_other).then_some(self.kernel);
        }
        let loaded = self.loaded.get(&image);
        let id = match (origin.build, loaded) {
            (Some(id), _) => id,
            (None, Some(ids)) if ids.len() > 1 => {
                self.doubted.insert((image, Doubt::Several));
                return None;
            }
            (None, ids) => ids.and_then(BTreeSet::first).copied().unwrap_or(0),
        };
        let build = Build { image, id };
        if self.symbols.lacks(build) {
            self.doubted.insert((image, Doubt::Missing(id)));
        } else if id == 0 && self.symbols.program(image).is_some() {
            self.doubted.insert((image, Doubt::Untold));
        }
        Some(build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use alloc::string::ToString;

    #[test]
    fn without_names_a_ta_is_its_uuid() {
        let account = Account::new(sample::machine(1), "", &NoSymbols);
        assert_eq!(account.program(TeeUuid::nil()), "kernel");
        assert_eq!(account.ta(sample::SOUND), sample::SOUND.to_string());
    }
}
