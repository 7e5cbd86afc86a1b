//! Warnings before figures of several snapshots are compared, or names believed.
//!
//! **Invariant:** of what a snapshot does not say (those of older kernels have no boot and no
//! builds) only the names of a TA's calls are doubted.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tally_abi::TeeUuid;

use crate::account::{Account, Doubt};
use crate::numbers::{counted, thousands};
use crate::snapshot::Snapshot;

/// Whether these are known to be of more than one boot: their clocks, marks and sessions have
/// nothing to do with each other.
pub fn several_boots<'a>(snapshots: impl IntoIterator<Item = &'a Snapshot>) -> bool {
    let boots = snapshots.into_iter().map(|snapshot| snapshot.header.boot);
    let mut known = boots.filter(|&boot| boot != 0);
    let first = known.next();
    known.any(|boot| Some(boot) != first)
}

/// Doubts about these snapshots, a sentence each.
#[must_use]
pub fn doubts(accounts: &[Account]) -> Vec<String> {
    let mut out = Vec::new();
    if several_boots(accounts.iter().map(|account| &account.snapshot)) {
        out.push(
            "The snapshots are of different boots: a difference between them is no growth over time. They \
             are in the order in which they were given."
                .to_owned(),
        );
    }
    let unnamed: Vec<&str> = accounts
        .iter()
        .filter(|account| account.kernel_is_other)
        .map(|account| &*account.file)
        .collect();
    if !unnamed.is_empty() {
        out.push(format!(
            "The kernel's calls are not named in {}: the kernel's ELF file at hand is not of the build that \
             took the snapshot.",
            unnamed.join(", ")
        ));
    }
    out.extend(doubts_of_tas(accounts));
    out.extend(accounts.iter().flat_map(not_whole));
    out
}

/// What is wrong with one snapshot's figures.
fn not_whole(account: &Account) -> Vec<String> {
    let (snapshot, file) = (&account.snapshot, &account.file);
    let (sum, ram) = (snapshot.meminfo_sum(), snapshot.header.secure_ram);
    let mut out = Vec::new();
    if sum != ram {
        out.push(format!(
            "The uses add up to {} in {file}, the secure RAM has {}.",
            counted(sum, "byte"),
            thousands(ram)
        ));
    }
    if snapshot.header.dropped > 0 {
        out.push(format!(
            "{} had no room in {file}: lists of it are not whole, and a difference may be no growth.",
            counted(snapshot.header.dropped, "record")
        ));
    }
    if snapshot.unknown_sections > 0 {
        out.push(format!(
            "Of a later version and not shown: {} of {file}.",
            counted(snapshot.unknown_sections.into(), "section")
        ));
    }
    out
}

/// Doubts about the names of TAs' calls, a sentence for each kind.
#[must_use]
pub fn doubts_of_tas(accounts: &[Account]) -> Vec<String> {
    let mut files: BTreeMap<(TeeUuid, Doubt), Vec<&str>> = BTreeMap::new();
    for account in accounts {
        for &doubt in &account.doubted {
            files.entry(doubt).or_default().push(&account.file);
        }
    }
    let (mut missing, mut several, mut untold) = (Vec::new(), Vec::new(), Vec::new());
    for ((uuid, doubt), files) in files {
        let name = accounts.first().map(|account| account.ta(uuid));
        let name = match name.unwrap_or_default() {
            name if name == uuid.to_string() => name,
            name => format!("{name} ({uuid})"),
        };
        // Of one snapshot it is known which.
        let files = match accounts {
            [_] => String::new(),
            _ => format!(" in {}", files.join(", ")),
        };
        match doubt {
            Doubt::Missing(0) => missing.push(format!("{name}{files}")),
            Doubt::Missing(id) => missing.push(format!("{name} of image {id:016x}{files}")),
            Doubt::Several => several.push(format!("{name}{files}")),
            Doubt::Untold => untold.push(format!("{name}{files}")),
        }
    }
    let mut out = Vec::new();
    if !missing.is_empty() {
        out.push(format!(
            "The calls of a TA are not named, since no ELF file of its build is at hand: {}. `--ta ELF` takes that \
             file (of an image signed elsewhere: with the signed image beside it).",
            listed(&missing)
        ));
    }
    if !several.is_empty() {
        out.push(format!(
            "The calls of a TA are not named, since several builds of it were loaded at the same time: {}.",
            listed(&several)
        ));
    }
    if !untold.is_empty() {
        out.push(format!(
            "The names of a TA's calls may be wrong, since the snapshot does not say of which build it was (an \
             older kernel took it): {}.",
            listed(&untold)
        ));
    }
    out
}

/// The first few, and how many more there are.
fn listed(tas: &[String]) -> String {
    const SHOWN: usize = 4;
    let first = tas[..tas.len().min(SHOWN)].join("; ");
    match tas.len() {
        0..=SHOWN => first,
        all => format!("{first}; and {} more", all - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Build, NoSymbols, Symbols};
    use crate::names::{Frame, Stack};
    use crate::sample;
    use alloc::vec;

    /// Knows one build of a program and any of the others, and a name for all their calls.
    struct One(Build);

    impl Symbols for One {
        fn functions(&self, build: Build, _offset: u64) -> Vec<Frame> {
            let named = Frame {
                file: "a.rs".into(),
                line: 1,
                ..Frame::named("named")
            };
            (!self.lacks(build)).then_some(named).into_iter().collect()
        }

        fn program(&self, uuid: TeeUuid) -> Option<String> {
            (uuid == sample::LEAKER).then(|| "leaker".into())
        }

        fn lacks(&self, build: Build) -> bool {
            build.image == self.0.image && ![0, self.0.id].contains(&build.id)
        }
    }

    fn of_leaker(id: u64) -> One {
        One(Build {
            image: sample::LEAKER,
            id,
        })
    }

    /// The stacks of all live blocks.
    fn live(account: &Account) -> impl Iterator<Item = Stack> {
        let rows = account.snapshot.live.iter();
        rows.map(|row| account.stack(row))
    }

    /// Whether all of the leaker's calls have names, whether none has, and what is said.
    fn named(snapshot: Snapshot, names: &dyn Symbols) -> (bool, bool, Vec<String>) {
        let account = Account::new(snapshot, "a.snap", names);
        let failures = account.snapshot.failures.iter();
        let failures = failures.map(|row| account.stack(row));
        let stacks: Vec<Stack> = live(&account).chain(failures).collect();
        let stacks = stacks.iter().filter(|stack| stack.image == sample::LEAKER);
        let named: Vec<bool> = stacks
            .flat_map(|stack| stack.frames())
            .map(|frame| frame.function == "named")
            .collect();
        assert!(!named.is_empty());
        let all = named.iter().all(|&named| named);
        let none = named.iter().all(|&named| !named);
        (all, none, doubts(&[account]))
    }

    /// Only the page said it, and only of the last snapshot: what had no room in the first one
    /// "grew".
    #[test]
    fn a_snapshot_that_is_not_whole_is_told_wherever_it_stands() {
        let mut first = sample::machine(1);
        first.header.dropped = 3;
        let accounts = [first, sample::machine(2)]
            .map(|snapshot| Account::new(snapshot, "a.snap", &NoSymbols));
        let said = doubts(&accounts);
        assert!(
            said[0].starts_with("3 records had no room in a.snap"),
            "{said:?}"
        );
    }

    /// The file of another build named a TA's calls, and all that was said was which file was the
    /// younger.
    #[test]
    fn a_ta_of_another_build_names_nothing_and_that_is_said() {
        let known = of_leaker(sample::LEAKER_ID);
        assert_eq!(named(sample::machine(1), &known), (true, false, vec![]));
        let (_, none, said) = named(sample::machine(1), &of_leaker(77));
        assert!(none, "{said:?}");
        let [said] = &said[..] else {
            panic!("{said:?}");
        };
        for part in ["leaker (", "of image 00001ea4e1ea4e1d.", "--ta ELF"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    /// Of 46 TAs it was half a page.
    #[test]
    fn of_many_tas_a_few_are_told() {
        let names: Vec<String> = (0..6).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names), "0; 1; 2; 3; and 2 more");
        assert_eq!(listed(&names[..4]), "0; 1; 2; 3");
    }

    #[test]
    fn a_snapshot_that_does_not_say_which_build_it_was_is_named_and_doubted() {
        let mut older = sample::machine(1);
        older.tas.iter_mut().for_each(|ta| ta.image_id = 0);
        older.failures.iter_mut().for_each(|row| row.image_id = 0);
        let (all, _, said) = named(older, &of_leaker(sample::LEAKER_ID));
        assert!(all && said.len() == 1, "{said:?}");
        assert!(said[0].contains("may be wrong") && said[0].contains("leaker ("));
    }

    #[test]
    fn two_builds_at_once_are_not_taken_for_each_other() {
        let mut two = sample::machine(1);
        let mut other = two.tas[0];
        other.image_id = 77;
        two.tas.push(other);
        let account = Account::new(two, "a.snap", &of_leaker(sample::LEAKER_ID));
        let unnamed = |stack: Stack| stack.frames().all(|f| f.function.starts_with("leaker+"));
        assert!(
            live(&account)
                .filter(|s| s.image == sample::LEAKER)
                .all(unnamed)
        );
        // What was refused says which of them it was.
        let refused = account.stack(&account.snapshot.failures[0]);
        assert_eq!(refused.innermost().unwrap().function, "named");
        assert!(doubts(&[account])[0].contains("several builds"));
    }

    fn of_boot(boot: u64) -> Account {
        let mut snapshot = sample::machine(1);
        snapshot.header.boot = boot;
        Account::new(snapshot, "a.snap", &NoSymbols)
    }

    #[test]
    fn different_boots_are_doubted_and_unknown_ones_are_not() {
        for (boots, doubted) in [
            (&[1, 1][..], 0),
            (&[1, 2], 1),
            (&[0, 2], 0),
            (&[1, 0, 2], 1),
            (&[1], 0),
        ] {
            let accounts: Vec<Account> = boots.iter().map(|&boot| of_boot(boot)).collect();
            assert_eq!(doubts(&accounts).len(), doubted, "{boots:?}");
        }
    }

    /// The ELF file of something else named the kernel's calls, and nothing was said.
    #[test]
    fn a_kernel_of_another_build_names_nothing_and_that_is_said() {
        let names = |build| {
            let kernel = One(Build::kernel(&build));
            let account = Account::new(sample::machine(1), "a.snap", &kernel);
            let is_named = |s: &Stack| s.frames().all(|frame| frame.function == "named");
            let (kernel, tas): (Vec<Stack>, Vec<Stack>) =
                live(&account).partition(|s| s.image == TeeUuid::nil());
            assert!(tas.iter().all(is_named));
            let named: Vec<bool> = kernel.iter().map(is_named).collect();
            (named, doubts(&[account]))
        };
        let (named, doubts) = names(sample::BUILD);
        assert!(!named.is_empty() && named.iter().all(|&named| named));
        assert!(doubts.is_empty());
        let (named, doubts) = names([0xee; 20]);
        assert!(named.iter().all(|&named| !named));
        assert!(doubts[0].contains("not named in a.snap"), "{doubts:?}");
    }
}
