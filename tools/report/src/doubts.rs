//! What to know before figures of several snapshots are compared, or names are believed.
//!
//! **Invariant:** what a snapshot does not say (those of older kernels have no boot and no build) raises no
//! doubt.
//! **Knows nothing of:** where it is told.

use crate::account::Account;
use crate::snapshot::Snapshot;

/// Whether these are known to be of more than one boot: their clocks, marks and sessions have nothing to do
/// with each other.
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
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Names, NoNames, function};
    use crate::sample;
    use tally_abi::TeeUuid;
    use tally_abi::snapshot::BuildId;
    use tally_symbols::dwarf::Frame;

    /// Knows one kernel, and a name for all its calls.
    struct Kernel(BuildId);

    impl Names for Kernel {
        fn frames(&self, _image: TeeUuid, _offset: u64) -> Vec<Frame> {
            vec![Frame {
                function: "named".into(),
                file: "a.rs".into(),
                line: 1,
            }]
        }

        fn program(&self, _uuid: TeeUuid) -> Option<String> {
            None
        }

        fn has_other_kernel(&self, build: &BuildId) -> bool {
            *build != self.0
        }
    }

    fn of_boot(boot: u64) -> Account {
        let mut snapshot = sample::machine(1);
        snapshot.header.boot = boot;
        Account::new(snapshot, "a.snap", &NoNames)
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
            let account = Account::new(sample::machine(1), "a.snap", &Kernel(build));
            let kernel = account.live.iter().filter(|s| s.image == TeeUuid::nil());
            let named = kernel.flat_map(|stack| stack.frames()).map(function);
            let named: Vec<bool> = named.map(|name| name == "named").collect();
            let tas = account.live.iter().filter(|s| s.image != TeeUuid::nil());
            assert!(tas.flat_map(|s| s.frames()).all(|f| f.function == "named"));
            (named, doubts(&[account]))
        };
        let (named, doubts) = names(sample::BUILD);
        assert!(!named.is_empty() && named.iter().all(|&named| named));
        assert!(doubts.is_empty());
        let (named, doubts) = names([0; 20]);
        assert!(named.iter().all(|&named| !named));
        assert!(doubts[0].contains("not named in a.snap"), "{doubts:?}");
    }
}
