//! Growth between two accounts.
//!
//! **Invariant:** every account that the kernel keeps is compared: uses of secure RAM, owners,
//! heaps, what ended TAs had not freed. A call stack is named only if its heap grew, or if it
//! grew by a block or more a cycle.

use std::collections::BTreeMap;
use tally_abi::TeeUuid;
use tally_insight::account::Account;
use tally_insight::findings::doubts_of_tas;
use tally_insight::growth::{self, Change};
use tally_insight::names::{owner, printable};
use tally_insight::snapshot::Snapshot;

/// Memory that is nobody's shrinks when something else grows.
const FREE: &str = "free";

/// One figure in both accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    /// What it counts.
    pub(crate) what: String,
    /// Its unit, one of it.
    pub(crate) unit: &'static str,
    /// Before the cycles.
    pub(crate) before: u64,
    /// After them.
    pub(crate) after: u64,
}

impl Figure {
    /// How much it grew; 0 if it shrank.
    pub(crate) fn growth(&self) -> u64 {
        self.after.saturating_sub(self.before)
    }
}

/// What was compared, by area.
pub(crate) struct Area {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its figures that grew.
    pub(crate) grown: Vec<Figure>,
    /// How many figures were compared.
    pub(crate) compared: usize,
}

/// The comparison.
pub(crate) struct Verdict {
    /// Areas, in a fixed order.
    pub(crate) areas: Vec<Area>,
    /// Owners and call stacks that grew, most first.
    pub(crate) stacks: Vec<Change>,
    /// The account after the cycles, for its names.
    pub(crate) after: Account,
}

type Figures = BTreeMap<(String, &'static str), u64>;

impl Verdict {
    /// Compares.
    pub(crate) fn between(before: &Account, after: &Account, cycles: u64) -> Self {
        let areas: Vec<Area> = [
            ("secure RAM by use", uses as fn(&Account) -> Figures),
            ("owners", owners),
            ("heaps", heaps),
            ("not freed when TAs ended", not_freed),
        ]
        .into_iter()
        .map(|(name, figures)| compare(name, &figures(before), &figures(after)))
        .collect();
        let heap_grew = |change: &Change| {
            let program = after.program(change.image);
            areas.iter().any(|area| {
                area.grown
                    .iter()
                    .any(|figure| figure.what == heap_name(&program))
            })
        };
        let each_cycle = |change: &Change| {
            u64::try_from(change.blocks()).is_ok_and(|blocks| blocks >= cycles && blocks > 0)
        };
        let stacks = growth::between(before, after)
            .into_iter()
            .filter(|change| change.bytes() > 0 && (heap_grew(change) || each_cycle(change)))
            .collect();
        Self {
            areas,
            stacks,
            after: after.clone(),
        }
    }

    /// What to know of the names in [`Self::stacks`], a sentence each.
    pub(crate) fn doubts(&self) -> Vec<String> {
        if self
            .stacks
            .iter()
            .all(|change| change.image == TeeUuid::nil())
        {
            return Vec::new();
        }
        doubts_of_tas(std::slice::from_ref(&self.after))
    }

    /// Whether anything did.
    pub(crate) fn grew(&self) -> bool {
        !self.stacks.is_empty() || self.areas.iter().any(|area| !area.grown.is_empty())
    }
}

fn compare(name: &'static str, before: &Figures, after: &Figures) -> Area {
    let grown = after
        .iter()
        .map(|((what, unit), &after)| Figure {
            what: what.clone(),
            unit,
            before: before.get(&(what.clone(), *unit)).copied().unwrap_or(0),
            after,
        })
        .filter(|figure| figure.growth() > 0)
        .collect();
    Area {
        name,
        grown,
        compared: after.len(),
    }
}

fn heap_name(program: &str) -> String {
    format!("heap of {program}")
}

fn add(figures: &mut Figures, what: String, unit: &'static str, amount: u64) {
    let figure = figures.entry((what, unit)).or_default();
    *figure = figure.saturating_add(amount);
}

fn uses(account: &Account) -> Figures {
    let mut figures = Figures::new();
    for row in &account.snapshot.meminfo {
        let what = printable(&row.label);
        if what != FREE {
            add(&mut figures, what, "byte", row.bytes);
        }
    }
    figures
}

fn owners(account: &Account) -> Figures {
    let mut figures = Figures::new();
    for row in &account.snapshot.owners {
        let who = owner(account, row.kind, &row.label, row.uuid);
        let heap = u64::from(row.heap_bytes);
        add(&mut figures, format!("kernel heap of {who}"), "byte", heap);
        add(
            &mut figures,
            format!("pages of {who}"),
            "page",
            row.pages.into(),
        );
    }
    figures
}

fn heaps(account: &Account) -> Figures {
    let mut figures = Figures::new();
    let snapshot: &Snapshot = &account.snapshot;
    for record in &snapshot.live {
        let what = heap_name(&account.program(record.image));
        add(&mut figures, what.clone(), "byte", record.bytes);
        add(&mut figures, what, "block", record.blocks.into());
    }
    figures
}

fn not_freed(account: &Account) -> Figures {
    let mut figures = Figures::new();
    for row in &account.snapshot.history {
        let what = format!("lost by {}", account.ta(row.uuid));
        add(&mut figures, what.clone(), "byte", row.unfreed_bytes);
        add(&mut figures, what, "block", row.unfreed_blocks);
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_insight::account::NoSymbols;
    use tally_insight::sample;

    fn account(cycle: u64) -> Account {
        Account::new(sample::machine(cycle), "", &NoSymbols)
    }

    #[test]
    fn a_leak_is_named_with_its_heap() {
        let verdict = Verdict::between(&account(1), &account(3), 2);
        assert!(verdict.grew());
        assert_eq!(verdict.stacks.len(), 1);
        assert_eq!(verdict.stacks[0].bytes(), 2 * sample::LEAK_BYTES as i64);
        let heaps = &verdict.areas[2];
        assert_eq!(heaps.name, "heaps");
        let growths: Vec<_> = heaps.grown.iter().map(|line| line.growth()).collect();
        assert!(growths.contains(&(2 * sample::LEAK_BYTES)), "{growths:?}");
    }

    #[test]
    fn the_same_account_twice_has_not_grown() {
        let verdict = Verdict::between(&account(2), &account(2), 5);
        assert!(!verdict.grew());
        assert!(verdict.areas.iter().all(|area| area.compared > 0));
    }

    #[test]
    fn a_leak_that_something_else_makes_up_for_is_found() {
        let (before, mut after) = (account(1), account(3));
        // As much as the leak took is freed elsewhere in the same heap.
        let held = after.snapshot.live.iter_mut().find(|r| r.bytes == 3000);
        held.unwrap().bytes -= 2 * sample::LEAK_BYTES + 40;
        let verdict = Verdict::between(&before, &after, 2);
        assert_eq!(verdict.stacks.len(), 1);
        assert!(verdict.grew());
    }

    #[test]
    fn what_ended_tas_had_not_freed_counts() {
        let (before, mut after) = (account(2), account(2));
        after.snapshot.history[0].unfreed_bytes += 8;
        let verdict = Verdict::between(&before, &after, 5);
        assert_eq!(verdict.areas[3].grown[0].growth(), 8);
        assert!(verdict.grew());
    }
}
