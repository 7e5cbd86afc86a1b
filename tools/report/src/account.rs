//! A snapshot with names: who holds what, and where it was allocated.
//!
//! **Invariant:** every record of the snapshot is in here, in its order; nothing is added up or
//! left out.

use crate::names::{Build, Names, Stack};
use crate::snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tally_abi::TeeUuid;
use tally_metrics::naming;
use tally_records::LeakRecord;

/// What is the matter with the names of a TA's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// There are none: the build that ran is not at hand; 0: nor said.
    Missing(u64),
    /// There are none: several builds of it ran at the same time, and what is live does not say of which it is.
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
    /// Stacks of `snapshot.live`, one for each.
    pub live: Vec<Stack>,
    /// Stacks of `snapshot.sites`, one for each.
    pub sites: Vec<Stack>,
    /// Stacks of `snapshot.failures`, one for each.
    pub failures: Vec<Stack>,
    /// Stacks of `snapshot.unfreed`, one for each.
    pub unfreed: Vec<Stack>,
    /// Whether the kernel's calls have no names because the kernel at hand is another build.
    pub kernel_is_other: bool,
    /// TAs whose calls have no names, or perhaps wrong ones.
    pub doubted: BTreeSet<(TeeUuid, Doubt)>,
    names: HashMap<TeeUuid, String>,
}

impl Account {
    /// Names everything in `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot, file: &str, names: &dyn Names) -> Self {
        let mut namer = Namer::new(&snapshot, names);
        let live = snapshot
            .live
            .iter()
            .map(|record| namer.of_heap(record.image, &record.frames))
            .collect();
        let sites = snapshot
            .sites
            .iter()
            .map(|site| namer.of_heap(site.pool, &site.frames))
            .collect();
        let failures = snapshot
            .failures
            .iter()
            .map(|failure| namer.of_build(failure.image, failure.image_id, &failure.frames))
            .collect();
        let unfreed = snapshot
            .unfreed
            .iter()
            .map(|row| namer.of_build(row.uuid, row.image_id, &row.frames))
            .collect();
        let mut account = Self {
            file: file.to_owned(),
            live,
            sites,
            failures,
            unfreed,
            kernel_is_other: namer.kernel_is_other,
            doubted: namer.doubted,
            names: HashMap::new(),
            snapshot: Snapshot::default(),
        };
        let uuids = (snapshot.live.iter().flat_map(|r| [r.owner, r.image]))
            .chain(snapshot.tas.iter().map(|ta| ta.uuid))
            .chain(snapshot.pools.iter().map(|pool| pool.owner))
            .chain(snapshot.owners.iter().map(|owner| owner.uuid))
            .chain(snapshot.sites.iter().map(|site| site.pool))
            .chain(snapshot.classes.iter().map(|class| class.pool))
            .chain(snapshot.regions.iter().map(|region| region.owner))
            .chain(snapshot.commands.iter().map(|command| command.uuid))
            .chain(snapshot.failures.iter().flat_map(|f| [f.owner, f.image]))
            .chain(snapshot.history.iter().map(|row| row.uuid))
            .chain([snapshot.header.subject]);
        for uuid in uuids.filter(|&uuid| uuid != TeeUuid::nil()) {
            if let Some(name) = names.program(uuid) {
                account.names.insert(uuid, name);
            }
        }
        account.snapshot = snapshot;
        account
    }

    /// Several snapshots with their files' names, to be compared: whoever is in one of them has a name in
    /// all, so that what shrank because a TA ended is called after that TA.
    #[must_use]
    pub fn several(snapshots: Vec<(Snapshot, String)>, names: &dyn Names) -> Vec<Self> {
        let mut accounts: Vec<Self> = snapshots
            .into_iter()
            .map(|(snapshot, file)| Self::new(snapshot, &file, names))
            .collect();
        let all: HashMap<TeeUuid, String> = accounts
            .iter()
            .flat_map(|account| account.names.clone())
            .collect();
        for account in &mut accounts {
            account.names.clone_from(&all);
        }
        accounts
    }

    /// A TA's or pseudo-TA's short name, or its UUID.
    #[must_use]
    pub fn ta(&self, uuid: TeeUuid) -> String {
        naming::ta(self, uuid)
    }

    /// What a pool is called: the TA's name, or `kernel` for nil.
    #[must_use]
    pub fn program(&self, uuid: TeeUuid) -> String {
        naming::program(self, uuid)
    }

    /// An owner for people, one session like any other of the same TA.
    #[must_use]
    pub fn owner(&self, kind: u32, label: &[u8], uuid: TeeUuid) -> String {
        naming::owner(self, kind, label, uuid)
    }

    /// As [`Self::owner`].
    #[must_use]
    pub fn owner_of(&self, record: &LeakRecord) -> String {
        self.owner(record.owner_kind, &record.label, record.owner)
    }
}

/// Names the calls of one snapshot.
struct Namer<'a> {
    names: &'a dyn Names,
    kernel: Build,
    kernel_is_other: bool,
    /// Builds of each TA that is loaded.
    loaded: BTreeMap<TeeUuid, BTreeSet<u64>>,
    doubted: BTreeSet<(TeeUuid, Doubt)>,
}

impl<'a> Namer<'a> {
    fn new(snapshot: &Snapshot, names: &'a dyn Names) -> Self {
        let kernel = Build::kernel(&snapshot.header.build);
        let mut loaded: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        for ta in &snapshot.tas {
            loaded.entry(ta.uuid).or_default().insert(ta.image_id);
        }
        Self {
            names,
            kernel,
            kernel_is_other: names.lacks(kernel),
            loaded,
            doubted: BTreeSet::new(),
        }
    }

    /// The stack of something in a heap.
    fn of_heap(&mut self, image: TeeUuid, frames: &[u64]) -> Stack {
        let ids = self.loaded.get(&image);
        match ids.map(|ids| (ids.first(), ids.len())) {
            Some((_, 2..)) => {
                if frames.first().is_some_and(|&frame| frame != 0) {
                    self.doubted.insert((image, Doubt::Several));
                }
                Stack::unnamed(self.names, image, frames)
            }
            Some((Some(&id), _)) => self.of_ta(Build { image, id }, frames),
            _ => self.of_build(image, 0, frames),
        }
    }

    /// The stack of something that an image of this id did.
    fn of_build(&mut self, image: TeeUuid, id: u64, frames: &[u64]) -> Stack {
        if image != TeeUuid::nil() {
            self.of_ta(Build { image, id }, frames)
        } else if self.kernel_is_other {
            Stack::unnamed(self.names, image, frames)
        } else {
            Stack::new(self.names, self.kernel, frames)
        }
    }

    fn of_ta(&mut self, build: Build, frames: &[u64]) -> Stack {
        if frames.first().is_some_and(|&frame| frame != 0) {
            if self.names.lacks(build) {
                let missing = Doubt::Missing(build.id);
                self.doubted.insert((build.image, missing));
            } else if build.id == 0 && self.names.program(build.image).is_some() {
                self.doubted.insert((build.image, Doubt::Untold));
            }
        }
        Stack::new(self.names, build, frames)
    }
}

impl naming::Names for Account {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        self.names.get(&uuid).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NoNames;
    use crate::sample;

    #[test]
    fn without_names_a_ta_is_its_uuid() {
        let account = Account::new(sample::machine(1), "", &NoNames);
        assert_eq!(account.program(TeeUuid::nil()), "kernel");
        assert_eq!(account.ta(sample::SOUND), sample::SOUND.to_string());
    }
}
