//! Leak gate: growth over the accounts of one workload's cycles.
//!
//! **Invariant:** every account that the kernel keeps is compared: uses of secure RAM, owners,
//! heaps, what ended TAs had not freed. A call stack is named only if its heap grew, or if it
//! grew regularly.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;

use crate::account::Account;
use crate::answer;
use crate::findings::doubts_of_tas;
use crate::growth::{self, Change};
use crate::names::{Stack, owner, printable};
use crate::numbers::{counted, thousands};
use crate::snapshot::Snapshot;

/// Memory that is nobody's shrinks when something else grows.
const FREE: &str = "free";

/// An account, and after how many cycles it was taken.
pub type Taken<'a> = (u64, &'a Account);

/// How growth is spread over the cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The same amount every so many cycles.
    Regular,
    /// An amount over all cycles, in no order.
    Irregular,
    /// An amount up to a cycle, and no more in the second half.
    Ended,
}

impl Spread {
    const fn word(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Irregular => "irregular",
            Self::Ended => "ended",
        }
    }
}

/// Growth: an amount in a number of cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Which cycles these are.
    pub spread: Spread,
    /// By how much.
    pub amount: u64,
    /// In how many of them.
    pub cycles: u64,
}

impl Pace {
    /// Of a figure by cycle, in order; `None` if it did not grow.
    #[must_use]
    pub fn of(points: &[(u64, u64)]) -> Option<Self> {
        let (&(begin, first), &(end, last)) = (points.first()?, points.last()?);
        let total = last.checked_sub(first).filter(|growth| *growth > 0)?;
        let over = |spread, amount, cycles| Self {
            spread,
            amount,
            cycles,
        };
        if !goes_on(points) {
            let (mut most, mut until) = (first, begin);
            for &(cycle, value) in points {
                if value > most {
                    (most, until) = (value, cycle);
                }
            }
            return Some(over(Spread::Ended, total, until - begin));
        }
        let cycles = end.saturating_sub(begin).max(1);
        let (amount, every) = regular(points).unwrap_or((total, 0));
        if every > 0 {
            return Some(over(Spread::Regular, amount, every));
        }
        Some(over(Spread::Irregular, total, cycles))
    }

    /// `280 bytes a cycle`; `unit` is one of it.
    #[must_use]
    pub fn text(&self, unit: &str) -> String {
        let amount = counted(self.amount, unit);
        match (self.spread, self.cycles) {
            (Spread::Regular, 1) => format!("{amount} a cycle"),
            (Spread::Regular, cycles) => format!("{amount} every {}", counted(cycles, "cycle")),
            (Spread::Irregular, cycles) => format!("{amount} over {}", counted(cycles, "cycle")),
            (Spread::Ended, cycles) => {
                format!("{amount} until cycle {}, none since", thousands(cycles))
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.spread != Spread::Ended
    }
}

/// Whether a figure that grew still did in the second half: what only goes up and down there has the
/// same least and most in both of its quarters.
fn goes_on(points: &[(u64, u64)]) -> bool {
    let second = &points[(points.len() - 1) / 2..];
    let (third, fourth) = second.split_at(second.len() / 2);
    let least = |part: &[(u64, u64)]| part.iter().map(|point| point.1).min();
    let most = |part: &[(u64, u64)]| part.iter().map(|point| point.1).max();
    least(fourth) > least(third) || most(fourth) > most(third)
}

/// The amount, and every how many cycles a figure grew by it, if all that there is agrees.
fn regular(points: &[(u64, u64)]) -> Option<(u64, u64)> {
    let steps = || points.iter().zip(points.iter().skip(1));
    let mut each = steps().map(|(from, to)| {
        let (growth, cycles) = (to.1.checked_sub(from.1)?, to.0.checked_sub(from.0)?);
        let is_whole = cycles > 0 && growth.is_multiple_of(cycles);
        is_whole.then(|| growth / cycles)
    });
    let first = each.next()?;
    if let Some(amount) = first.filter(|amount| *amount > 0)
        && each.all(|other| other == first)
    {
        return Some((amount, 1));
    }
    let mut rises = Vec::new();
    for (from, to) in steps() {
        match to.1.checked_sub(from.1)? {
            0 => {}
            growth => rises.push((to.0, growth)),
        }
    }
    let [(one, amount), (other, _), ..] = *rises else {
        return None;
    };
    let every = other - one;
    let alike = rises
        .windows(2)
        .all(|pair| pair[0].1 == pair[1].1 && pair[1].0 - pair[0].0 == every);
    let (begin, end) = (points.first()?.0, points.last()?.0);
    // Neither before the first nor after the last is there room for one more.
    let (last, _) = *rises.last()?;
    (alike && one - begin <= every && end - last < every).then_some((amount, every))
}

/// A figure that grew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What it counts.
    pub what: String,
    /// Its unit, one of it.
    pub unit: &'static str,
    /// Before the cycles.
    pub before: u64,
    /// After them.
    pub after: u64,
    /// How it grew.
    pub pace: Pace,
}

impl Figure {
    /// `heap of heap: 864 to 6,464 bytes, 280 bytes a cycle`.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}: {} to {}, {}",
            self.what,
            thousands(self.before),
            counted(self.after, self.unit),
            self.pace.text(self.unit)
        )
    }
}

/// What was compared, by area.
#[derive(Debug)]
pub struct Area {
    /// Its name.
    pub name: &'static str,
    /// Its figures that grew.
    pub grown: Vec<Figure>,
    /// How many figures were compared.
    pub compared: usize,
}

impl Area {
    /// Whether one of its figures goes on growing.
    #[must_use]
    pub fn leaks(&self) -> bool {
        self.grown.iter().any(|figure| figure.pace.goes_on())
    }
}

/// An owner and a call stack that grew.
#[derive(Debug)]
pub struct Place {
    /// From before the cycles to after them.
    pub change: Change,
    /// How its bytes grew.
    pub pace: Pace,
}

impl Place {
    /// Whether it goes on growing.
    #[must_use]
    pub fn leaks(&self) -> bool {
        self.pace.goes_on()
    }

    /// Bytes and blocks that it grew by.
    #[must_use]
    pub fn grown(&self) -> growth::Amount {
        self.change.after.less(self.change.before)
    }
}

/// The comparison.
#[derive(Debug)]
pub struct Verdict {
    /// Areas, in a fixed order.
    pub areas: Vec<Area>,
    /// Owners and call stacks that grew, those that go on before those that ended, most first.
    pub stacks: Vec<Place>,
    /// The account after the cycles, for its names.
    pub after: Account,
}

type Figures = BTreeMap<(String, &'static str), u64>;

impl Verdict {
    /// Compares accounts in order, two at least; `None` of fewer.
    #[must_use]
    pub fn of(taken: &[Taken<'_>]) -> Option<Self> {
        let [(_, before), .., (_, after)] = taken else {
            return None;
        };
        let areas: Vec<Area> = [
            ("secure RAM by use", uses as fn(&Account) -> Figures),
            ("owners", owners),
            ("heaps", heaps),
            ("not freed when TAs ended", not_freed),
        ]
        .into_iter()
        .map(|(name, figures)| compare(name, taken, figures))
        .collect();
        let mut changes = growth::between(before, after);
        changes.retain(|change| change.bytes() > 0);
        let amounts = taken
            .iter()
            .map(|(cycle, account)| (*cycle, growth::amounts(account, &changes)));
        let amounts: Vec<_> = amounts.collect();
        let heap_grew = |change: &Change, leaks: bool| {
            let heap = heap_name(&after.program(change.image));
            let mut figures = areas.iter().flat_map(|area| &area.grown);
            figures.any(|figure| figure.what == heap && figure.pace.goes_on() == leaks)
        };
        let place = |(n, change): (usize, Change)| {
            let bytes = amounts
                .iter()
                .map(|(cycle, amounts)| (*cycle, amounts[n].bytes));
            let pace = Pace::of(&bytes.collect::<Vec<_>>())?;
            let is_named = pace.spread == Spread::Regular || heap_grew(&change, pace.goes_on());
            is_named.then_some(Place { change, pace })
        };
        let mut stacks: Vec<Place> = changes.into_iter().enumerate().filter_map(place).collect();
        stacks.sort_by_key(|place| !place.leaks());
        Some(Self {
            areas,
            stacks,
            after: (*after).clone(),
        })
    }

    /// What to know of the names in [`Self::stacks`], a sentence each.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let mut images = self.stacks.iter().map(|place| place.change.image);
        if images.all(|image| image == TeeUuid::nil()) {
            return Vec::new();
        }
        doubts_of_tas(core::slice::from_ref(&self.after))
    }

    /// Whether anything goes on growing.
    #[must_use]
    pub fn leaks(&self) -> bool {
        self.stacks.iter().any(Place::leaks) || self.areas.iter().any(Area::leaks)
    }

    /// Whether anything grew, though it ended.
    #[must_use]
    pub fn grew(&self) -> bool {
        !self.stacks.is_empty() || self.areas.iter().any(|area| !area.grown.is_empty())
    }
}

answer! {
    /// The answer of the leak gate.
    pub struct Gate<'a> {
        /// The workload
        pub script: &'a str,
        /// Cycles between the first account and the last
        pub cycles: u64,
        /// Cycles before the first
        pub warmup: u64,
        /// Exit status
        pub status: u32,
        /// `nothing grew`, `growth ended`, `memory grew` or `cannot be told`
        pub result: &'static str,
        /// Why it cannot be told
        pub reason: Option<&'a str>,
        /// What was compared
        pub areas: Vec<Compared<'a>>,
        /// Owners and call stacks that grew
        pub stacks: Vec<Grown<'a>>,
        /// What to know of the names
        pub doubts: Vec<String>,
    }

    /// Figures of one area.
    pub struct Compared<'a> {
        area: &'static str,
        compared: usize,
        grown: Vec<GrownFigure<'a>>,
    }

    struct GrownFigure<'a> {
        what: &'a str,
        unit: String,
        before: u64,
        after: u64,
        growth: u64,
        #[serde(flatten)]
        pace: Paced,
    }

    /// An owner and a call stack.
    pub struct Grown<'a> {
        owner: &'a str,
        heap: String,
        bytes: u64,
        blocks: u64,
        #[serde(flatten)]
        pace: Paced,
        stack: &'a Stack,
    }

    struct Paced {
        /// `regular`: by `amount` every `per_cycles`; `irregular`: by `amount` over all cycles; `ended`: in the first `per_cycles` and no more
        pace: &'static str,
        amount: u64,
        per_cycles: u64,
    }
}

impl From<Pace> for Paced {
    fn from(pace: Pace) -> Self {
        Self {
            pace: pace.spread.word(),
            amount: pace.amount,
            per_cycles: pace.cycles,
        }
    }
}

impl<'a> Gate<'a> {
    /// With what was compared.
    #[must_use]
    pub fn told(self, verdict: &'a Verdict) -> Self {
        let figure = |figure: &'a Figure| GrownFigure {
            what: &figure.what,
            unit: format!("{}s", figure.unit),
            before: figure.before,
            after: figure.after,
            growth: figure.after.saturating_sub(figure.before),
            pace: figure.pace.into(),
        };
        let area = |area: &'a Area| Compared {
            area: area.name,
            compared: area.compared,
            grown: area.grown.iter().map(figure).collect(),
        };
        let stack = |place: &'a Place| Grown {
            owner: &place.change.owner,
            heap: verdict.after.program(place.change.image),
            bytes: place.grown().bytes,
            blocks: place.grown().blocks,
            pace: place.pace.into(),
            stack: &place.change.stack,
        };
        Self {
            areas: verdict.areas.iter().map(area).collect(),
            stacks: verdict.stacks.iter().map(stack).collect(),
            doubts: verdict.doubts(),
            ..self
        }
    }
}

fn compare(name: &'static str, taken: &[Taken<'_>], figures: fn(&Account) -> Figures) -> Area {
    let all: Vec<(u64, Figures)> = taken
        .iter()
        .map(|(cycle, account)| (*cycle, figures(account)))
        .collect();
    let Some((_, last)) = all.last() else {
        return Area {
            name,
            grown: Vec::new(),
            compared: 0,
        };
    };
    let grown = last.keys().filter_map(|key| {
        let points: Vec<(u64, u64)> = all
            .iter()
            .map(|(cycle, figures)| (*cycle, figures.get(key).copied().unwrap_or(0)))
            .collect();
        Some(Figure {
            what: key.0.clone(),
            unit: key.1,
            before: points.first()?.1,
            after: points.last()?.1,
            pace: Pace::of(&points)?,
        })
    });
    Area {
        name,
        grown: grown.collect(),
        compared: last.len(),
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
    use crate::account::NoSymbols;
    use crate::sample;
    use alloc::borrow::ToOwned;
    use alloc::vec;

    fn account(cycle: u64) -> Account {
        Account::new(sample::machine(cycle), "", &NoSymbols)
    }

    fn verdict(accounts: &[Account]) -> Verdict {
        let taken: Vec<Taken<'_>> = (0..).zip(accounts).collect();
        Verdict::of(&taken).unwrap()
    }

    /// What comes of a figure that grows by so much in each of these cycles.
    fn pace(growth: impl IntoIterator<Item = u64>) -> String {
        let mut points = vec![(0, 1000)];
        for growth in growth {
            let (cycle, value) = points[points.len() - 1];
            points.push((cycle + 1, value + growth));
        }
        Pace::of(&points).map_or("none".to_owned(), |pace| pace.text("byte"))
    }

    /// Bug: a cache of ten entries was a leak of "150 a cycle", and 100 bytes lost every seventh call were
    /// "15 a cycle".
    #[test]
    fn a_cycle_is_said_only_where_each_agrees_and_growth_that_ended_is_told_apart() {
        let cycles = || 1..=20_u64;
        assert_eq!(pace(cycles().map(|_| 280)), "280 bytes a cycle");
        let cache = cycles().map(|n| if n <= 10 { 300 } else { 0 });
        assert_eq!(pace(cache), "3,000 bytes until cycle 10, none since");
        for offset in 0..7 {
            let seventh = cycles().map(|n| if (n + offset) % 7 == 0 { 100 } else { 0 });
            assert_eq!(pace(seventh), "100 bytes every 7 cycles", "{offset}");
        }
        let now_and_then = [1, 4, 5, 11, 19];
        let lost = cycles().map(|n| if now_and_then.contains(&n) { 20 } else { 0 });
        assert_eq!(pace(lost), "100 bytes over 20 cycles");
        let other_sizes = cycles().map(|n| n % 3);
        assert_eq!(pace(other_sizes), "21 bytes over 20 cycles");
        assert_eq!(pace(cycles().map(|_| 0)), "none");
        // The least that can be compared.
        assert_eq!(pace([8]), "8 bytes a cycle");
        assert_eq!(pace([0, 8]), "8 bytes over 2 cycles");
        assert_eq!(pace([8, 0]), "8 bytes until cycle 1, none since");
    }

    #[test]
    fn what_goes_up_and_down_has_ended_and_a_leak_beneath_it_has_not() {
        let points = |leak: u64| -> Vec<(u64, u64)> {
            (0..=24).map(|n| (n, 50 * (n % 3) + leak * n)).collect()
        };
        let mut even = points(0);
        even.truncate(24);
        assert_eq!(Pace::of(&even).unwrap().spread, Spread::Ended);
        assert_eq!(Pace::of(&points(2)).unwrap().spread, Spread::Irregular);
    }

    /// Of many cycles an account is taken after some: what happens between two of them is not known.
    #[test]
    fn accounts_after_some_cycles_tell_no_more_than_they_can() {
        let lost = |every: u64, step: usize, end: u64| {
            let points = (0..end).step_by(step).chain([end]);
            let points: Vec<_> = points.map(|n| (n, n / every * 100)).collect();
            Pace::of(&points).unwrap().text("byte")
        };
        assert_eq!(lost(1, 3, 200), "100 bytes a cycle");
        assert_eq!(lost(7, 2, 128), "1,800 bytes over 128 cycles");
        assert_eq!(lost(8, 2, 128), "100 bytes every 8 cycles");
    }

    #[test]
    fn a_leak_is_named_with_its_heap() {
        let verdict = verdict(&[account(1), account(2), account(3)]);
        assert!(verdict.leaks());
        assert_eq!(verdict.stacks.len(), 1);
        assert_eq!(verdict.stacks[0].grown().bytes, 2 * sample::LEAK_BYTES);
        assert_eq!(verdict.stacks[0].pace.amount, sample::LEAK_BYTES);
        let heaps = &verdict.areas[2];
        assert_eq!(heaps.name, "heaps");
        let mut growths = heaps
            .grown
            .iter()
            .map(|figure| figure.after - figure.before);
        assert!(growths.any(|growth| growth == 2 * sample::LEAK_BYTES));
    }

    #[test]
    fn growth_that_ended_is_no_leak_and_is_named() {
        let verdict = verdict(&[account(1), account(2), account(2), account(2)]);
        assert!(!verdict.leaks() && verdict.grew());
        assert_eq!(verdict.stacks.len(), 1);
        assert_eq!(verdict.stacks[0].pace.spread, Spread::Ended);
    }

    #[test]
    fn the_same_account_twice_has_not_grown() {
        let verdict = verdict(&[account(2), account(2)]);
        assert!(!verdict.grew());
        assert!(verdict.areas.iter().all(|area| area.compared > 0));
        assert!(Verdict::of(&[(0, &account(2))]).is_none());
    }

    #[test]
    fn a_leak_that_something_else_makes_up_for_is_found() {
        let mut accounts = [account(1), account(2), account(3)];
        // As much as the leak took is freed elsewhere in the same heap.
        for (n, account) in (0..).zip(&mut accounts) {
            let held = account.snapshot.live.iter_mut().find(|r| r.bytes == 3000);
            held.unwrap().bytes -= n * (sample::LEAK_BYTES + 20);
        }
        let verdict = verdict(&accounts);
        assert_eq!(verdict.stacks.len(), 1);
        assert!(verdict.leaks());
    }

    #[test]
    fn what_ended_tas_had_not_freed_counts() {
        let mut accounts = [account(2), account(2)];
        accounts[1].snapshot.history[0].unfreed_bytes += 8;
        let verdict = verdict(&accounts);
        assert_eq!(verdict.areas[3].grown[0].pace.amount, 8);
        assert!(verdict.leaks());
    }
}
